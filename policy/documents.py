"""Reading an organisation's documents: bytes in, typed values or a list of mistakes out. Pure.

A set is a mapping of file name to bytes. Each file is one kind of document, told by its top-level
key. Nothing is loaded unless everything is right. What a schema cannot see (names that point
nowhere, cycles, patterns) is in `document_checks.py`.
"""

import dataclasses
import json
import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import resources
from typing import Any, Union, get_args, get_origin, get_type_hints

import yaml

from policy.document_checks import (
    CalendarYear,
    Draft,
    Entry,
    Mistake,
    Path,
    check,
    choose,
    line_of,
    nearest,
)
from policy.measures import MeasureSpec
from policy.message_templates import MessageTemplate
from policy.organisation import Organisation
from policy.regulation import Regulation
from policy.retention import RetentionClass
from policy.rulebook import Rulebook
from policy.source_spec import SourceSpec
from policy.taxonomy import Taxonomy
from policy.timing import CalendarSpec, ClockSpec, Ladder

__all__ = ["KINDS", "DocumentSet", "Mistake", "ModelRecipe", "is_document", "load_set", "schema"]


@dataclass(frozen=True)
class ModelRecipe:
    """How the topic model is trained: `data` is a file in the set's folder, with two fields."""

    model: str
    data: str
    text: str
    label: str


@dataclass(frozen=True)
class DocumentSet:
    organisation: Organisation
    taxonomy: Taxonomy
    rulebook: Rulebook
    clocks: tuple[ClockSpec, ...]
    ladders: tuple[Ladder, ...]
    calendars: tuple[CalendarSpec, ...]
    sources: tuple[SourceSpec, ...]
    templates: tuple[MessageTemplate, ...]
    model: ModelRecipe | None = None
    retention: tuple[RetentionClass, ...] = ()
    regulations: tuple[Regulation, ...] = ()
    measures: tuple[MeasureSpec, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A kind of document: what one is built into; `many` when it is a list under its key."""

    builds: type
    many: bool = False
    required: bool = True


KINDS: Mapping[str, Kind] = {
    "organisation": Kind(Organisation),
    "taxonomy": Kind(Taxonomy),
    "policy": Kind(Rulebook),
    "clocks": Kind(ClockSpec, many=True),
    "ladders": Kind(Ladder, many=True),
    "calendars": Kind(CalendarSpec, many=True),
    "calendar": Kind(CalendarYear, required=False),
    "sources": Kind(SourceSpec, many=True),
    "templates": Kind(MessageTemplate, many=True),
    "model": Kind(ModelRecipe, required=False),
    "retention": Kind(RetentionClass, many=True, required=False),
    "regulation": Kind(Regulation, required=False),
    "measures": Kind(MeasureSpec, many=True, required=False),
}
"""Kinds by their top-level key. Files of a `many` kind, and calendar years, add up."""

_ADD_UP = {name for name, kind in KINDS.items() if kind.many} | {"calendar", "regulation"}
_BRINGS: Mapping[str, tuple[str, ...]] = {"regulation": ("clocks",)}
"""What other kinds a document adds to."""
_DEPTH = 64


def is_document(name: str) -> bool:
    """Whether a file of a set's folder is a document rather than data or a note."""
    return name.endswith((".yaml", ".yml"))


def load_set(files: Mapping[str, bytes]) -> tuple[DocumentSet | None, list[Mistake]]:
    """The documents as values, or None and every mistake in order of file and line.

    `files` maps names relative to the set's folder to bytes; all of them must be documents.
    """
    mistakes: list[Mistake] = []
    entries: dict[str, list[Entry]] = {}
    broken: set[str] = set()
    for file, data in sorted(files.items()):
        kind, found, wrong = _document(file, data)
        mistakes += wrong
        if kind is None or (wrong and not found):
            broken |= set(KINDS) if kind is None else {kind, *_BRINGS.get(kind, ())}
        entries.setdefault(kind or "", []).extend(found)
        entries.setdefault("clocks", []).extend(_brought(found))
    mistakes += _counts(entries, broken)
    draft = Draft({k: tuple(v) for k, v in entries.items()}, frozenset(broken))
    mistakes += check(draft)
    ordered = sorted(dict.fromkeys(mistakes), key=lambda m: (m.file, m.line))
    return (None if ordered else _assemble(draft)), ordered


def schema(kind: str) -> bytes:
    """The JSON Schema (draft 2020-12) of a kind. Raises KeyError for an unknown kind."""
    if kind not in KINDS:
        raise KeyError(kind)
    return resources.files("policy").joinpath("schemas", f"{kind}.json").read_bytes()


def _document(file: str, data: bytes) -> tuple[str | None, list[Entry], list[Mistake]]:
    """One file's kind (None when it cannot be told), what could be built and what is wrong."""
    try:
        tree = _parse(data)
    except _Unreadable as error:
        return None, [], [Mistake(file, error.line, error.what, error.fix)]
    wrong = [Mistake(file, *rest) for rest in tree.wrong]
    kind = next((key for key in tree.value if key in KINDS), None)
    if kind is None:
        return None, [], [*wrong, _kindless(file, tree.value)]
    wrong += _against_schema(file, kind, tree)
    if wrong and not _mend(kind, tree.value):
        return kind, [], wrong
    return kind, list(_build_entries(file, kind, tree)), wrong


def _brought(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The clocks of regulations."""
    for entry in entries:
        if isinstance(entry.value, Regulation):
            for i, clock in enumerate(entry.value.joined):
                yield Entry(entry.file, entry.lines, ("clocks", i), clock)


def _kindless(file: str, value: Mapping[str, Any]) -> Mistake:
    what = "no top-level key tells what kind of document this is"
    close = next((k for k in (nearest(key, KINDS) for key in value) if k), None)
    fix = f"did you mean `{close}`?" if close else "start it with one of: " + ", ".join(KINDS)
    return Mistake(file, 1, what, fix)


def _counts(entries: Mapping[str, list[Entry]], broken: set[str]) -> Iterator[Mistake]:
    for name, kind in KINDS.items():
        found = entries.get(name, [])
        if not found and kind.required and name not in broken:
            what = f"the set has no `{name}` document"
            yield Mistake(f"{name}.yaml", 1, what, f"add {name}.yaml with the key `{name}`")
        if name not in _ADD_UP:
            for entry in found[1:]:
                what = f"a set has one `{name}` document; {found[0].file} is one already"
                yield entry.mistake((), what, "keep one of the two files")


# Reading YAML. Parser events, not nodes: libyaml's composer overflows its stack on deep nesting.


@dataclass(frozen=True)
class _Unreadable(Exception):
    line: int
    what: str
    fix: str


@dataclass
class _Tree:
    """A document's plain value, the line of every path in it, and what was wrong on the way."""

    value: dict[str, Any]
    lines: dict[Path, int]
    wrong: list[tuple[int, str, str]]


def _parse(data: bytes) -> _Tree:
    text = _decode(data)
    grower = _Grower()
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            grower.take(event)
    except yaml.MarkedYAMLError as error:
        raise _syntax(text, error) from error
    except yaml.reader.ReaderError as error:
        what = "there is a character that YAML does not allow"
        raise _Unreadable(_line_at(text, error.position), what, "remove the character") from error
    if not isinstance(grower.root, dict):
        what = "the file is empty" if grower.root is None else "the file is not a set of keys"
        raise _Unreadable(1, what, "start it with a key such as `organisation:`")
    return _Tree(grower.root, grower.lines, grower.wrong)


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _Unreadable(line, "the file is not UTF-8 text", "save it as UTF-8") from error


def _line_at(text: str, position: int) -> int:
    return text.encode()[:position].count(b"\n") + 1


def _syntax(text: str, error: yaml.MarkedYAMLError) -> _Unreadable:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    rows = text.split("\n")
    row = rows[line - 1] if line <= len(rows) else ""
    if "\t" in row[: len(row) - len(row.lstrip())]:
        return _Unreadable(line, "the line is indented with a tab", "indent with spaces")
    what = ", ".join(filter(None, (error.context, error.problem)))
    return _Unreadable(line, f"YAML cannot be read: {what}", "mend indentation, quotes or brackets")


_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_CONSTANTS: Mapping[str, bool | None] = {"": None, "~": None, "null": None} | {
    "true": True,
    "false": False,
}


def _plain(word: str) -> Any:
    """An unquoted word's value. Yes, no, on, off, dates and 12:30 are text, unlike in YAML 1.1."""
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word) and math.isfinite(float(word)):
        return float(word)
    return word


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


@dataclass
class _Open:
    """A list or mapping that is being read; `key` waits for its value."""

    value: Any
    path: Path
    key: str | None = None
    skip: bool = False


class _Grower:
    """Grows plain values from YAML events and notes the line of each."""

    def __init__(self) -> None:
        self.root: Any = None
        self.lines: dict[Path, int] = {}
        self.wrong: list[tuple[int, str, str]] = []
        self._open: list[_Open] = []
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._start(event, {})
        elif isinstance(event, yaml.SequenceStartEvent):
            self._start(event, [])
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._open.pop()
        elif isinstance(event, yaml.AliasEvent):
            self._not_a_key(event)
            self._refuse(event, f"the alias *{event.anchor} is not allowed", "write the value out")
            self._put(None, event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                line = _line(event)
                raise _Unreadable(line, "a second document begins", "put it in a file of its own")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        keyless = self._keyless()
        if keyless is not None:
            self._key(keyless, event)
            return
        self._put(_plain(event.value) if self._is_plain(event) else event.value, event)

    def _keyless(self) -> _Open | None:
        """The mapping whose next event must be a key, if that is where we are."""
        top = self._open[-1] if self._open else None
        return top if top and isinstance(top.value, dict) and top.key is None else None

    def _not_a_key(self, event: yaml.Event) -> None:
        if self._keyless() is not None:
            raise _Unreadable(_line(event), "a key must be a single word", "write `key: value`")

    def _is_plain(self, event: yaml.ScalarEvent) -> bool:
        self._untagged(event)
        return event.style in (None, "") and event.implicit[0]

    def _key(self, top: _Open, event: yaml.ScalarEvent) -> None:
        top.key = event.value
        top.skip = event.value in top.value
        if top.skip:
            first = self.lines[(*top.path, event.value)]
            what = f"the key `{event.value}` is already given in line {first}"
            self._refuse(event, what, "keep one of the two")
        else:
            self.lines[(*top.path, event.value)] = _line(event)

    def _start(self, event: yaml.CollectionStartEvent, value: Any) -> None:
        if len(self._open) >= _DEPTH:
            line = _line(event)
            raise _Unreadable(line, "lists and keys are nested too deep", "flatten them")
        self._not_a_key(event)
        self._untagged(event)
        self._open.append(_Open(value, self._put(value, event)))

    def _put(self, value: Any, event: yaml.NodeEvent) -> Path:
        """Hangs a value where it belongs and returns its path."""
        if not self._open:
            self.root = value
            return ()
        top = self._open[-1]
        if isinstance(top.value, list):
            path: Path = (*top.path, len(top.value))
            top.value.append(value)
            self.lines[path] = _line(event)
            return path
        path = (*top.path, top.key or "")
        if not top.skip:
            top.value[top.key] = value
        top.key, top.skip = None, False
        return path

    def _untagged(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag not in (None, "!", "tag:yaml.org,2002:str"):
            self._refuse(event, f"the tag {tag} is not allowed", "remove the tag")

    def _refuse(self, event: yaml.NodeEvent, what: str, fix: str) -> None:
        self.wrong.append((_line(event), what, fix))


# Against the schema


@cache
def _validator(kind: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(json.loads(schema(kind)))


def _against_schema(file: str, kind: str, tree: _Tree) -> Iterator[Mistake]:
    for error in _validator(kind).iter_errors(tree.value):
        at: Path = tuple(error.absolute_path)
        explain = _EXPLAIN.get(error.validator, _other)
        for step, what, fix in explain(error, _name(at)):
            yield Mistake(file, line_of(tree.lines, at + step), what, fix)


def _mend(kind: str, value: dict[str, Any]) -> bool:
    """Takes wrong keys out, so that the rest can be checked too; whether the rest is whole.

    Not of a policy: its tests would fail for what was taken out.
    """
    if kind == "policy":
        return False
    for error in list(_validator(kind).iter_errors(value)):
        path = tuple(error.absolute_path)
        if error.validator == "additionalProperties":
            for extra in set(error.instance) - set(error.schema["properties"]):
                del error.instance[extra]
        elif path and isinstance(path[-1], str):
            _inside(value, path[:-1]).pop(path[-1], None)
    return bool(_validator(kind).is_valid(value))


def _inside(value: Any, path: Path) -> dict[str, Any]:
    """The mapping at `path`; an empty one when it was taken out already."""
    for step in path:
        if isinstance(value, dict) and step not in value:
            return {}
        value = value[step]
    return value if isinstance(value, dict) else {}


def _name(path: Path) -> str:
    """How to call the value at `path`: its key, or that it is an entry under a key."""
    keys = [p for p in path if isinstance(p, str)]
    if not keys:
        return "the document"
    return f"an entry of `{keys[-1]}`" if isinstance(path[-1], int) else f"`{keys[-1]}`"


_Explained = Iterator[tuple[Path, str, str]]


def _extra(error: Any, name: str) -> _Explained:
    known = error.schema.get("properties", {})
    for key in error.instance:
        if key not in known:
            yield (key,), f"unknown key `{key}` in {name}", choose(key, known)


def _missing(error: Any, name: str) -> _Explained:
    for key in error.validator_value:
        if key not in error.instance:
            about = error.schema.get("properties", {}).get(key, {}).get("description", "")
            yield (), f"{name} lacks `{key}`", f"add `{key}`. {about}".strip()


def _listed(error: Any, name: str) -> _Explained:
    allowed = [str(v) for v in error.validator_value if v is not None]
    fix = choose(str(error.instance), allowed)
    if fix.startswith("did you"):
        fix += " Allowed: " + ", ".join(f"`{v}`" for v in allowed)
    yield (), f"{name} cannot be `{_shown(error.instance)}`", fix


_TYPES = {
    "object": "a set of keys", "array": "a list", "string": "text", "integer": "a whole number",
    "number": "a number", "boolean": "true or false", "null": "empty",
}  # fmt: skip


def _type(error: Any, name: str) -> _Explained:
    wanted = error.validator_value
    names = [wanted] if isinstance(wanted, str) else [w for w in wanted if w != "null"]
    what = f"{name} must be {' or '.join(_TYPES[n] for n in names)}, not {_shown(error.instance)}"
    if error.instance is None:
        yield (), what, "write a value or leave the key out"
    elif names == ["string"] and isinstance(error.instance, bool | int | float):
        yield (), what, f'put it in quotes: "{error.instance}"'
    elif names == ["array"]:
        yield (), what, "write a list: [one, two]"
    else:
        yield (), what, error.schema.get("description", "mend the value")


def _shape(error: Any, name: str) -> _Explained:
    what = f"{name} cannot be `{_shown(error.instance)}`"
    yield (), what, error.schema.get("description", f"it must match {error.schema.get('pattern')}")


def _short(error: Any, name: str) -> _Explained:
    yield (), f"{name} is empty", error.schema.get("description", "write something")


def _length(error: Any, name: str) -> _Explained:
    if error.instance in ([], {}):
        yield (), f"{name} is empty", error.schema.get("description", "add an entry")
        return
    least, most = (error.schema.get(k) for k in ("minItems", "maxItems"))
    wanted = f"exactly {least}" if least == most else f"{least or 0} or more"
    yield (), f"{name} must have {wanted} entries", error.schema.get("description", "mend the list")


def _bound(error: Any, name: str) -> _Explained:
    limits = error.schema
    low, high = limits.get("minimum", limits.get("exclusiveMinimum")), limits.get("maximum")
    span = f"between {low} and {high}" if high is not None else f"{low} or more"
    if "exclusiveMinimum" in limits:
        span = f"more than {low}"
    if "exclusiveMaximum" in limits:
        span += f" and less than {limits['exclusiveMaximum']}"
    yield (), f"{name} cannot be {_shown(error.instance)}", f"write a number {span}"


def _twice(error: Any, name: str) -> _Explained:
    twice = next(v for i, v in enumerate(error.instance) if v in error.instance[:i])
    yield (), f"{name} names `{_shown(twice)}` twice", "keep one of the two"


def _one_of(error: Any, name: str) -> _Explained:
    if not isinstance(error.instance, dict):
        return  # its type is reported already
    keys = [key for branch in error.validator_value for key in branch.get("required", ())]
    given = [key for key in keys if key in error.instance]
    what = f"{name} has {' and '.join(f'`{g}`' for g in given) or 'no length'}"
    yield (), what, "give exactly one of " + ", ".join(f"`{k}`" for k in keys)


def _other(error: Any, name: str) -> _Explained:
    yield (), f"{name} is not right: {error.message[:200]}", "see `loopwright org schema`"


_EXPLAIN: Mapping[str, Callable[[Any, str], _Explained]] = {
    "additionalProperties": _extra, "required": _missing, "enum": _listed, "type": _type,
    "pattern": _shape, "maxLength": _shape, "minLength": _short, "minItems": _length,
    "maxItems": _length, "minProperties": _length, "minimum": _bound, "maximum": _bound,
    "exclusiveMinimum": _bound, "exclusiveMaximum": _bound, "uniqueItems": _twice,
    "oneOf": _one_of,
}  # fmt: skip


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return _TYPES["array" if isinstance(value, list) else "object"]
    return "empty" if value is None else str(value)[:60]


# Building values


def _build_entries(file: str, kind: str, tree: _Tree) -> Iterator[Entry]:
    builds = KINDS[kind].builds
    if not KINDS[kind].many:
        yield Entry(file, tree.lines, (), _build(builds, tree.value))
        return
    for i, item in enumerate(tree.value[kind]):
        yield Entry(file, tree.lines, (kind, i), _build(builds, item))


@cache
def _fields(cls: type) -> Mapping[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.init}


def _build(hint: Any, value: Any) -> Any:
    """A value of the hinted type from plain data that its schema has passed."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        rest = next(a for a in args if a is not type(None))
        return None if value is None else _build(rest, value)
    if origin is tuple:
        return tuple(_build(args[0], item) for item in value)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _build(args[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return hint(**{k: _build(_fields(hint)[k], item) for k, item in value.items()})
    if isinstance(hint, type) and issubclass(hint, Enum | float):
        return hint(value)
    return value


def _assemble(draft: Draft) -> DocumentSet:
    def all_of(kind: str) -> tuple[Any, ...]:
        return tuple(entry.value for entry in draft.of(kind))

    model = all_of("model")
    return DocumentSet(
        organisation=all_of("organisation")[0],
        taxonomy=all_of("taxonomy")[0],
        rulebook=all_of("policy")[0],
        clocks=all_of("clocks"),
        ladders=all_of("ladders"),
        calendars=tuple(_with_years(c, all_of("calendar")) for c in all_of("calendars")),
        sources=all_of("sources"),
        templates=all_of("templates"),
        model=model[0] if model else None,
        retention=all_of("retention"),
        regulations=all_of("regulation"),
        measures=all_of("measures"),
    )


def _with_years(calendar: CalendarSpec, years: Iterable[CalendarYear]) -> CalendarSpec:
    """The calendar with the published years and days of its year files."""
    own = [y for y in years if y.calendar == calendar.id]
    published = {*calendar.published_years, *(y.year for y in own if y.published)}
    days = (*calendar.overrides, *(day for y in own for day in y.overrides))
    return dataclasses.replace(
        calendar,
        published_years=tuple(sorted(published)),
        overrides=tuple(sorted(days, key=lambda o: o.day)),
    )
