"""Message templates as plain values; rendering and linting live in `notifications/`."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TemplateBody:
    """One language of a template. `text` is the plain part; `mjml` the HTML part's layout body."""

    subject: str
    text: str
    mjml: str


@dataclass(frozen=True)
class MessageTemplate:
    """A message of one kind, e.g. `ticket_assigned`, in zh and en."""

    id: str
    version: str
    languages: Mapping[str, TemplateBody]
