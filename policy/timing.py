"""Clock specifications, ladders and calendars as plain values (issue of deadlines: see docs)."""

from dataclasses import dataclass

from policy.organisation import Text


@dataclass(frozen=True)
class PauseReason:
    """Why a clock may stand still, and what must be shown for it.

    `proof`: `asked` (that the customer was asked for what is missing) or `evidence` (of the work
    done outside). `notice`: the customer must have been told. `article`: what of the regulation
    says so.
    """

    id: str
    title: Text
    proof: str
    notice: bool = False
    article: str | None = None


@dataclass(frozen=True)
class ClockSpec:
    """One deadline. Exactly one of the three lengths is set.

    `kind`: legal, customer or owner. `starts`: receipt or assignment. `stops`: what ends it
    (told, first_answer, closed, resolved). `calendar` names a calendar for business time. `loop`:
    small, big or any, the loops it runs for.
    """

    id: str
    kind: str
    title: Text
    starts: str
    stops: str
    business_hours: float | None = None
    business_days: int | None = None
    calendar_days: int | None = None
    calendar: str | None = None
    warn_before_hours: float | None = None
    loop: str = "any"
    warn_at: float | None = None
    """Share of its length after which it is reminded of, e.g. 0.75; instead of the hours."""
    ladder: str | None = None
    """A ladder of its own, before the loop's."""
    pauses: tuple[PauseReason, ...] = ()
    """For which reasons it may stand still; none: it never does."""
    counts_receipt: bool = False
    """Of a legal clock: whether the day of receipt is its first day."""
    rolls: bool = False
    """Of a legal clock: whether a last day without working time moves to the next with it."""


@dataclass(frozen=True)
class Step:
    """Tell `tell` (owner, manager, manager2, senior, ops) `after_hours` business hours past due.

    Negative hours are before due.
    """

    id: str
    tell: str
    after_hours: float


@dataclass(frozen=True)
class Ladder:
    id: str
    title: Text
    steps: tuple[Step, ...]
    quiet: tuple[str, str] | None = None
    """Local hours in which nobody is disturbed, e.g. ("21:00", "08:00")."""
    stall_hours: float | None = None
    """Business hours without a sign of work after which an accepted ticket climbs on; None: an
    acceptance stops nothing."""


@dataclass(frozen=True)
class Override:
    """One day that differs: kind `holiday`, `workday` or `half_day`.

    `shifts` says which hours are worked; without them see `working_time.WorkingCalendar`.
    """

    day: str
    kind: str
    title: Text
    shifts: tuple[tuple[str, str], ...] | None = None


@dataclass(frozen=True)
class CalendarSpec:
    """Working time. `shifts` maps iso weekdays 1-7 to ("09:00", "12:00") pairs of local time."""

    id: str
    title: Text
    country: str
    zone: str
    published_years: tuple[int, ...]
    shifts: dict[str, tuple[tuple[str, str], ...]]
    overrides: tuple[Override, ...] = ()
