"""Which units get the work of a decision: one lead, and the participants beside it?"""

from dataclasses import dataclass

from models.kinds import Level, UnitLevel
from policy.organisation import Organisation
from policy.route import Decision
from policy.taxonomy import Topic

_AT: dict[Level, UnitLevel] = {
    Level.OUTLET: UnitLevel.OUTLET,
    Level.SUB_BRANCH: UnitLevel.SUB_BRANCH,
    Level.BRANCH: UnitLevel.BRANCH,
}
"""Levels a customer's own unit can resolve; above them the topic's owner does."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Unit codes. `lead` is None when no known unit can lead: the loop goes to triage."""

    lead: str | None
    participants: tuple[str, ...]
    reason: str


def assign(
    decision: Decision, topic: Topic | None, organisation: Organisation, customer_unit: str | None
) -> Assignment:
    """The units of a decision as `Then.lead` says; an unknown unit gives no lead and a reason."""
    lead = _lead(decision, topic, organisation, customer_unit)
    if lead is None:
        return Assignment(None, (), "the topic is unknown, so it has no owner")
    codes = [c for p in decision.participants for c in _named(p, topic)]
    participants = tuple(dict.fromkeys(c for c in codes if c != lead))
    unknown = [c for c in (lead, *participants) if c not in organisation.unit_by_code]
    if unknown:
        return Assignment(None, (), "unknown unit " + ", ".join(unknown))
    return Assignment(lead, participants, "")


def _lead(
    decision: Decision, topic: Topic | None, organisation: Organisation, customer_unit: str | None
) -> str | None:
    if decision.lead.startswith("unit:"):
        return decision.lead.removeprefix("unit:")
    level = _AT.get(decision.level)
    if decision.lead == "customer_unit" and customer_unit and level:
        unit = organisation.unit_at(customer_unit, level)
        if unit is not None:
            return unit.code
    return topic.owner if topic else None


def _named(participant: str, topic: Topic | None) -> tuple[str, ...]:
    if participant != "topic":
        return (participant,)
    return (topic.owner, *topic.departments) if topic else ()
