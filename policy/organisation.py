"""Who works where: the organisation document as plain values, and the questions asked of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from models.kinds import UnitLevel

Text = Mapping[str, str]
"""A sentence in both languages: {"zh": ..., "en": ...}."""


@dataclass(frozen=True)
class Contact:
    """How messages reach a unit or person; absent ways are None."""

    email: str | None = None
    wecom: str | None = None


@dataclass(frozen=True)
class Leave:
    """First and last day away, ISO dates, both included; `deputy` decides meanwhile."""

    first: str
    last: str
    deputy: str | None = None


@dataclass(frozen=True)
class Unit:
    code: str
    level: UnitLevel
    title: Text
    parent: str | None = None
    head: str | None = None
    calendar: str | None = None
    contact: Contact = Contact()


@dataclass(frozen=True)
class Person:
    id: str
    name: str
    unit: str
    manager: str | None = None
    roles: tuple[str, ...] = ()
    contact: Contact = Contact()
    leave: tuple[Leave, ...] = ()
    capacity: int | None = None
    """Open tickets that one person may hold; None: any number."""

    def leave_on(self, day: str) -> Leave | None:
        """The leave that an ISO day falls into; of several the one that ends last."""
        found = [leave for leave in self.leave if leave.first <= day <= leave.last]
        return max(found, key=lambda leave: leave.last, default=None)


@dataclass(frozen=True)
class Organisation:
    organisation: str
    title: Text
    zone: str
    language: str
    units: tuple[Unit, ...]
    people: tuple[Person, ...]
    mail_domain: str = "loopwright.invalid"
    example: bool = False
    """Made up, to try things with: regulations run unsigned and templates unapproved."""
    unit_by_code: Mapping[str, Unit] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "unit_by_code", {u.code: u for u in self.units})

    @cached_property
    def person_by_id(self) -> Mapping[str, Person]:
        return {p.id: p for p in self.people}

    @cached_property
    def operations(self) -> str:
        """The unit that runs customer experience: the first whose people have the role `ops`."""
        return next((p.unit for p in self.people if "ops" in p.roles), self.units[0].code)

    def lineage(self, code: str) -> tuple[Unit, ...]:
        """The unit and its parents, nearest first; empty when the code is unknown."""
        line: list[Unit] = []
        unit = self.unit_by_code.get(code)
        while unit is not None and unit not in line:
            line.append(unit)
            unit = self.unit_by_code.get(unit.parent or "")
        return tuple(line)

    def unit_at(self, code: str, level: UnitLevel) -> Unit | None:
        """The unit itself or its nearest parent at `level`."""
        return next((u for u in self.lineage(code) if u.level is level), None)

    def managers(self, code: str) -> tuple[Person, ...]:
        """The unit's head and the managers above, nearest first; empty without a known head."""
        line: list[Person] = []
        unit = self.unit_by_code.get(code)
        person = self.person_by_id.get((unit.head if unit else None) or "")
        while person is not None and person not in line:
            line.append(person)
            person = self.person_by_id.get(person.manager or "")
        return tuple(line)


def with_leave(organisation: Organisation, leave: Mapping[str, Sequence[Leave]]) -> Organisation:
    """The organisation with further leave of its people, by person; unknown people are left out."""
    if not leave:
        return organisation
    people = tuple(
        replace(person, leave=(*person.leave, *leave[person.id])) if person.id in leave else person
        for person in organisation.people
    )
    return replace(organisation, people=people)
