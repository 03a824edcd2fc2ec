"""What a message may say: loops, tickets, clocks and words, in one language.

Rendering belongs to delivery, so the outbox holds ids only and a message shows the present state.
Masking happens at the notification boundary; nothing here decides what may be shown.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection

from loopwright.glossary import title
from loopwright.history.checkpoints import PROBLEMS
from models.kinds import Channel, EventKind, TicketState
from notifications.context import TO_CUSTOMERS, WORDS_LIMIT
from policy.climb import undisturbed
from policy.source_spec import SourceSpec
from policy.timing import Ladder, Step
from tasks.approval.request import shown_terms
from tasks.messages.answering import (
    answers,
    of_clock,
    of_effect,
    of_operations,
    of_superior,
    of_ticket,
)
from tasks.messages.facts import HANDED_ON, Event, Facts, gather
from tasks.messages.wording import Wording
from tasks.workspace import Workspace

ABOUT_APPROVALS = frozenset({"approval_waiting", "approval_decided"})
OPENED = (EventKind.LOOP_OPENED,)
RESOLVED, CLOSED = (EventKind.TICKET_RESOLVED,), (EventKind.LOOP_CLOSED,)
CHANGED = (EventKind.LOOP_CLOSED, EventKind.LOOP_CHANGE_DESCRIBED)
MEASURED = (EventKind.EFFECT_MEASURED,)
REOPENED, ANSWERED = (EventKind.LOOP_REOPENED,), (EventKind.VERIFICATION_ANSWERED,)
MEANT = (*ANSWERED, EventKind.VERIFICATION_SETTLED)
CALLED = (EventKind.VERIFICATION_CALLED,)


def contexts(
    tx: Connection, ws: Workspace, messages: Sequence[Any], language: str
) -> list[dict[str, Any]]:
    """One context per message row, in order."""
    facts = gather(tx, messages)
    writer = Writer(ws, facts, language)
    return [writer.context(message) for message in messages]


class Writer(Wording):
    """Turns facts into the words of one language."""

    def __init__(self, ws: Workspace, facts: Facts, language: str) -> None:
        super().__init__(ws.published.documents, ws.places, language)
        self.facts, self.clocks_of, self.sources = facts, ws.clocks_of, ws.sources
        self.rules = {rule.id: rule for rule in self.documents.rulebook.rules}
        self.touchpoints = {
            touchpoint.id: (touchpoint, stage)
            for journey in self.documents.taxonomy.journeys
            for stage in journey.stages
            for touchpoint in stage.touchpoints
        }

    def context(self, message: Any) -> dict[str, Any]:
        to_customer = message.template in TO_CUSTOMERS
        if to_customer is not (message.channel == Channel.CUSTOMER):
            # Words for staff must not reach a customer, nor the other way: rendering refuses it.
            return {}
        organisation = {"title": self.say(self.documents.organisation.title)}
        if to_customer:
            return {"organisation": organisation} | self.to_customer(message)
        return {"organisation": organisation} | self.to_staff(message)

    def to_customer(self, message: Any) -> dict[str, Any]:
        """What a customer may know; nothing else is even gathered into the context."""
        return {
            "matter": self.matter(self.facts.loops[message.loop_id]),
            "done": self.facts.words(message.loop_id, RESOLVED, "done"),
            "answer_by": self.answer_by(message.loop_id),
            **self.nth(message),
            "changed": self.changed(message),
        }

    def to_staff(self, message: Any) -> dict[str, Any]:
        reader = {
            "unit": {"code": message.unit, "title": self.unit(message.unit)},
            "person": {"name": self.name(message.person)},
        }
        if message.template == "triage_waiting":
            return reader | self.triage()
        if message.template == "triage_stuck":
            return reader | self.stuck_batch(message)
        if message.template == "calendar_missing":
            return reader | self.missing_calendar(message)
        if message.template == "seal_refused":
            return reader | self.refused_seal(message)
        if message.template == "red_alert":
            return reader | self.about_alert(message)
        if message.template in ABOUT_APPROVALS:
            return reader | self.about_approval(message)
        loop = self.facts.loops[message.loop_id]
        clock = self.facts.clocks.get((message.values or {}).get("clock", ""))
        about = reader | self.about_loop(loop) | self.about_ticket(message, loop)
        if clock is not None:
            return about | self.about_clock(message, loop, clock)
        if message.template == "verification_call":
            return about | self.about_call(loop)
        if message.template == "cause_closed_call":
            return about | self.about_change(message, loop)
        if message.template in ("effect_measured", "big_loop_relapsed"):
            return about | self.about_effect(loop)
        if message.template == "answer_doubted":
            return about | self.about_doubt(loop)
        return about

    def stuck_batch(self, message: Any) -> dict[str, Any]:
        given_up = message.values
        return {
            "batch": {
                "id": given_up["batch"],
                "source_title": self.source(given_up["source"]),
                "count": str(given_up["feedback"]),
                "attempts": str(given_up["attempts"]),
                "given_up_at": self.when(message.created_at),
            },
            "answer": answers(("doctor",), self.language),
        }

    def missing_calendar(self, message: Any) -> dict[str, Any]:
        year, uncertain = message.values["year"], self.facts.uncertain
        names = [
            self.say(calendar.title)
            for calendar in self.documents.calendars
            if year not in calendar.published_years
        ]
        first = uncertain.first if uncertain else None
        return {
            "calendar": {
                "year": str(year),
                "count": str(uncertain.clocks if uncertain else 0),
                "names": ("、" if self.language == "zh" else ", ").join(names) or "-",
                "first_due": self.when(first) if first else "-",
            },
            "answer": answers(("check_calendars", "publish"), self.language),
        }

    def refused_seal(self, message: Any) -> dict[str, Any]:
        refused = message.values
        zh, en = PROBLEMS[refused["problem"]].split(" / ")
        return {
            "seal": {
                "problem": zh if self.language == "zh" else en,
                "epoch": str(refused["epoch"]),
                "size": str(refused["checkpoint"]),
                "seq": "" if refused["seq"] is None else str(refused["seq"]),
                "refused_at": self.when(message.created_at),
            },
            "answer": answers(("verify_history", "restored"), self.language),
        }

    def about_loop(self, loop: Any) -> dict[str, Any]:
        return {
            "loop": self.loop(loop),
            "issue": self.issue(loop),
            "why": self.why(loop),
            "rejections": self.rejections(loop),
            "customers": {"count": str(self.facts.customers.get(loop.id, 1))},
            "evidence": self.evidence(loop),
            "departments": self.departments(loop),
            "lead": {"title": self.unit(loop.lead or "")},
            "participants": self.participants(loop),
            "outcome": {
                "id": loop.outcome or "",
                "title": title("outcome", loop.outcome, self.language) if loop.outcome else "",
            },
            "changed": self.facts.words(loop.id, CHANGED, "changed"),
            "answer": answers(of_operations(loop), self.language, loop=loop.id),
        }

    def about_ticket(self, message: Any, loop: Any) -> dict[str, Any]:
        values = message.values or {}
        about: dict[str, Any] = {
            "reason": self.reason(loop, values),
            "first_answer": self.first_answer(loop),
        }
        if from_unit := values.get("from_unit"):
            about["from_unit"] = {"title": self.unit(from_unit)}
        if (ticket := self.ticket_of(message, loop)) is not None:
            about["ticket"] = self.ticket(ticket)
            about["role"] = {
                "id": ticket.role,
                "title": title("role", ticket.role, self.language),
            }
            names = of_ticket(ticket, loop)
            about["answer"] = answers(names, self.language, loop=loop.id, ticket=ticket.id)
        return about

    def about_clock(self, message: Any, loop: Any, clock: Any) -> dict[str, Any]:
        tickets = self.facts.tickets.get(loop.id, [])
        ticket = next((t for t in tickets if t.id == clock.ticket_id), None)
        owner = ticket.unit if ticket else loop.lead or self.documents.organisation.operations
        climbs = message.template == "clock_climbed"
        names = of_superior(ticket) if climbs else of_clock(clock, ticket, loop)
        ids = {"loop": loop.id, "ticket": ticket.id if ticket else ""}
        return {
            "clock": self.clock(message, loop, clock, owner),
            "owner": {"title": self.unit(owner)},
            "ticket": self.ticket(ticket) if ticket else {},
            "answer": answers(names, self.language, **ids),
            **(self.about_climb(message, loop, clock) if climbs else {}),
        }

    def about_climb(self, message: Any, loop: Any, clock: Any) -> dict[str, Any]:
        """Why it comes to this reader, and who heard of it or could not be told before."""
        alarms = self.facts.alarms(clock)
        reader = (message.unit, message.person)
        mine = next((n for n, e in enumerate(alarms) if reader == addressee(e)), len(alarms))
        event = alarms[mine] if mine < len(alarms) else None
        steps = self.steps(loop, clock)
        passed = str(event.data.get("passed") or "").split(",") if event else []
        step = steps.get(event.data["step"]) if event else None
        return {
            "climb": {"tell": step.tell if step else "", "title": self.role(step, "")},
            "told": [self.told(alarm) for alarm in alarms[:mine] if addressee(alarm)[0]],
            "passed": self.listed(self.role(steps.get(name), name) for name in passed if name),
        }

    def about_call(self, loop: Any) -> dict[str, Any]:
        return {
            "matter": self.matter(loop),
            "done": self.facts.words(loop.id, RESOLVED, "done"),
            "answer_by": self.answer_by(loop.id),
            "called": [self.call(event) for event in self.facts.events_of(loop.id, CALLED)],
            "answer": answers(("yes", "partly", "no", "called"), self.language, loop=loop.id),
        }

    def about_change(self, message: Any, loop: Any) -> dict[str, Any]:
        return {
            "matter": self.matter(loop),
            "changed": self.changed(message),
            "answer": answers(("told_change", "show"), self.language, loop=loop.id),
        }

    def changed(self, message: Any) -> str | None:
        """What customers of the big loop that the message is about are told has changed."""
        return self.facts.words((message.values or {}).get("big", ""), CHANGED, "changed") or None

    def call(self, event: Event) -> dict[str, str]:
        return {
            "at": self.when(event.at),
            "outcome": title("call", event.data["outcome"], self.language),
        }

    def about_doubt(self, loop: Any) -> dict[str, Any]:
        event = self.facts.latest(loop.id, ANSWERED)
        names = ("settle_yes", "settle_partly", "settle_no", "show")
        return {
            "said": {
                "answer": title("answer", event.data["answer"], self.language) if event else "",
                "words": self.facts.words(loop.id, ANSWERED, "words"),
            },
            "first_answer": self.first_answer(loop),
            "answer": answers(names, self.language, loop=loop.id),
        }

    def first_answer(self, loop: Any) -> str:
        """What the customer said before they changed their mind."""
        asked = self.facts.verifications.get(loop.id)
        said = asked[-1].first_answer if asked else None
        return title("answer", said, self.language) if said else ""

    def about_approval(self, message: Any) -> dict[str, Any]:
        values = message.values or {}
        row = self.facts.approvals[values["approval"]]
        asked, *decided = self.facts.decisions[row.id]
        waits = message.template == "approval_waiting"
        names = ("approve", "refuse") if waits else ("look_up",)
        return {
            "approval": self.approval(row),
            "terms": shown_terms(row.terms, self.language),
            "reason": asked.body.get("reason"),
            "letter": asked.body.get("letter"),
            "absent": {"name": self.name(values.get("absent"))},
            "decision": self.decision(row, decided),
            "answer": answers(names, self.language, approval=row.id),
        }

    def approval(self, row: Any) -> dict[str, str | None]:
        rules = self.documents.rulebook.approvals
        level = next((r for r in rules if (r.kind, r.level) == (row.kind, row.level)), None)
        return {
            "id": row.id,
            "kind_title": title("approval", row.kind, self.language),
            "level_title": self.say(level.title) if level else row.level,
            "asked_by": self.name(row.asked_by) or row.asked_by,
            "unit_title": self.unit(row.unit),
            "asked_at": self.when(row.asked_at),
            "case": row.loop_id,
            "ticket": row.ticket_id,
        }

    def decision(self, row: Any, events: Sequence[Event]) -> dict[str, Any]:
        """Who decided, and why if they said; empty while it waits."""
        if not events:
            return {}
        return {
            "id": row.state,
            "title": title("approval_state", row.state, self.language),
            "by": self.name(row.decided_by) or row.decided_by,
            "at": self.when(row.decided_at),
            "why": events[-1].body.get("reason"),
        }

    def about_effect(self, loop: Any) -> dict[str, Any]:
        """The last look at a big loop's fix, and what follows from it."""
        event = self.facts.latest(loop.id, MEASURED)
        if event is None:
            return {}
        verdict, reason = event.data["verdict"], event.body.get("reason") or {}
        return {
            "effect": {
                "horizon": str(event.data["horizon"]),
                "verdict": verdict,
                "verdict_title": title("verdict", verdict, self.language),
                "reason": self.say({"zh": "", **reason}),
            },
            "answer": answers(of_effect(loop), self.language, loop=loop.id),
        }

    def matter(self, loop: Any) -> dict[str, str]:
        return {
            "number": loop.id,
            "topic_title": self.topic(loop.topic),
            "said_on": self.day(loop.received_at),
        }

    def answer_by(self, loop: str) -> str:
        asked = self.facts.verifications.get(loop)
        return self.day(asked[-1].due_at) if asked else ""

    def nth(self, message: Any) -> dict[str, str]:
        """Of a question that is put again: the day of the first one; and whether it is the last."""
        asked, parts = self.facts.verifications.get(message.loop_id), message.key.split(":")
        again = message.template == "verification_question" and len(parts) > 2
        times = int(parts[2]) if again else 1
        return {
            "asked_on": self.day(asked[-1].asked_at) if asked and times > 1 else "",
            "final": "yes" if times >= self.documents.rulebook.contacts else "",
        }

    def ticket_of(self, message: Any, loop: Any) -> Any | None:
        mine = [
            t
            for t in self.facts.tickets.get(loop.id, [])
            if t.id == message.ticket_id or (message.ticket_id is None and t.unit == message.unit)
        ]
        return mine[-1] if mine else None

    def ticket(self, ticket: Any) -> dict[str, str]:
        return {
            "id": ticket.id,
            "state": title("ticket", ticket.state, self.language),
            "due_at": self.deadline(self.facts.due_at(ticket)),
        }

    def clock(self, message: Any, loop: Any, clock: Any, owner: str) -> dict[str, str]:
        """Counted when the message may first go, so that every attempt says the same."""
        clocks = self.clocks_of(loop.policy)
        spec, ladder = clocks.specs.get(clock.spec), self.ladder(loop, clock)
        calendar = clocks.calendar(spec, owner) if spec else None
        by_hours = calendar if spec and spec.calendar_days is None else None
        at, due = undisturbed(message.created_at, ladder, self.zone), clock.due_at
        return {
            "number": clock.ticket_id or loop.id,
            "title": self.say(spec.title) if spec else clock.spec,
            "stops": clock.stops,
            "due_at": self.deadline(due),
            "provisional": self.provisional() if clock.provisional else "",
            "left": self.span(at, due, by_hours),
            "overdue": self.span(due, at, by_hours),
            "ladder_title": self.say(ladder.title) if ladder else "",
        }

    def ladder(self, loop: Any, clock: Any) -> Ladder | None:
        """The one that the clock's loop was judged by."""
        clocks = self.clocks_of(loop.policy)
        spec = clocks.specs.get(clock.spec)
        return clocks.ladder(spec, loop.ladder) if spec else None

    def steps(self, loop: Any, clock: Any) -> dict[str, Step]:
        ladder = self.ladder(loop, clock)
        return {step.id: step for step in ladder.steps} if ladder else {}

    def role(self, step: Step | None, otherwise: str) -> str:
        return title("tell", step.tell, self.language) if step else otherwise

    def told(self, alarm: Event) -> dict[str, str]:
        unit, person = addressee(alarm)
        who, name = self.unit(unit or ""), self.name(person)
        if name:
            who = f"{name}（{who}）" if self.language == "zh" else f"{name} ({who})"
        return {
            "who": who,
            "what": title("event", alarm.kind, self.language),
            "at": self.when(alarm.at),
        }

    def loop(self, loop: Any) -> dict[str, str]:
        touchpoint, stage = self.touchpoints.get(loop.touchpoint, (None, None))
        return {
            "id": loop.id,
            "kind": loop.kind,
            "kind_title": title("loop", loop.kind, self.language),
            "topic_title": self.topic(loop.topic),
            "touchpoint_title": self.say(touchpoint.title) if touchpoint else loop.touchpoint,
            "stage_title": self.say(stage.title) if stage else "",
            "priority": loop.priority or "",
            "level_title": title("level", loop.level, self.language) if loop.level else "",
            "opened_at": self.when(loop.opened_at),
            "received_at": self.when(loop.received_at),
        }

    def issue(self, loop: Any) -> dict[str, str]:
        row = self.facts.issues[loop.id]
        return {
            "words": row.text,
            "emotion_title": title("emotion", row.emotion, self.language),
            "severity_title": title("severity", row.severity, self.language),
            "kind_title": title("kind", row.kind, self.language),
            "channel_title": title("channel", row.channel, self.language),
        }

    def why(self, loop: Any) -> dict[str, str]:
        rule = self.rules.get(loop.rule or "")
        return {
            "rule_id": loop.rule or "-",
            "rule_title": self.say(rule.title)
            if rule
            else title("rule", loop.rule or "", self.language),
            "policy_version": str(loop.policy),
        }

    def reason(self, loop: Any, values: Mapping[str, Any]) -> str:
        """Why a ticket was handed on, a loop closed or reopened, as far as somebody said."""
        if ticket := values.get("rejected"):
            return self.facts.words(loop.id, HANDED_ON, "reason", ticket=ticket)
        if (ended := self.facts.words(loop.id, CLOSED, "reason")) and loop.outcome:
            return ended
        reopened = self.facts.latest(loop.id, REOPENED)
        if reopened and str(reopened.data.get("why")).startswith("answer"):
            return self.answered(loop)
        return {"zh": "客户再次反馈同一问题", "en": "the customer reports it again"}[self.language]

    def answered(self, loop: Any) -> str:
        """What the customer said to whether it is solved."""
        event = self.facts.latest(loop.id, MEANT)
        answer = title("answer", event.data["answer"], self.language) if event else ""
        words = self.facts.words(loop.id, ANSWERED, "words")
        if self.language == "zh":
            return f"客户回访时说：{answer}" + (f"。{words}" if words else "")
        return f"asked, the customer says: {answer}" + (f". {words}" if words else "")

    def rejections(self, loop: Any) -> list[dict[str, str]]:
        return [
            {
                "unit_title": self.unit(t.unit),
                "reason": self.facts.words(loop.id, HANDED_ON, "reason", ticket=t.id),
                "suggested_title": self.unit(t.suggested) if t.suggested else "",
            }
            for t in self.facts.tickets.get(loop.id, [])
            if t.state == TicketState.REJECTED
        ]

    def evidence(self, loop: Any) -> str:
        """Why many customers made it a candidate; empty where one customer's words did."""
        opened = self.facts.latest(loop.id, OPENED)
        found = opened.body.get("recurrence") if opened else None
        return self.say(found["reason"]) if found else ""

    def departments(self, loop: Any) -> list[dict[str, str]]:
        place = self.places.get(loop.topic)
        return [{"title": self.unit(code)} for code in place.departments] if place else []

    def participants(self, loop: Any) -> str:
        tickets = self.facts.tickets.get(loop.id, [])
        taking_part = [t for t in tickets if t.state != TicketState.REJECTED]
        units = sorted({t.unit for t in taking_part if t.role == "participant"})
        return self.listed(self.unit(unit) for unit in units)

    def source(self, name: str) -> str:
        spec = self.sources.get(name)
        return self.say(spec.title) if spec else name

    def about_alert(self, message: Any) -> dict[str, Any]:
        """Which conversation a named person must hear of, why, and what was said last."""
        row, text, record = self.facts.alerts[message.values["alert"]]
        spec = self.sources.get(row.source)
        return {
            "alert": {
                "id": row.id,
                "source_title": self.source(row.source),
                "arrived_at": self.when(row.arrived_at),
                "arrives": spec.arrives if spec else "",
                "loop": row.loop_id,
                "running": "yes" if record else None,
                "words": text or last_words(spec, record or {}),
            },
            "grounds": [{"title": self.ground(name)} for name in row.reasons.split(",")],
            "answer": answers(("red_real", "red_false"), self.language, alert=row.id),
        }

    def triage(self) -> dict[str, Any]:
        row = self.facts.waiting
        hours = timedelta(hours=self.documents.rulebook.triage_hours)
        return {
            "triage": {
                "count": str(row.count),
                "oldest_at": self.when(row.due_at - hours) if row.due_at else "",
                "due_at": self.when(row.due_at),
            },
            "answer": answers(("triage",), self.language),
        }


def last_words(spec: SourceSpec | None, record: Mapping[str, Any]) -> str:
    """What the customer of a running conversation has said last, as much as a message shows."""
    turns = spec.map.turns if spec else None
    if turns is None:
        return ""
    said = (
        str(one.get(turns.text) or "")
        for one in record.get(turns.items, ())
        if str(one.get(turns.speaker)) in turns.customer
    )
    return " ".join(said)[-WORDS_LIMIT:]


def addressee(alarm: Event) -> tuple[str | None, str | None]:
    """The unit and person that an alarm went to."""
    return alarm.data.get("unit"), alarm.data.get("person")
