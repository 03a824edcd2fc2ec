"""When may a customer be asked whether it is solved, and what follows a silence or a call?"""

from datetime import datetime, timedelta

from models.kinds import CallOutcome, Unverified, Way
from policy.organisation import Organisation, Person

LAW_FIRST = timedelta(days=1)
"""A question tells the decision: so long before such a clock runs out it waits no more."""
UNASKED = {Way.OPTED_OUT: Unverified.OPTED_OUT, Way.UNREACHABLE: Unverified.UNREACHABLE}
"""Ways that are none -> why the loop closes."""
FINAL_CALLS = {
    CallOutcome.WRONG_NUMBER: Unverified.UNREACHABLE,
    CallOutcome.REFUSED: Unverified.REFUSED,
}
"""Calls after which nobody calls again."""


def ask_from(
    now: datetime, contacted_at: datetime | None, gap: timedelta, tell_by: datetime | None
) -> datetime:
    """When a customer may be asked about a loop, at the earliest `now`.

    `contacted_at`: when they were last asked about another loop; `tell_by`: when the first clock
    that waits for them to be told the decision runs out. Their own loop's earlier question does not
    count: between two of them lies something they said.
    """
    if contacted_at is None:
        return now
    rested = contacted_at + gap
    return max(now, rested if tell_by is None else min(rested, tell_by - LAW_FIRST))


def after_silence(via: Way, way: Way, contacts: int, most: int, arrived: bool) -> Way | Unverified:
    """How a customer who has not answered is asked again, or why the loop closes.

    `via`: how they were asked, `way`: how they can be asked now; `arrived`: whether a message
    reached them, without which nobody is silent. What nobody called about stays to be called.
    """
    if via is Way.MAIL and arrived and contacts >= most:
        return Unverified.SILENT
    if way in UNASKED:
        return UNASKED[way]
    return Way.CALL if via is Way.CALL else way


def after_call(outcome: CallOutcome, contacts: int, most: int) -> Unverified | None:
    """Why the loop closes after the `contacts`-th contact brought no answer; None: call again.

    Who asks to be called later is called later, however often they have been.
    """
    if outcome in FINAL_CALLS or outcome is CallOutcome.CALL_LATER:
        return FINAL_CALLS.get(outcome)
    return Unverified.UNREACHABLE if contacts >= most else None


def hears_of_reopening(organisation: Organisation, unit: str, day: str) -> Person | None:
    """The unit's head, else who stands in for them, else the nearest above; on an ISO `day`."""
    for manager in organisation.managers(unit):
        leave = manager.leave_on(day)
        deputy = organisation.person_by_id.get((leave.deputy if leave else None) or "")
        here = deputy if leave else manager
        if here is not None and here.leave_on(day) is None:
            return here
    return None
