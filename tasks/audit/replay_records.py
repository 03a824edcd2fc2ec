"""Tables whose rows an event tells of, one event a row: is each as its last event says, and is
there none of which no event knows?

A page of events is compared with one query. Where another may follow (a message that was given up,
a source's switch) the last one counts: only those are remembered.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, false, func, select, true

from models.absence import Absence
from models.base import table
from models.customer import Customer
from models.document import Publication
from models.feedback import Intake, SourceState
from models.issue import Correction, Issue, Proposal
from models.kinds import EventKind, IssueState, MessageState
from models.message import Message
from models.red_alert import RedAlert
from policy.clock_notation import moment
from tasks.audit.replay_events import EVENTS, Entry, Replay, entries, heed, read_events

PUBLICATIONS = table(Publication)
ISSUES = table(Issue)
CORRECTIONS = table(Correction)
PROPOSALS = table(Proposal)
MESSAGES = table(Message)
ABSENCES = table(Absence)
SOURCES = table(SourceState)
ALERTS = table(RedAlert)
INTAKES = table(Intake)
CUSTOMERS = table(Customer)

PAGE = 1_000
REQUEUED_UNTOLD = "旧版未记事件的重新排队 / messages queued again before that was an event"
UNITED_UNTOLD = "旧版未记事件的客户合并 / customers united before that was an event"
Key = tuple[Any, ...]
Row = Mapping[Any, Any]


class Told(NamedTuple):
    """What an event says of a row. `final`: usually no other event tells of it later; `may_lack`:
    the row need not be there."""

    key: Key
    row: Row
    final: bool = True
    may_lack: bool = False


@dataclass(frozen=True)
class Known:
    """Which rows events tell of, and what. `needs`: rows that are there only because of an event;
    `excuse`: why a row that differs cannot be compared; `once_untold`: why older histories may not
    tell of a row."""

    name: str
    keys: tuple[Column[Any], ...]
    says: Mapping[EventKind, Callable[[Entry], Told]]
    needs: ColumnElement[bool]
    excuse: Callable[[Row, Row], str | None] = lambda row, told: None
    once_untold: str | None = None

    @property
    def by(self) -> Column[Any]:
        """What rows are looked up by."""
        return self.keys[0]

    def key_of(self, row: Row) -> Key:
        return tuple(row[column.name] for column in self.keys)


@dataclass
class Records:
    """The comparison of one table's rows with their events."""

    known: Known
    result: Replay
    now: dict[Key, tuple[int, Told]] = field(default_factory=dict)
    later: dict[Key, tuple[int, Told]] = field(default_factory=dict)
    """What the last event so far says of rows that another may still change."""
    borne_out: int = 0

    @property
    def kinds(self) -> Iterable[EventKind]:
        return self.known.says

    def take(self, entry: Entry) -> None:
        told = self.known.says[entry.kind](entry)
        self.later.pop(told.key, None)
        (self.now if told.final else self.later)[told.key] = (entry.seq, told)

    def flush(self, tx: Connection) -> None:
        self.compare(tx, self.now)
        self.now = {}

    def finish(self, tx: Connection) -> None:
        self.flush(tx)
        pending = list(self.later.items())
        for start in range(0, len(pending), PAGE):
            self.compare(tx, dict(pending[start : start + PAGE]))
        needs = select(func.count()).select_from(self.known.by.table).where(self.known.needs)
        extra = tx.execute(needs).scalar_one() - self.borne_out
        if extra > 0 and self.known.once_untold:
            self.result.pass_over(self.known.once_untold, extra)
        elif extra > 0:
            name_untold(tx, self.known, self.result)

    def compare(self, tx: Connection, told: Mapping[Key, tuple[int, Told]]) -> None:
        if not told:
            return
        wanted = sorted({key[0] for key in told})
        query = select(self.known.by.table, self.known.needs.label("needs_event"))
        found = {
            self.known.key_of(row): row
            for row in tx.execute(query.where(self.known.by.in_(wanted))).mappings()
        }
        for key, (seq, one) in told.items():
            self.compare_row(seq, one, found.get(key))

    def compare_row(self, seq: int, told: Told, row: Row | None) -> None:
        if row is None:
            if not told.may_lack:
                self.result.differ(f"{self.named(told.key)}: only in the events (seq {seq})")
            return
        self.result.records += 1
        self.borne_out += bool(row["needs_event"])
        if columns := [name for name, value in told.row.items() if row[name] != value]:
            if why := self.known.excuse(row, told.row):
                self.result.pass_over(why)
            else:
                words = f"{', '.join(columns)} differ (seq {seq})"
                self.result.differ(f"{self.named(told.key)}: {words}")

    def named(self, key: Key) -> str:
        return f"{self.known.name} {' '.join(map(str, key))}"


def name_untold(tx: Connection, known: Known, result: Replay) -> None:
    """Each row that no event tells of. Only where there are some is every key remembered."""
    told: set[Key] = set()

    def remember(entry: Entry) -> None:
        told.add(known.says[entry.kind](entry).key)

    unheard = Replay()  # what cannot be read has been listed
    query = read_events().where(EVENTS.c.kind.in_(list(known.says)), EVENTS.c.loop_id.is_(None))
    for entry in entries(tx.execute(query.execution_options(yield_per=PAGE)), unheard):
        heed(unheard, entry, remember)
    rows = select(*known.keys).where(known.needs).execution_options(yield_per=PAGE)
    for row in tx.execute(rows):
        if tuple(row) in told:
            told.remove(tuple(row))
        else:
            result.differ(f"{known.name} {' '.join(map(str, row))}: no event tells of it")


# What each event says of a row


def published(entry: Entry) -> Told:
    row = {
        "sha256": entry.data["sha256"],
        "published_at": entry.at,
        "published_by": entry.actor,
    }
    return Told((entry.number("publication"),), row)


def decided_issue(entry: Entry) -> Told:
    data = entry.data
    row = {"state": data["fate"], "kind": data["kind"], "topic": data["topic"], "due_at": None}
    return Told((entry.text("issue"),), row | {"rule": entry.rule})


def corrected(entry: Entry) -> Told:
    data = entry.data
    row = {"kind": data["kind"], "topic": data["topic"], "loop": data["fate"]}
    key = (entry.text("issue"),)
    row |= {"by": entry.actor, "at": entry.at}
    return Told(key, row, may_lack=not is_correction(entry))


def is_correction(entry: Entry) -> bool:
    """Whether somebody read the issue: who erases a customer only notes it, and leaves no
    correction. Older histories do not say what an issue was, and not which of the two it is."""
    return "kind_was" in entry.data or entry.data["fate"] != IssueState.NOTED


def decided_proposal(entry: Entry) -> Told:
    data = entry.data
    row = {"loop_id": data["loop"], "into_id": data["into"], "accepted": data["accepted"]}
    by = {"decided_by": entry.actor, "decided_at": entry.at}
    return Told((entry.text("proposal"),), row | by)


def of_message(entry: Entry, state: MessageState) -> Told:
    data = entry.data
    row = {
        "key": data["key"],
        "template": data["template"],
        "unit": data["unit"],
        "loop_id": data["loop"],
        "ticket_id": data["ticket"],
        "attempts": data["attempts"],
        "state": state,
        "sent_at": entry.at if state is MessageState.SENT else None,
    }
    return Told((entry.text("message"),), row)


def sent(entry: Entry) -> Told:
    return of_message(entry, MessageState.SENT)


def given_up(entry: Entry) -> Told:
    return of_message(entry, MessageState.QUARANTINED)._replace(final=False)


def requeued(entry: Entry) -> Told:
    told = of_message(entry, MessageState.QUEUED)
    tried_since = {name: value for name, value in told.row.items() if name != "attempts"}
    return told._replace(row=tried_since, final=False)


def queued_again(row: Row, told: Row) -> str | None:
    """A message that was given up and is queued: until lately no event said who queued it again."""
    given_up = told["state"] == MessageState.QUARANTINED
    again = row["state"] == MessageState.QUEUED and row["spent"] >= told["attempts"]
    same = all(row[name] == told[name] for name in ("key", "template", "unit", "loop_id"))
    return REQUEUED_UNTOLD if given_up and again and same else None


def on_leave(entry: Entry) -> Told:
    first, last = (date.fromisoformat(entry.text(name)) for name in ("first", "last"))
    row = {"deputy": entry.data["deputy"], "recorded_by": entry.actor, "recorded_at": entry.at}
    return Told((entry.text("person"), first, last), row)


def switched(entry: Entry) -> Told:
    return Told((entry.text("source"),), {"enabled": entry.data["enabled"]}, final=False)


def stopped(entry: Entry) -> Told:
    failed, seen = entry.data["failed"], entry.data["seen"]
    reason = f"{failed} of {seen} records could not be parsed"
    row = {"stopped_at": entry.at, "stopped_reason": reason}
    return Told((entry.text("source"),), row, final=False)


def resumed(entry: Entry) -> Told:
    row = {"stopped_at": None, "stopped_reason": None}
    return Told((entry.text("source"),), row, final=False)


def raised(entry: Entry) -> Told:
    data = entry.data
    row = {name: data[name] for name in ("source", "unit", "person", "reasons")}
    row |= {"arrived_at": moment(data["arrived_at"]), "raised_at": entry.at}
    if data["loop"] is not None:  # otherwise it may have come into one since
        row["loop_id"] = data["loop"]
    return Told((entry.text("alert"),), row)


def judged(entry: Entry) -> Told:
    data = entry.data
    row = {"false_alarm": data["false_alarm"], "judged_by": data["by"], "judged_at": entry.at}
    return Told((entry.text("alert"),), row)


def read_to_the_end(entry: Entry) -> Told:
    row = {name: entry.data[name] for name in ("source", "read", "duplicates", "sha256")}
    return Told((entry.text("intake"),), row, final=row["sha256"] is not None)


def united(entry: Entry) -> Told:
    return Told((entry.text("other"),), {"merged_into": entry.data["customer"]})


def any_set(*columns: Column[Any]) -> ColumnElement[bool]:
    found: ColumnElement[bool] = false()
    for column in columns:
        found |= column.is_not(None)
    return found


KNOWN = (
    Known(
        "publication",
        (PUBLICATIONS.c.number,),
        {EventKind.DOCUMENTS_PUBLISHED: published},
        true(),
    ),
    # Which issues wait for nobody any more is for the batches' roots to tell.
    Known("issue", (ISSUES.c.id,), {EventKind.ISSUE_DECIDED: decided_issue}, false()),
    Known("correction", (CORRECTIONS.c.issue_id,), {EventKind.ISSUE_DECIDED: corrected}, true()),
    Known(
        "proposal",
        (PROPOSALS.c.id,),
        {EventKind.PROPOSAL_DECIDED: decided_proposal},
        any_set(PROPOSALS.c.decided_at, PROPOSALS.c.decided_by, PROPOSALS.c.accepted),
    ),
    Known(
        "message",
        (MESSAGES.c.id,),
        {
            EventKind.MESSAGE_SENT: sent,
            EventKind.MESSAGE_QUARANTINED: given_up,
            EventKind.MESSAGE_REQUEUED: requeued,
        },
        (MESSAGES.c.state != MessageState.QUEUED) | MESSAGES.c.sent_at.is_not(None),
        queued_again,
    ),
    Known(
        "absence",
        (ABSENCES.c.person, ABSENCES.c.first, ABSENCES.c.last),
        {EventKind.PERSON_LEAVE_RECORDED: on_leave},
        true(),
    ),
    Known(
        "source_state",
        (SOURCES.c.name,),
        {EventKind.SOURCE_SWITCHED: switched},
        SOURCES.c.enabled.is_(False),
    ),
    Known(
        "source_state",
        (SOURCES.c.name,),
        {EventKind.SOURCE_STOPPED: stopped, EventKind.SOURCE_RESUMED: resumed},
        any_set(SOURCES.c.stopped_at, SOURCES.c.stopped_reason),
    ),
    Known("red_alert", (ALERTS.c.id,), {EventKind.RED_RAISED: raised}, true()),
    Known(
        "red_alert",
        (ALERTS.c.id,),
        {EventKind.RED_JUDGED: judged},
        any_set(ALERTS.c.judged_at, ALERTS.c.judged_by, ALERTS.c.false_alarm),
    ),
    # Reading nothing new is no event.
    Known("intake", (INTAKES.c.id,), {EventKind.INTAKE_FINISHED: read_to_the_end}, false()),
    Known(
        "customer",
        (CUSTOMERS.c.id,),
        {EventKind.CUSTOMER_UNITED: united},
        CUSTOMERS.c.merged_into.is_not(None),
        once_untold=UNITED_UNTOLD,
    ),
)
