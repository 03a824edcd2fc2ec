"""Messages as people read them: subject, plain text and HTML from a template and a context.

The sandbox here is the second wall; `notifications/lint.py` is the first and works when a template
is saved. The layout of all HTML mail is `layout.mjml`; a template's `mjml` is the inside of its
one column.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from loopwright.errors import FindingError
from notifications.context import CONTEXT, TO_CUSTOMERS, mask_context
from policy.message_templates import MessageTemplate, TemplateBody

FILTERS = ("default", "upper")
LANGUAGES = ("zh", "en")
SUBJECT_LIMIT = 150
LAYOUT = Path(__file__).with_name("layout.mjml")


class RenderError(FindingError):
    """A message that must not be sent: a variable is missing or the template is broken."""


@dataclass(frozen=True)
class Rendered:
    """`subject` is one line of at most 150 characters; `html` is a whole document."""

    subject: str
    text: str
    html: str


def environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    """A sandbox that knows the listed filters and nothing else."""
    made = ImmutableSandboxedEnvironment(
        autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters = {name: made.filters[name] for name in FILTERS}
    made.globals.clear()
    made.tests.clear()
    return made


_PLAIN = environment(autoescape=False)
_MARKUP = environment(autoescape=True)


@lru_cache(maxsize=256)
def _compiled(source: str, is_markup: bool) -> Template:
    return (_MARKUP if is_markup else _PLAIN).from_string(source)


@lru_cache(maxsize=1)
def _layout() -> Template:
    return _MARKUP.from_string(LAYOUT.read_text("utf-8"))


def render(template: MessageTemplate, language: str, context: Mapping[str, Any]) -> Rendered:
    """The message in `language`, with the context masked as its template's variables declare.

    Raises RenderError (its text names variables, never values) when a variable is missing, the
    language or template is unknown, or the layout does not take the result.
    """
    body = template.languages.get(language)
    if body is None:
        raise RenderError(f"template {template.id} has no {language}", "write that language")
    if template.id not in CONTEXT:
        raise RenderError(f"unknown template {template.id}", "declare its variables")
    try:
        shown = mask_context(template.id, context)
        return _rendered(body, language, shown, template.id in TO_CUSTOMERS)
    except (TemplateError, ValueError, TypeError, AttributeError, OSError) as error:
        raise RenderError(f"template {template.id} ({language}): {error}") from None


def _rendered(
    body: TemplateBody, language: str, context: Mapping[str, Any], to_customer: bool
) -> Rendered:
    import mrml

    subject = " ".join(_compiled(body.subject, False).render(context).split())[:SUBJECT_LIMIT]
    text = _compiled(body.text, False).render(context).strip() + "\n"
    inside = Markup(_compiled(body.mjml, True).render(context))
    frame = {"subject": subject, "language": language, "to_customer": to_customer}
    mjml = _layout().render({**context, **frame, "body": inside})
    return Rendered(subject, text, mrml.to_html(mjml).content)
