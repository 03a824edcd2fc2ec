"""Who is told as a clock runs out, and when: a reminder, the breach, the steps of a ladder.

- The reminder comes when the share `warn_at` of the clock's length has passed, else
  `warn_before_hours` before due, else at the ladder's latest step before due; working hours for a
  clock of working time and for a ladder's step, plain hours for calendar days. One that would not
  lie between start and due is left out.
- The breach is at due and tells the owner. A step at 0 hours that tells the owner is the breach.
- Steps are counted in working hours from the moment the breach was recorded, so that a clock found
  late does not ring everybody at once.
- Accepting the ticket stops the climb. After the ladder's `stall_hours` of working time without a
  sign of work it goes on where it was.
- Quiet hours put a reminder or step off to their end, never the breach.
- Somebody on leave is told through the deputy. A step whose recipient is away without one, missing
  or told already is passed over: the next is taken at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from policy.deadline import add_business_hours, business_hours_between, due_many
from policy.organisation import Organisation
from policy.timing import ClockSpec, Ladder, Step
from policy.working_time import WorkingCalendar, moment_of

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Recipient:
    """A unit, or a person and the unit they belong to."""

    unit: str
    person: str | None = None


@dataclass(frozen=True)
class Ticking:
    """What a clock has done so far. `step`: the ladder's step taken last, at `climbed_at`; `told`:
    whom its steps told.

    `accepted_at`, `active_at`: of its ticket, the second the last sign of work; None where nobody
    has accepted, or where that does not stop the climb.
    """

    started_at: datetime
    due_at: datetime
    reminded: bool = False
    breached_at: datetime | None = None
    step: str | None = None
    climbed_at: datetime | None = None
    told: frozenset[Recipient] = field(default=frozenset())
    accepted_at: datetime | None = None
    active_at: datetime | None = None


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

    What is due is done when found, whatever the hour: a caller holds the message back until
    `undisturbed`. Raises as `first_moment`.
    """
    due, owner = clock.due_at.astimezone(UTC), Recipient(unit)
    if clock.breached_at is None and now < due:
        if clock.reminded:
            return []
        at = _reminder(clock.started_at, due, spec, ladder, calendar, zone)
        return [Act("remind", due, owner)] if at is not None and at <= now else []
    breached = replace(clock, breached_at=clock.breached_at or now)
    climb = _Climb(ladder, calendar, zone, unit, organisation, breached)
    climbs = list(climb.taken(now))
    if clock.breached_at is not None:
        return climbs
    return [Act("breach", climb.next_at(), owner), *climbs]


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
    if clock.breached_at is not None:
        return _Climb(ladder, calendar, zone, unit, organisation, clock).next_at()
    due = clock.due_at.astimezone(UTC)
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
    hours, working = _warning(start, spec, ladder, calendar, zone)
    planned = _later(due, -hours, calendar if working else None)
    if planned <= start:
        return None
    moment = undisturbed(planned, ladder, zone)
    return moment if moment < due else None


def _warning(
    start: datetime,
    spec: ClockSpec,
    ladder: Ladder | None,
    calendar: WorkingCalendar | None,
    zone: ZoneInfo,
) -> tuple[float, bool]:
    """How many hours before due, 0 for no warning; whether they are hours of working time."""
    working = spec.calendar_days is None
    if spec.warn_at is not None:
        # Of the length as specified: neither a pause nor an extension makes the warning earlier.
        (planned,) = due_many([start], spec, calendar, zone)
        length = _hours(start, planned.due, calendar if working else None)
        return (1 - spec.warn_at) * length, working
    if spec.warn_before_hours is not None:
        return spec.warn_before_hours, working
    before = [-step.after_hours for step in ladder.steps if step.after_hours < 0] if ladder else []
    return min(before, default=0.0), True


def _later(moment: datetime, hours: float, calendar: WorkingCalendar | None) -> datetime:
    if calendar is None:
        return moment.astimezone(UTC) + timedelta(hours=hours)
    return add_business_hours(moment, hours, calendar)


def _hours(start: datetime, end: datetime, calendar: WorkingCalendar | None) -> float:
    if calendar is None:
        return (end - start) / HOUR
    return business_hours_between(start, end, calendar)


@dataclass(frozen=True)
class _Climb:
    """One ladder of one breached clock."""

    ladder: Ladder | None
    calendar: WorkingCalendar | None
    zone: ZoneInfo
    unit: str
    organisation: Organisation
    clock: Ticking

    def taken(self, now: datetime) -> Iterator[Act]:
        """The steps that are due by now, each as an act."""
        climb, at = self, self.next_at()
        while at is not None and at <= now:
            to, steps = climb._rung(now)
            climb = climb._after(to, steps[-1], now)
            at = climb.next_at()
            passed = tuple(step.id for step in (steps[:-1] if to else steps))
            yield Act("climb", at, to, steps[-1].id, passed)

    def next_at(self) -> datetime | None:
        """When the next step is taken; None when those left can tell nobody who was not told."""
        left = self._left
        if all(self._recipient(step) in {None, *self.clock.told} for step in left):
            return None
        since, passed = self._counted
        hours = max(0.0, left[0].after_hours - passed)
        return undisturbed(_later(since, hours, self.calendar), self.ladder, self.zone)

    def _after(self, to: Recipient | None, step: Step, now: datetime) -> "_Climb":
        told = self.clock.told | ({to} if to else frozenset())
        return replace(self, clock=replace(self.clock, step=step.id, climbed_at=now, told=told))

    @cached_property
    def _steps(self) -> list[Step]:
        """The steps past due, in order of time."""
        steps = self.ladder.steps if self.ladder else ()
        past = [s for s in steps if s.after_hours > 0 or (s.after_hours == 0 and s.tell != "owner")]
        return sorted(past, key=lambda step: step.after_hours)

    @cached_property
    def _left(self) -> list[Step]:
        """The steps not taken; none when the ladder no longer knows the last one."""
        if self.clock.step is None:
            return self._steps
        taken = [n for n, step in enumerate(self._steps) if step.id == self.clock.step]
        return self._steps[taken[0] + 1 :] if taken else []

    @property
    def _counted(self) -> tuple[datetime, float]:
        """From when the hours of the steps left are counted, and how many had passed by then."""
        clock = self.clock
        base = max(clock.due_at, clock.breached_at or clock.due_at)
        stall = self.ladder.stall_hours if self.ladder else None
        if stall is None or clock.accepted_at is None or clock.active_at is None:
            return base, 0.0
        stalled = _later(clock.active_at, stall, self.calendar)
        if clock.climbed_at is not None and clock.climbed_at > clock.accepted_at:
            step = next(s for s in self._steps if s.id == clock.step)
            return max(clock.climbed_at, stalled), step.after_hours
        stood = max(base, clock.accepted_at)
        return max(stood, stalled), _hours(base, stood, self.calendar)

    def _rung(self, now: datetime) -> tuple[Recipient | None, list[Step]]:
        """Whom the first step left that finds somebody tells; it and those passed over for it."""
        day = now.astimezone(self.zone).date()
        for n, step in enumerate(self._left, 1):
            to = self._on_duty(self._recipient(step), day)
            if to is not None and to not in self.clock.told:
                return to, self._left[:n]
        return None, self._left

    def _on_duty(self, to: Recipient | None, day: date) -> Recipient | None:
        """Who is told instead of somebody on leave: the deputy, or nobody."""
        people = self.organisation.person_by_id
        person = people.get(to.person or "") if to else None
        leave = person.leave_on(day.isoformat()) if person else None
        if leave is None:
            return to
        deputy = people.get(leave.deputy or "")
        if deputy is None or deputy.leave_on(day.isoformat()) is not None:
            return None
        return Recipient(deputy.unit, deputy.id)

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
