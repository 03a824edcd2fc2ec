"""Who may agree to what: levels of approval as the policy's data, deputies, and nobody their own.

A request belongs to a unit and is made by a person. Who may grant it follows from the unit's place
in the organisation, from roles, and from who is away that day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain, groupby

from models.kinds import ApprovalKind, UnitLevel
from policy.organisation import Organisation, Person, Text, Unit

UNIT_HEAD, MANAGER, SUPERIOR, HEAD_OFFICE = "unit_head", "manager", "superior", "head_office"
HEAD, ROLE = "head:", "role:"
SENIOR = "senior"
"""The role of head office's senior executives."""


@dataclass(frozen=True)
class ApprovalRule:
    """One level of approval: requests of `kind` at `level` are granted by any of `who`.

    `who`: `unit_head` (of the unit that asks), `manager` (the head and the managers above),
    `head:LEVEL` (of the nearest unit at that level), `superior` (the head of the next unit above),
    `head_office` (people of head office with the role `senior`), `role:NAME`. `up_to_fen`: the
    limit of a compensation, in fen; None: any amount.
    """

    kind: ApprovalKind
    level: str
    title: Text
    who: tuple[str, ...]
    up_to_fen: int | None = None


@dataclass(frozen=True)
class Asked:
    """What of a request matters to who may grant it; `barred` may not handle the case."""

    kind: ApprovalKind
    level: str
    unit: str
    by: str
    barred: frozenset[str] = frozenset()


def rules_of(rules: Sequence[ApprovalRule], kind: ApprovalKind) -> list[ApprovalRule]:
    return [rule for rule in rules if rule.kind is kind]


def level_for(
    rules: Sequence[ApprovalRule], kind: ApprovalKind, fen: int | None = None
) -> ApprovalRule | None:
    """The lowest level that can grant it; None when no level can."""
    enough = [
        rule
        for rule in rules_of(rules, kind)
        if rule.up_to_fen is None or (fen is not None and fen <= rule.up_to_fen)
    ]
    return min(enough, key=ceiling, default=None)


def ceiling(rule: ApprovalRule) -> float:
    return float("inf") if rule.up_to_fen is None else rule.up_to_fen


def authorities(rules: Sequence[ApprovalRule], asked: Asked) -> list[ApprovalRule]:
    """The rules that allow to grant it: its own level first, then those with a higher limit."""
    same = rules_of(rules, asked.kind)
    own = next((rule for rule in same if rule.level == asked.level), None)
    if own is None:
        return []
    higher = [rule for rule in same if ceiling(rule) > ceiling(own)]
    return [own, *sorted(higher, key=ceiling)]


def approvers(
    rules: Sequence[ApprovalRule], asked: Asked, organisation: Organisation, on: date
) -> dict[str, str | None]:
    """Person -> whom they stand in for (None: nobody), for all who may grant it on that day.

    Nearest first. Whoever may in their own right stands in for nobody; who asks, or may not handle
    the case, is never among them.
    """
    found: dict[str, str | None] = {}
    for rule in authorities(rules, asked):
        for who in rule.who:
            near = present(who, asked, organisation, on)
            # A head who is away, or asks, is replaced by the next above.
            for person, absent in chain(*(near[:1] if is_head(who) else near)):
                found[person] = found.get(person, absent) and absent
    return found


def to_tell(
    rules: Sequence[ApprovalRule], asked: Asked, organisation: Organisation, on: date
) -> dict[str, str | None]:
    """Those of the approvers who stand nearest to the request, of its own level if it has any."""
    for rule in authorities(rules, asked):
        near = [present(who, asked, organisation, on)[:1] for who in rule.who]
        if people := [person for person, _ in chain(*chain(*near))]:
            may = approvers(rules, asked, organisation, on)
            return {person: may[person] for person in people}
    return {}


def is_head(who: str) -> bool:
    return who in (UNIT_HEAD, SUPERIOR) or who.startswith(HEAD)


def present(
    who: str, asked: Asked, organisation: Organisation, on: date
) -> list[list[tuple[str, str | None]]]:
    """Who of those that a word names can decide that day, and for whom: groups, nearest first."""
    found = [
        [stand for p in tier if (stand := stand_in(p, asked, organisation, on)) is not None]
        for tier in tiers(who, asked.unit, organisation)
    ]
    return [group for group in found if group]


def tiers(who: str, unit: str, organisation: Organisation) -> list[list[Person]]:
    """The people that a word of `ApprovalRule.who` names, in groups that stand equally near to the
    unit, nearest first. Of a head, the managers above come after."""
    if who.startswith(ROLE) or who == HEAD_OFFICE:
        people = [p for p in organisation.people if is_named(who, p, organisation)]
        nearness = partial(distance, unit=unit, organisation=organisation)
        return [list(group) for _, group in groupby(sorted(people, key=nearness), nearness)]
    place = place_of(who, unit, organisation)
    return [[person] for person in organisation.managers(place.code)] if place else []


def is_named(who: str, person: Person, organisation: Organisation) -> bool:
    if who.startswith(ROLE):
        return who.removeprefix(ROLE) in person.roles
    unit = organisation.unit_by_code.get(person.unit)
    return unit is not None and unit.level is UnitLevel.HEAD_OFFICE and SENIOR in person.roles


def distance(person: Person, unit: str, organisation: Organisation) -> tuple[int, int]:
    """The unit's managers come first, then its people, those of the units above, all others."""
    managers = [manager.id for manager in organisation.managers(unit)]
    line = [above.code for above in organisation.lineage(unit)]
    return position(managers, person.id), position(line, person.unit)


def position(names: Sequence[str], name: str) -> int:
    return names.index(name) if name in names else len(names)


def place_of(who: str, unit: str, organisation: Organisation) -> Unit | None:
    """The unit whose head is meant."""
    if who.startswith(HEAD):
        return organisation.unit_at(unit, UnitLevel(who.removeprefix(HEAD)))
    line = organisation.lineage(unit)
    return next(iter(line[1:] if who == SUPERIOR else line), None)


def stand_in(
    person: Person, asked: Asked, organisation: Organisation, on: date
) -> tuple[str, str | None] | None:
    """The person, or their deputy while they are away; None when neither may."""
    leave = person.leave_on(on.isoformat())
    acting = organisation.person_by_id.get((leave.deputy or "") if leave else person.id)
    if acting is None or acting.id in {asked.by, *asked.barred}:
        return None
    if leave and acting.leave_on(on.isoformat()):
        return None
    return acting.id, person.id if leave else None


def may_approve(
    rules: Sequence[ApprovalRule],
    asked: Asked,
    person: str,
    organisation: Organisation,
    on: date,
) -> Text | None:
    """None when the person may decide it on that day; otherwise why not."""
    if person in approvers(rules, asked, organisation, on):
        return None
    return refusal(authorities(rules, asked), asked, person, organisation, on)


def refusal(
    allowed: Sequence[ApprovalRule], asked: Asked, person: str, organisation: Organisation, on: date
) -> Text:
    if person == asked.by:
        return {"zh": "不能审批自己的申请", "en": "nobody decides on their own request"}
    if person in asked.barred:
        return {"zh": "与此事有利害关系，须回避", "en": "they may not handle this case"}
    if not allowed:
        return {
            "zh": f"现行策略没有审批级别 {asked.level}（{asked.kind.value}）",
            "en": f"the policy has no level {asked.level} for {asked.kind.value}",
        }
    named = organisation.person_by_id.get(person)
    if named and named.leave_on(on.isoformat()):
        return {"zh": "正在休假，由代理人审批", "en": "they are on leave; their deputy decides"}
    title = allowed[0].title
    return {
        "zh": f"须由“{title['zh']}”审批",
        "en": f"it takes the level {title['en']!r}",
    }
