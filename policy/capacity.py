"""Who of a unit takes the next ticket: those on duty, by the room they have left."""

from collections.abc import Iterable, Mapping
from datetime import date
from math import inf

from policy.organisation import Organisation, Person


def handlers(organisation: Organisation, unit: str, day: date) -> list[Person]:
    """The unit's people who are not on leave that day."""
    of_unit = (person for person in organisation.people if person.unit == unit)
    return [person for person in of_unit if person.leave_on(day.isoformat()) is None]


def room(person: Person, held: Mapping[str, int]) -> float:
    """How many more tickets a person may hold; infinity for one without a limit."""
    return inf if person.capacity is None else person.capacity - held.get(person.id, 0)


def roomiest(people: Iterable[Person], held: Mapping[str, int]) -> Person | None:
    """Who has the most room left, of several the one who holds least; None when all are full."""
    free = [person for person in people if room(person, held) > 0]
    return min(free, key=lambda p: (-room(p, held), held.get(p.id, 0), p.id), default=None)
