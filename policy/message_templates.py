"""Message templates as plain values; rendering and linting live in `notifications/`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256


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

    def content_hash(self) -> str:
        """SHA-256 of all it says in both languages, whatever its version is called."""
        said = {language: asdict(body) for language, body in self.languages.items()}
        return sha256(json.dumps([self.id, said], sort_keys=True).encode()).hexdigest()
