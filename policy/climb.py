"""Who is told as a clock runs out, and when: a reminder, the breach, the steps of a ladder.

- The reminder comes `warn_before_hours` before due, else at the ladder's latest step before due;
  working hours for a clock of working time and for a ladder's step, plain hours for calendar days.
  One that would not lie between start and due is left out.
- The breach is at due and tells the owner. A step at 0 hours that tells the owner is the breach.
- Steps are counted in working hours from the moment the breach was recorded, so that a clock found
  late does not ring everybody at once.
- Quiet hours put a reminder or step off to their end, never the breach.
- A step whose recipient is on leave, missing or told already is passed over: the next is taken at
  once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from policy.deadline import add_business_hours
from policy.organisation import Organisation
from policy.timing import ClockSpec, Ladder, Step
from policy.working_time import WorkingCalendar, moment_of

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Recipient:
    """A unit, or a person and the unit they belong to."""

    unit: str
    person: str | None = None


@dataclass(frozen=True)
class Ticking:
    """What a clock has done so far. `step`: the ladder's step taken last."""

    started_at: datetime
    due_at: datetime
    reminded: bool = False
    breached_at: datetime | None = None
    step: str | None = None


@dataclass(frozen=True)
class Act:
    """What happens now: `remind`, `breach` or `climb` (to `step`, passing over `passed`).

    `next_at`: when the clock must be looked at again, None when nothing is left. `to` is None when
    none of the steps left found anybody; `step` is then the last of them.
    """

    what: str
    next_at: datetime | None
    to: Recipient | None
    step: str | None = None
    passed: tuple[str, ...] = ()


def first_moment(
    start: datetime,
    due: datetime,
    spec: ClockSpec,
    ladder: Ladder | None,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo,
) -> datetime:
    """When a fresh clock must first be looked at, in UTC: its reminder or else its due time.

    `calendar` counts the hours of clocks and ladders, plain hours without one; quiet hours are
    local to `zone`. Raises CalendarError and ValueError as `add_business_hours`.
    """
    reminder = _reminder(start, due, spec, ladder, calendar, zone)
    return due.astimezone(UTC) if reminder is None else reminder


def acts(
    clock: Ticking,
    spec: ClockSpec,
    ladder: Ladder | None,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo,
    unit: str,
    organisation: Organisation,
    now: datetime,
) -> list[Act]:
    """Everything that is due by `now`, in order; the last one's `next_at` is the clock's.

    What is due is done when found, whatever the hour: a caller that comes late may hold the message
    back until `undisturbed`. Raises as `first_moment`.
    """
    due, owner = clock.due_at.astimezone(UTC), Recipient(unit)
    if clock.breached_at is None and now < due:
        if clock.reminded:
            return []
        at = _reminder(clock.started_at, due, spec, ladder, calendar, zone)
        return [Act("remind", due, owner)] if at is not None and at <= now else []
    breached_at = clock.breached_at or now
    climb = _Climb(ladder, calendar, zone, unit, organisation, max(due, breached_at))
    climbs = list(climb.taken(clock.step, now))
    if clock.breached_at is not None:
        return climbs
    return [Act("breach", climb.after(None), owner), *climbs]


def next_moment(
    clock: Ticking,
    spec: ClockSpec,
    ladder: Ladder | None,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo,
    unit: str,
    organisation: Organisation,
) -> datetime | None:
    """When a clock must be looked at next by the documents given; None when nothing is left.

    For a clock that other documents started: its ladder or warning may have changed since.
    """
    due = clock.due_at.astimezone(UTC)
    if clock.breached_at is not None:
        climb = _Climb(ladder, calendar, zone, unit, organisation, max(due, clock.breached_at))
        return climb.after(clock.step)
    if clock.reminded:
        return due
    return first_moment(clock.started_at, due, spec, ladder, calendar, zone)


def undisturbed(moment: datetime, ladder: Ladder | None, zone: ZoneInfo) -> datetime:
    """The moment in UTC, or the end of the ladder's quiet hours that it falls in."""
    if ladder is None or ladder.quiet is None:
        return moment.astimezone(UTC)
    begin, end = ladder.quiet
    local = moment.astimezone(zone)
    clock, day = f"{local:%H:%M}", local.date()
    overnight = end < begin
    if not (begin <= clock or clock < end if overnight else begin <= clock < end):
        return moment.astimezone(UTC)
    tomorrow = overnight and begin <= clock
    return max(moment_of(zone, day + DAY if tomorrow else day, end), moment.astimezone(UTC))


def _reminder(
    start: datetime,
    due: datetime,
    spec: ClockSpec,
    ladder: Ladder | None,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo,
) -> datetime | None:
    hours, working = _warning(spec, ladder)
    planned = _later(due, -hours, calendar if working else None)
    if planned <= start:
        return None
    moment = undisturbed(planned, ladder, zone)
    return moment if moment < due else None


def _warning(spec: ClockSpec, ladder: Ladder | None) -> tuple[float, bool]:
    """How many hours before due, 0 for no warning; whether they are hours of working time."""
    if spec.warn_before_hours is not None:
        return spec.warn_before_hours, spec.calendar_days is None
    before = [-step.after_hours for step in ladder.steps if step.after_hours < 0] if ladder else []
    return min(before, default=0.0), True


def _later(moment: datetime, hours: float, calendar: WorkingCalendar | None) -> datetime:
    if calendar is None:
        return moment.astimezone(UTC) + timedelta(hours=hours)
    return add_business_hours(moment, hours, calendar)


@dataclass(frozen=True)
class _Climb:
    """One ladder of one breached clock, counted from `base`."""

    ladder: Ladder | None
    calendar: WorkingCalendar | None
    zone: ZoneInfo
    unit: str
    organisation: Organisation
    base: datetime

    def taken(self, last: str | None, now: datetime) -> Iterator[Act]:
        """The steps after `last` that are due by now, each as an act."""
        steps = self._steps()
        n = _position(steps, last)
        told = self._told(steps, n)
        at = self._next(steps[n:], told)
        while at is not None and at <= now:
            first = n
            to, n = self._rung(steps, n, told, now)
            told |= {to} if to else set()
            at = self._next(steps[n:], told)
            passed = tuple(step.id for step in steps[first : n - 1 if to else n])
            yield Act("climb", at, to, steps[n - 1].id, passed)

    def after(self, last: str | None) -> datetime | None:
        """The moment of the next step after `last`, None: the first."""
        steps = self._steps()
        n = _position(steps, last)
        return self._next(steps[n:], self._told(steps, n))

    def _steps(self) -> list[Step]:
        """The steps past due, in order of time."""
        steps = self.ladder.steps if self.ladder else ()
        past = [s for s in steps if s.after_hours > 0 or (s.after_hours == 0 and s.tell != "owner")]
        return sorted(past, key=lambda step: step.after_hours)

    def _at(self, step: Step) -> datetime:
        return undisturbed(
            _later(self.base, step.after_hours, self.calendar), self.ladder, self.zone
        )

    def _next(self, left: list[Step], told: set[Recipient]) -> datetime | None:
        """The next step's moment; None when the rest can tell nobody who was not told."""
        if all(self._recipient(step) in {None, *told} for step in left):
            return None
        return self._at(left[0])

    def _told(self, steps: list[Step], done: int) -> set[Recipient]:
        """Whom the first `done` steps told, as far as they were taken in time."""
        told: set[Recipient] = set()
        n = 0
        while n < done:
            to, n = self._rung(steps, n, told, self._at(steps[n]))
            told |= {to} if to else set()
        return told

    def _rung(
        self, steps: list[Step], n: int, told: set[Recipient], moment: datetime
    ) -> tuple[Recipient | None, int]:
        """Whom step `n`, or the first after it that finds somebody, tells; and the step after."""
        day = moment.astimezone(self.zone).date()
        for following, step in enumerate(steps[n:], n + 1):
            to = self._recipient(step)
            if to is not None and to not in told and not self._away(to, day):
                return to, following
        return None, len(steps)

    def _away(self, to: Recipient, day: date) -> bool:
        person = self.organisation.person_by_id.get(to.person or "")
        return person is not None and any(
            leave.first <= day.isoformat() <= leave.last for leave in person.leave
        )

    def _recipient(self, step: Step) -> Recipient | None:
        if step.tell == "owner":
            return Recipient(self.unit)
        if step.tell == "ops":
            return Recipient(self.organisation.operations)
        line = self.organisation.managers(self.unit)
        if step.tell == "senior":
            line = tuple(person for person in line if "senior" in person.roles)
        person = next(iter(line[1:] if step.tell == "manager2" else line), None)
        return Recipient(person.unit, person.id) if person else None


def _position(steps: list[Step], last: str | None) -> int:
    """How many steps are done; all of them when the ladder no longer knows the last one."""
    if last is None:
        return 0
    return next((n + 1 for n, step in enumerate(steps) if step.id == last), len(steps))
