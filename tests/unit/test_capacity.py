"""Who takes the next ticket: on duty, with the most room, holding the least."""

from datetime import date

import pytest

from models.kinds import UnitLevel
from policy.capacity import handlers, room, roomiest
from policy.organisation import Leave, Organisation, Person, Unit, with_leave

T = {"zh": "测试", "en": "Test"}
DAY = date(2026, 8, 7)


def person(id_: str, capacity: int | None = None, unit: str = "A") -> Person:
    return Person(id_, id_, unit, capacity=capacity)


def firm(*people: Person) -> Organisation:
    units = (Unit("A", UnitLevel.DEPARTMENT, T), Unit("B", UnitLevel.DEPARTMENT, T))
    return Organisation("t", T, "Asia/Shanghai", "zh", units, people)


@pytest.mark.parametrize(
    ("people", "held", "expected"),
    [
        ([], {}, None),
        ([person("a", 2), person("b", 3)], {}, "b"),
        ([person("a", 2), person("b", 3)], {"b": 2}, "a"),
        ([person("a", 2), person("b", 2)], {}, "a"),
        ([person("a", 3), person("b", 2)], {"a": 1}, "b"),  # as much room, holding less
        ([person("a", 2), person("b", 2)], {"a": 2, "b": 2}, None),
        ([person("a", 0)], {}, None),
        ([person("a", 1)], {"a": 4}, None),
        ([person("a", 9), person("b")], {"b": 50}, "b"),  # without a limit
        ([person("a"), person("b")], {"a": 2, "b": 1}, "b"),
    ],
)
def test_the_roomiest(people: list[Person], held: dict[str, int], expected: str | None) -> None:
    found = roomiest(people, held)
    assert (found.id if found else None) == expected
    assert found is None or room(found, held) == max(room(p, held) for p in people)


@pytest.mark.parametrize(
    ("first", "last", "there"),
    [("2026-08-07", "2026-08-07", False), ("2026-08-01", "2026-08-06", True),
     ("2026-08-08", "2026-08-09", True), ("2026-08-01", "2026-08-31", False)],
)  # fmt: skip
def test_handlers_are_the_units_own_and_on_duty(first: str, last: str, there: bool) -> None:
    people = firm(person("a"), person("b"), person("c", unit="B"))
    away = with_leave(people, {"b": [Leave(first, last)], "nobody": [Leave(first, last)]})
    assert [p.id for p in handlers(away, "A", DAY)] == (["a", "b"] if there else ["a"])


def test_leave_is_added_and_nothing_else_changes() -> None:
    people = firm(person("a"), person("b"))
    assert with_leave(people, {}) is people
    once = with_leave(people, {"a": [Leave("2026-01-01", "2026-01-02")]})
    twice = with_leave(once, {"a": [Leave("2026-08-01", "2026-08-09", "b")]})
    assert [len(p.leave) for p in twice.people] == [2, 0]
    assert twice.person_by_id["a"].leave_on("2026-08-05") == Leave("2026-08-01", "2026-08-09", "b")
    assert twice.unit_by_code.keys() == people.unit_by_code.keys()
