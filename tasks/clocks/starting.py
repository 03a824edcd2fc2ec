"""Which clocks start with a loop or a ticket, and when is each due and to be looked at first?"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from models.kinds import LoopKind
from policy.climb import first_moment
from policy.clock_notation import PREFIX, Start
from policy.deadline import due_many
from policy.documents import DocumentSet
from policy.regulation import Regulation
from policy.timing import ClockSpec, Ladder
from policy.working_time import WorkingCalendar

ANY = "any"
STARTS = 4096
RECEIPT, ASSIGNMENT = "receipt", "assignment"


class Clocks:
    """The published clocks, ladders and calendars, ready to start clocks by them.

    An id that is no longer published starts nothing: a loop keeps the names it was judged by.
    """

    def __init__(self, documents: DocumentSet, judged: DocumentSet | None = None) -> None:
        """`judged`: whose clocks and ladders are taken instead; the calendars stay, since an edit
        of one counts for every clock."""
        terms = judged or documents
        self.organisation = documents.organisation
        self.specs: dict[str, ClockSpec] = {spec.id: spec for spec in terms.clocks}
        self.ladders: dict[str, Ladder] = {ladder.id: ladder for ladder in terms.ladders}
        self.calendars = {spec.id: WorkingCalendar(spec) for spec in documents.calendars}
        for spec in terms.calendars:
            self.calendars.setdefault(spec.id, WorkingCalendar(spec))
        self.zone = ZoneInfo(documents.organisation.zone)
        self.regulations: dict[str, Regulation] = {
            clock.id: law for law in terms.regulations for clock in law.clocks
        }
        self.calendar_of_unit = lru_cache(maxsize=None)(self._calendar_of_unit)
        # A piece of work assigns its tickets in one moment: the same start, hundreds of times.
        self.start = lru_cache(maxsize=STARTS)(self._start)

    def at_receipt(
        self, names: Iterable[str], kind: LoopKind, unit: str, ladder: str | None, at: datetime
    ) -> dict[str, str]:
        """What the data of `loop.opened` says of the clocks that run since the customer's receipt.

        `unit`: the lead, or who looks for one.
        """
        return self._starts(RECEIPT, names, kind, unit, ladder, at)

    def at_assignment(
        self, names: Iterable[str], kind: LoopKind, unit: str, ladder: str | None, at: datetime
    ) -> dict[str, str]:
        """As `at_receipt`, of the clocks that run since a unit has the ticket."""
        return self._starts(ASSIGNMENT, names, kind, unit, ladder, at)

    def _starts(
        self,
        moment: str,
        names: Iterable[str],
        kind: LoopKind,
        unit: str,
        ladder: str | None,
        at: datetime,
    ) -> dict[str, str]:
        found = {}
        for name in names:
            spec = self.specs.get(name)
            if spec is not None and spec.starts == moment and spec.loop in (ANY, kind):
                found[PREFIX + name] = self.start(name, unit, ladder, at)
        return found

    def _start(self, name: str, unit: str, ladder: str | None, at: datetime) -> str:
        return str(self.started(self.specs[name], unit, ladder, at))

    def started(self, spec: ClockSpec, unit: str, ladder: str | None, at: datetime) -> Start:
        """A clock as it starts at a moment, for a unit and under its loop's ladder."""
        calendar = self.calendar(spec, unit)
        (deadline,) = due_many([at], spec, calendar, self.zone)
        steps = self.ladder(spec, ladder)
        following = first_moment(at, deadline.due, spec, steps, calendar, self.zone)
        return Start(spec.kind, spec.stops, deadline.due, following, deadline.provisional)

    def ladder(self, spec: ClockSpec, name: str | None) -> Ladder | None:
        """The clock's own ladder, else its loop's."""
        return self.ladders.get(spec.ladder or name or "")

    def calendar(self, spec: ClockSpec, unit: str) -> WorkingCalendar | None:
        """The clock's own calendar, else the unit's."""
        own = self.calendars.get(spec.calendar or "")
        return own or self.calendar_of_unit(unit)

    def _calendar_of_unit(self, unit: str) -> WorkingCalendar | None:
        """The unit's own, else its nearest parent's, else the first published."""
        lineage = self.organisation.lineage(unit)
        named = next((u.calendar for u in lineage if u.calendar), None)
        return self.calendars[named] if named else next(iter(self.calendars.values()), None)


def names_of(clocks: str | None) -> Sequence[str]:
    """The clocks a loop's row names."""
    return clocks.split(",") if clocks else ()
