"""Is a message template safe and complete? Asked when it is saved, before anybody can publish it.

The sandbox does not stop `{{ 'a' * 10**9 }}` or a method call, so templates are held to a list of
what is allowed: showing declared variables, `if`, one level of `for`, few filters, and a short list
of mail tags (the mail layout drops unknown tags without a word).
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from html.parser import HTMLParser
from typing import Any, NamedTuple

from jinja2 import TemplateSyntaxError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifications.context import CONTEXT, Leaf, Many, Shape
from notifications.templates import FILTERS, LANGUAGES, RenderError, render
from policy.message_templates import MessageTemplate

ALLOWED = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Filter),
    *(nodes.If, nodes.For, nodes.Compare, nodes.Operand, nodes.Const),
    *(nodes.And, nodes.Or, nodes.Not),
)
SOURCE_LIMIT = 20_000

_BOX = {"mj-class", "align", "color", "padding", "background-color"}
TAGS: Mapping[str, set[str]] = {
    "mj-text": _BOX | {"font-size", "font-weight"},
    "mj-button": _BOX | {"href"},
    "mj-divider": {"padding", "border-color"},
    "mj-spacer": {"height"},
    **{tag: set() for tag in ("b", "strong", "em", "br", "p", "span", "code", "ul", "ol", "li")},
}
"""Mail tags a template may use, with their attributes; inline ones stand inside the first two."""
CLASSES = ("title", "label", "quote", "ask", "note")
ATTRIBUTE = re.compile(r"[A-Za-z0-9 #%.-]{1,60}")

# Stand for Jinja in the markup that the tag check reads: an output, and a block's three borders.
SHOWN, BEGIN, OTHERWISE, END = "\ue000", "\ue001", "\ue002", "\ue003"


class Problem(NamedTuple):
    line: int
    what: str


def lint_template(
    template: MessageTemplate, variables: Mapping[str, Shape] | None = None
) -> list[str]:
    """Every reason why `template` must not be published, each as `language.part line N: …`.

    `variables` defaults to those declared for the template's id. An empty list means it is safe,
    complete in both languages, and renders with every variable present and with optional ones
    empty.
    """
    shape = CONTEXT.get(template.id) if variables is None else variables
    if shape is None:
        return [f"{template.id}: unknown template; known: {', '.join(sorted(CONTEXT))}"]
    problems = [
        f"{language}: missing; write subject, text and mjml in this language"
        for language in LANGUAGES
        if language not in template.languages
    ]
    for language, body in template.languages.items():
        for part in ("subject", "text", "mjml"):
            for line, what in _lint_part(part, getattr(body, part), shape):
                problems.append(f"{language}.{part} line {line}: {what}")
    if not problems and variables is None:
        problems += _try(template, shape)
    return problems


def _lint_part(part: str, source: str, shape: Mapping[str, Shape]) -> list[Problem]:
    if not source.strip():
        return [Problem(1, "empty; write it")]
    if len(source) > SOURCE_LIMIT:
        return [Problem(1, f"longer than {SOURCE_LIMIT} characters; shorten it")]
    if part == "subject" and "\n" in source.strip():
        return [Problem(1, "more than one line; a subject is one line")]
    if re.search(f"[{SHOWN}-{END}]", source):
        return [Problem(1, "private-use characters; remove them")]
    try:
        tree = ImmutableSandboxedEnvironment(keep_trailing_newline=True).parse(source)
    except TemplateSyntaxError as error:
        return [Problem(error.lineno, f"{error.message}; correct the syntax")]
    except RecursionError:
        return [Problem(1, "nested too deeply; simplify it")]
    refused = list(_refused_nodes(tree))
    return refused or [*_lint_meaning(part, tree, shape)]


def _refused_nodes(tree: nodes.Template) -> Iterator[Problem]:
    for node in tree.find_all(nodes.Node):
        what = _refusal(node)
        if what:
            yield Problem(node.lineno, what)


def _refusal(node: nodes.Node) -> str | None:
    if not isinstance(node, ALLOWED):
        return f"{type(node).__name__} is not allowed; show variables, use if and for"
    if isinstance(node, nodes.Filter):
        if node.name not in FILTERS:
            return f"filter '{node.name}' is not allowed; use {' or '.join(FILTERS)}"
        if node.node is None or not all(isinstance(a, nodes.Const) for a in node.args):
            return f"filter '{node.name}' takes plain values only"
    if isinstance(node, nodes.Getattr) and node.attr.startswith("_"):
        return f"'{node.attr}' is not allowed; names do not begin with _"
    if isinstance(node, nodes.Name) and node.name.startswith("_"):
        return f"'{node.name}' is not allowed; names do not begin with _"
    if isinstance(node, nodes.For):
        if any(inner is not node for inner in node.find_all(nodes.For)):
            return "for inside for is not allowed; use one"
        if node.recursive or node.test is not None or not isinstance(node.target, nodes.Name):
            return "write for as {% for item in list %}"
    return None


def _lint_meaning(part: str, tree: nodes.Template, shape: Mapping[str, Shape]) -> Iterator[Problem]:
    reader = _Reader(part)
    reader.read(tree.body, shape)
    yield from reader.problems
    if part == "mjml" and not reader.problems:
        markup = _Markup(reader.shown)
        markup.feed("".join(reader.markup))
        markup.close()
        yield from markup.end()


class _Reader:
    """Follows each path through the declared shapes and writes down the markup around it."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.problems: list[Problem] = []
        self.shown: list[Leaf] = []
        self.markup: list[str] = []

    def read(self, body: list[nodes.Node], scope: Mapping[str, Shape]) -> None:
        for node in body:
            if isinstance(node, nodes.Output):
                self.read_output(node, scope)
            elif isinstance(node, nodes.If):
                self.read_if(node, scope)
            elif isinstance(node, nodes.For):
                self.read_for(node, scope)

    def read_output(self, output: nodes.Output, scope: Mapping[str, Shape]) -> None:
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                self.markup.append(node.data)
                continue
            leaf = self.leaf(node, scope)
            if leaf.free and self.part == "subject":
                self.add(node, "words people wrote do not belong in a subject; use a title")
            self.markup.append(f"{SHOWN}{len(self.shown)}{SHOWN}")
            self.shown.append(leaf)

    def read_if(self, node: nodes.If, scope: Mapping[str, Shape]) -> None:
        self.condition(node.test, scope)
        self.markup.append(BEGIN)
        self.read(node.body, scope)
        for other in node.elif_:
            self.condition(other.test, scope)
            self.markup.append(OTHERWISE)
            self.read(other.body, scope)
        self.markup.append(OTHERWISE)
        self.read(node.else_, scope)
        self.markup.append(END)

    def read_for(self, node: nodes.For, scope: Mapping[str, Shape]) -> None:
        listed = self.resolve(node.iter, scope)
        if not isinstance(listed, Many):
            return self.add(node, "for goes over a declared list only")
        assert isinstance(node.target, nodes.Name)
        # Inside for, Jinja's own counter hides a variable called `loop`.
        inner = {name: inner for name, inner in scope.items() if name != "loop"}
        self.markup.append(BEGIN)
        self.read(node.body, {**inner, node.target.name: listed.item})
        self.markup.append(OTHERWISE)
        self.read(node.else_, scope)
        self.markup.append(END)

    def condition(self, node: nodes.Node, scope: Mapping[str, Shape]) -> None:
        if isinstance(node, nodes.Name | nodes.Getattr):
            self.resolve(node, scope)
        else:
            for child in node.iter_child_nodes():
                self.condition(child, scope)

    def leaf(self, node: nodes.Node, scope: Mapping[str, Shape]) -> Leaf:
        if isinstance(node, nodes.Filter) and node.node is not None:
            return self.leaf(node.node, scope)
        if isinstance(node, nodes.Const):
            return Leaf()
        if not isinstance(node, nodes.Name | nodes.Getattr):
            self.add(node, "show a variable, not a condition")
            return Leaf()
        shape = self.resolve(node, scope)
        if shape is not None and not isinstance(shape, Leaf):
            self.add(node, f"'{_path(node)}' is not a text; name one of its parts")
        return shape if isinstance(shape, Leaf) else Leaf()

    def resolve(self, node: nodes.Node, scope: Mapping[str, Shape]) -> Shape | None:
        """The shape at a path; None, with a problem noted, when it is not declared."""
        holder: Shape | None = scope
        name = ""
        if isinstance(node, nodes.Name):
            name = node.name
        elif isinstance(node, nodes.Getattr):
            name, holder = node.attr, self.resolve(node.node, scope)
        if holder is None:
            return None
        known: Mapping[str, Any] = holder if isinstance(holder, Mapping) else {}
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none'}"
            self.add(node, f"unknown variable '{_path(node)}'; {hint}")
        return known.get(name)

    def add(self, node: nodes.Node, what: str) -> None:
        self.problems.append(Problem(node.lineno, what))


def _path(node: nodes.Node) -> str:
    if isinstance(node, nodes.Getattr):
        return f"{_path(node.node)}.{node.attr}"
    return node.name if isinstance(node, nodes.Name) else "?"


class _Markup(HTMLParser):
    """Only listed tags and attributes, properly closed, also within each branch of an if."""

    def __init__(self, shown: list[Leaf]) -> None:
        super().__init__(convert_charrefs=False)
        self.shown = shown
        self.open: list[str] = []
        self.problems: list[Problem] = []

    def add(self, what: str) -> None:
        self.problems.append(Problem(self.getpos()[0], what))

    def end(self) -> list[Problem]:
        if self.open:
            self.add(f"<{self.open[-1]}> is not closed; close it")
        return self.problems

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.check(tag, attrs)
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.check(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1] == tag:
            self.open.pop()
        else:
            self.add(f"</{_clean(tag)}> closes nothing here; nest tags and blocks properly")

    def handle_data(self, data: str) -> None:
        if "<" in data:
            self.add("a lone '<'; write &lt;")
        for border in re.findall(f"[{BEGIN}-{END}]", data):
            self.cross(border)
        words = re.sub(f"{SHOWN}[0-9]+{SHOWN}", "x", data)
        words = re.sub(f"[{BEGIN}-{END}]", "", words)
        if words.strip() and not self.holder():
            self.add("text outside mj-text would vanish; put it into <mj-text>")

    def cross(self, border: str) -> None:
        if border == BEGIN:
            self.open.append("%")
        elif not self.open or self.open[-1] != "%":
            self.add("a block begins or ends inside a tag's content; nest them properly")
        elif border == END:
            self.open.pop()

    def holder(self) -> str | None:
        return next((tag for tag in self.open if tag in ("mj-text", "mj-button")), None)

    def check(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        written = self.get_starttag_text() or ""
        if tag not in TAGS or not re.match(rf"<{tag}[\s/>]", written):
            return self.add(f"tag <{_clean(tag)}> is not allowed; use {', '.join(TAGS)}")
        if tag.startswith("mj-") and any(name != "%" for name in self.open):
            self.add(f"<{tag}> inside <{self.open[-1]}>; mj tags stand side by side")
        if not tag.startswith("mj-") and not self.holder():
            self.add(f"<{tag}> outside mj-text would vanish; put it into <mj-text>")
        for name, value in attrs:
            self.check_attribute(tag, name, value or "")

    def check_attribute(self, tag: str, name: str, value: str) -> None:
        if name not in TAGS[tag]:
            allowed = ", ".join(sorted(TAGS[tag])) or "none"
            self.add(f"attribute '{_clean(name)}' of <{tag}> is not allowed; allowed: {allowed}")
        elif name == "href":
            found = re.fullmatch(f"{SHOWN}([0-9]+){SHOWN}", value)
            if not found or not self.shown[int(found[1])].link:
                self.add('href takes a declared link only; write href="{{ link }}"')
        elif not ATTRIBUTE.fullmatch(value) or (name == "mj-class" and value not in CLASSES):
            self.add(f"value of '{name}' is not allowed; classes: {', '.join(CLASSES)}")

    def handle_comment(self, data: str) -> None:
        self.refuse()

    def handle_decl(self, decl: str) -> None:
        self.refuse()

    def handle_pi(self, data: str) -> None:
        self.refuse()

    def unknown_decl(self, data: str) -> None:
        self.refuse()

    def refuse(self) -> None:
        self.add("comments and declarations are not allowed; remove them")


def _clean(written: str) -> str:
    """A name from a template as it may be shown in a problem."""
    return re.sub(f"[^ -~{SHOWN}]", "", written)[:40].replace(SHOWN, "{}")


def _try(template: MessageTemplate, shape: Mapping[str, Shape]) -> Iterator[str]:
    for language in template.languages:
        for is_full in (True, False):
            try:
                render(template, language, _sample(shape, is_full))
            except RenderError as error:
                yield f"{language}: does not render: {error}"


def _sample(shape: Mapping[str, Shape], is_full: bool) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, inner in shape.items():
        if isinstance(inner, Mapping):
            made[name] = _sample(inner, is_full)
        elif is_full or not inner.optional:
            made[name] = _sample_value(inner)
    return made


def _sample_value(shape: Leaf | Many) -> Any:
    if isinstance(shape, Many):
        return [_sample(shape.item, True)] * 2
    return "https://example.invalid/" if shape.link else "样例 sample & <b>"
