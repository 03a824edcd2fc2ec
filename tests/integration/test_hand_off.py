"""What departments and triagers do: accept, reject, resolve; decide issues, loops, proposals."""

import json

import pytest

from loopwright.errors import ConflictError, InputError, TransitionRefused
from loopwright.history.envelope import Actor
from models.clock import Clock
from models.history import EventBody, HistoryEvent
from models.issue import Correction, Issue, Proposal
from models.kinds import EventKind, IssueKind
from models.loop import Loop, LoopIssue, LoopLink
from models.message import Message
from models.ticket import Ticket
from tasks.explain import explain_loop
from tasks.look import show_loop
from tasks.merge import merge
from tasks.routing.decide import close_unfounded, decide_issue, decide_loop, decide_proposal
from tasks.routing.waiting import list_triage
from tasks.settle import settle
from tasks.tickets.hand_off import Answer, Held, accept, changes_of, reject, resolve, tickets_of
from tasks.workspace import Workspace
from tests.cast import (
    AUDIT,
    FEE,
    HOUR,
    LI,
    LOGIN,
    LOST,
    NOON,
    OPS,
    UNCLEAR,
    UPDATE,
    ZHANG,
    a_loop,
    number_of,
    one,
    rows,
    sound,
    take_in,
    ticket_of,
    withdraw,
)

LATER = NOON + HOUR
LONG = "登录不了，我已经换了三部手机、重装了五次软件，每次都停在同一个地方不动"


def test_accept(ws: Workspace) -> None:
    loop = a_loop(ws)
    ticket = ticket_of(ws, loop.id)
    assert accept(ws, ticket.id, ZHANG, LATER) == loop.id
    now = one(ws.db, Ticket)
    assert (now.state, now.accepted_at) == ("accepted", LATER)
    event = one(ws.db, HistoryEvent, kind=EventKind.TICKET_ACCEPTED)
    assert (event.actor_id, event.actor_via, event.on_behalf_of) == ("db.zhang", "cli", None)
    assert sound(ws.db)


@pytest.mark.parametrize(("actor", "behalf"), [(ZHANG, None), (LI, "DB"), (OPS, "DB")])
def test_who_acts_for_another_unit_is_said(ws: Workspace, actor: Actor, behalf: str | None) -> None:
    accept(ws, ticket_of(ws, a_loop(ws).id).id, actor, NOON)
    assert one(ws.db, HistoryEvent, kind=EventKind.TICKET_ACCEPTED).on_behalf_of == behalf


@pytest.mark.parametrize("written", [str.lower, str.upper, lambda text: text[-4:].lower()])
def test_a_ticket_may_be_named_by_its_end(ws: Workspace, written: object) -> None:
    ticket = ticket_of(ws, a_loop(ws).id)
    accept(ws, written(ticket.id), ZHANG, NOON)  # type: ignore[operator]
    assert one(ws.db, Ticket).state == "accepted"


@pytest.mark.parametrize("wanted", ["T999999-ABCDEFGH", "%", "____", "", "abc"])
def test_an_unknown_ticket(ws: Workspace, wanted: str) -> None:
    a_loop(ws)
    with pytest.raises(InputError):
        accept(ws, wanted, ZHANG, NOON)


def accept_as_seen(ws: Workspace, seen: Held, actor: Actor) -> None:
    said = Answer(seen.id, EventKind.TICKET_ACCEPTED, actor)
    settle(ws, changes_of(ws, seen, said, NOON), NOON)


def test_two_who_saw_the_same_ticket(ws: Workspace) -> None:
    """The second of two acceptances that both looked before either acted."""
    ticket = ticket_of(ws, a_loop(ws).id).id
    seen = tickets_of(ws, [ticket])[ticket]
    accept(ws, ticket, ZHANG, NOON)
    size = number_of(ws.db, HistoryEvent)
    with pytest.raises(ConflictError):
        accept_as_seen(ws, seen, LI)
    with pytest.raises(TransitionRefused, match="is accepted"):
        accept(ws, ticket, LI, NOON)
    assert number_of(ws.db, HistoryEvent) == size


def test_an_old_look_is_refused_where_the_step_itself_would_be_allowed(ws: Workspace) -> None:
    """The customer has complained again since: read that before you accept."""
    ticket = ticket_of(ws, a_loop(ws, LOGIN, customer="C1").id).id
    seen = tickets_of(ws, [ticket])[ticket]
    take_in(ws, {"text": LOGIN, "customer": "C1"})
    with pytest.raises(ConflictError, match="has changed since you looked"):
        accept_as_seen(ws, seen, ZHANG)
    accept(ws, ticket, ZHANG, NOON)


def test_a_rejection_goes_to_the_suggested_unit(ws: Workspace) -> None:
    loop = a_loop(ws)
    first = ticket_of(ws, loop.id)
    reject(ws, first.id, "这是卡部的事", "CC", ZHANG, LATER)
    old, new = one(ws.db, Ticket, id=first.id), ticket_of(ws, loop.id)
    assert (old.state, old.suggested) == ("rejected", "CC")
    assert (new.unit, new.role, new.state) == ("CC", "lead", "assigned")
    message = one(ws.db, Message, template="ticket_reassigned")
    assert (message.unit, message.ticket_id) == ("CC", new.id)
    assert message.values == {"rejected": first.id, "from_unit": "DB"}
    row = one(ws.db, Loop)
    assert (row.bounces, row.arbitration, row.lead) == (1, False, "CC")
    event = one(ws.db, HistoryEvent, kind=EventKind.TICKET_REJECTED)
    assert "卡部" not in event.envelope
    assert "卡部" in one(ws.db, EventBody, event_id=event.event_id).body
    assert sound(ws.db)


REFUSED = [
    ("", "CC", "needs a reason"),
    ("  ", "CC", "needs a reason"),
    ("不是", "XX", "no unit 'XX'"),
    ("不是", "DB", "holds this ticket already"),
]


@pytest.mark.parametrize(("reason", "suggested", "why"), REFUSED)
def test_a_rejection_needs_reason_and_another_unit(
    ws: Workspace, reason: str, suggested: str, why: str
) -> None:
    ticket = ticket_of(ws, a_loop(ws).id)
    with pytest.raises(InputError, match=why):
        reject(ws, ticket.id, reason, suggested, ZHANG, NOON)
    assert one(ws.db, Ticket).state == "assigned"


def test_an_accepted_ticket_cannot_be_rejected(ws: Workspace) -> None:
    ticket = ticket_of(ws, a_loop(ws).id)
    accept(ws, ticket.id, ZHANG, NOON)
    with pytest.raises(TransitionRefused):
        reject(ws, ticket.id, "晚了", "CC", ZHANG, NOON)
    assert number_of(ws.db, Ticket) == 1


def disputed(ws: Workspace) -> str:
    """A loop that two units have sent on."""
    loop = str(a_loop(ws).id)
    reject(ws, ticket_of(ws, loop).id, "不是我们", "CC", ZHANG, NOON)
    reject(ws, ticket_of(ws, loop).id, "也不是我们", "RK", LI, NOON)
    return loop


def test_bounces_lead_to_arbitration(ws: Workspace) -> None:
    loop = disputed(ws)
    row = one(ws.db, Loop)
    assert (row.bounces, row.arbitration, row.state) == (2, True, "open")
    assert [t.state for t in rows(ws.db, Ticket)] == ["rejected", "rejected"]
    assert one(ws.db, Message, template="arbitration_needed").unit == "CX"
    assert [(w["what"], w["id"], w["why"]) for w in list_triage(ws)] == [
        ("loop", loop, "arbitration")
    ]
    decide_loop(ws, loop, "DB", OPS, LATER)
    row = one(ws.db, Loop)
    assert (row.arbitration, row.lead, row.state) == (False, "DB", "open")
    assert (ticket_of(ws, loop).unit, ticket_of(ws, loop).role) == ("DB", "lead")
    assert list_triage(ws) == []
    assert sound(ws.db)


def test_only_waiting_loops_are_decided(ws: Workspace) -> None:
    loop = a_loop(ws).id
    with pytest.raises(ConflictError, match="not disputed"):
        decide_loop(ws, loop, "CC", OPS, NOON)
    with pytest.raises(InputError, match="no unit"):
        decide_loop(ws, loop, "ZZ", OPS, NOON)
    assert number_of(ws.db, Ticket) == 1


def test_an_unrouted_loop_is_decided(ws: Workspace) -> None:
    loop = a_loop(ws, LOST, customer="C1").id
    decide_loop(ws, loop, "BR1-01", OPS, LATER)
    row, ticket = one(ws.db, Loop), one(ws.db, Ticket)
    assert (row.state, row.lead, row.rule, row.priority) == ("open", "BR1-01", "person", "P3")
    assert (ticket.unit, ticket.assigned_at) == ("BR1-01", LATER)
    assert one(ws.db, Message).unit == "BR1-01"
    with pytest.raises(ConflictError):
        decide_loop(ws, loop, "CC", OPS, LATER)
    assert sound(ws.db)


@pytest.mark.parametrize("first", ["assigned", "accepted"])
def test_the_last_ticket_resolves_the_loop(ws: Workspace, first: str) -> None:
    loop = a_loop(ws).id
    ticket = ticket_of(ws, loop).id
    if first == "accepted":
        accept(ws, ticket, ZHANG, NOON)
    resolve(ws, ticket, "C01", "已重置密码", ZHANG, LATER)
    row, done = one(ws.db, Loop), one(ws.db, Ticket)
    assert (row.state, row.closed_at, row.outcome) == ("resolved", None, None)
    assert (done.state, done.cause, done.resolved_at) == ("resolved", "C01", LATER)
    last = rows(ws.db, HistoryEvent, loop_id=loop)[-1]
    assert (last.kind, last.actor_type) == (EventKind.LOOP_RESOLVED, "system")
    assert sound(ws.db)


@pytest.mark.parametrize(
    ("cause", "done", "why"), [("C99", "好了", "no cause code"), ("C01", " ", "needs words")]
)
def test_a_resolution_needs_a_known_cause_and_words(
    ws: Workspace, cause: str, done: str, why: str
) -> None:
    ticket = ticket_of(ws, a_loop(ws).id)
    with pytest.raises(InputError, match=why):
        resolve(ws, ticket.id, cause, done, ZHANG, NOON)
    assert one(ws.db, Ticket).state == "assigned"


def test_reopening_tells_who_solved_it(ws: Workspace) -> None:
    """The loop went to Cards, so Cards is told, not the unit it was first given to."""
    loop = a_loop(ws, customer="C1").id
    reject(ws, ticket_of(ws, loop).id, "不是我们", "CC", ZHANG, NOON)
    resolve(ws, ticket_of(ws, loop).id, "C03", "退了年费", LI, NOON)
    withdraw(ws, loop)
    take_in(ws, {"text": LOGIN, "customer": "C1"}, now=LATER)
    assert one(ws.db, Message, template="loop_reopened", person=None).unit == "CC"
    assert ticket_of(ws, loop).state == "assigned"


def waiting(ws: Workspace, **item: str) -> str:
    take_in(ws, {"text": UNCLEAR} | item)
    return str(one(ws.db, Issue, state="triage").id)


def test_a_decided_issue_opens_a_loop_and_leaves_a_correction(ws: Workspace) -> None:
    issue = waiting(ws, customer="C1")
    opening = decide_issue(ws, issue, IssueKind.COMPLAINT, "login", OPS, LATER)
    assert opening.acts["open"] == 1
    row = one(ws.db, Issue)
    assert (row.state, row.topic, row.touchpoint, row.due_at) == (
        "looped",
        "login",
        "app-login",
        None,
    )
    correction = one(ws.db, Correction)
    assert (correction.issue_id, correction.kind, correction.topic, correction.by) == (
        issue,
        "complaint",
        "login",
        "cx.ops",
    )
    assert one(ws.db, Loop).lead == "DB"
    assert one(ws.db, Ticket).unit == "DB"
    event = one(ws.db, HistoryEvent, kind=EventKind.ISSUE_DECIDED)
    assert (event.actor_id, json.loads(event.data)["fate"]) == ("cx.ops", "looped")
    with pytest.raises(ConflictError, match="waits no longer"):
        decide_issue(ws, issue, IssueKind.PRAISE, None, OPS, LATER)
    assert sound(ws.db)


def test_a_decided_issue_joins_the_same_complaint(ws: Workspace) -> None:
    loop = a_loop(ws, LOGIN, customer="C1")
    issue = waiting(ws, customer="C1")
    decide_issue(ws, issue, IssueKind.COMPLAINT, "login", OPS, LATER)
    assert one(ws.db, LoopIssue, issue_id=issue).loop_id == loop.id
    assert sound(ws.db)


def test_an_issue_decided_to_be_nothing(ws: Workspace) -> None:
    issue = waiting(ws)
    decide_issue(ws, issue, IssueKind.NOISE, None, OPS, LATER)
    assert one(ws.db, Issue).state == "noted"
    assert one(ws.db, Correction).topic is None
    assert number_of(ws.db, Loop) == 0


@pytest.mark.parametrize(
    ("kind", "topic", "why"),
    [
        (IssueKind.COMPLAINT, None, "needs a topic"),
        (IssueKind.COMPLAINT, "weather", "no topic 'weather'"),
    ],
)
def test_a_decision_about_an_issue_must_make_sense(
    ws: Workspace, kind: IssueKind, topic: str | None, why: str
) -> None:
    issue = waiting(ws)
    with pytest.raises(InputError, match=why):
        decide_issue(ws, issue, kind, topic, OPS, NOON)
    assert one(ws.db, Issue).state == "triage"
    assert number_of(ws.db, Correction) == 0


def test_a_decided_issue_is_proposed_as_any_other(ws: Workspace) -> None:
    """Equal long words of unknown customers, one of them read by a person."""
    words = "就是觉得别扭，我已经说过很多很多次了，还是没有一个人来管一管这件事情"
    for _ in range(2):
        take_in(ws, {"text": words})
        for row in rows(ws.db, Issue, state="triage"):
            decide_issue(ws, row.id, IssueKind.COMPLAINT, "login", OPS, NOON)
    assert number_of(ws.db, Loop) == 2
    assert number_of(ws.db, Proposal) == 1


@pytest.mark.parametrize("agreed", [True, False])
def test_a_proposal_is_decided_once(ws: Workspace, agreed: bool) -> None:
    for _ in range(2):
        take_in(ws, {"text": LONG})
    proposal = one(ws.db, Proposal)
    assert decide_proposal(ws, proposal.id, agreed, OPS, LATER) == proposal.into_id
    kept, other = one(ws.db, Loop, id=proposal.into_id), one(ws.db, Loop, id=proposal.loop_id)
    assert kept.state == "open"
    assert (other.state, other.outcome, other.merged_into) == (
        ("closed", "merged", kept.id) if agreed else ("open", None, None)
    )
    assert len(rows(ws.db, LoopIssue, loop_id=kept.id)) == 1 + agreed
    row = one(ws.db, Proposal)
    assert (row.accepted, row.decided_by, row.decided_at) == (agreed, "cx.ops", LATER)
    assert number_of(ws.db, HistoryEvent) > 0
    with pytest.raises((InputError, ConflictError)):
        decide_proposal(ws, proposal.id, not agreed, OPS, LATER)
    assert sound(ws.db)


def test_merging_by_hand(ws: Workspace) -> None:
    one_, two = a_loop(ws, LOGIN), a_loop(ws, FEE)
    assert merge(ws, two.id, one_.id, OPS, LATER) == one_.id
    assert one(ws.db, Loop, id=two.id).merged_into == one_.id
    assert {t.state for t in rows(ws.db, Ticket, loop_id=two.id)} == {"done"}
    with pytest.raises(TransitionRefused):
        merge(ws, two.id, one_.id, OPS, LATER)
    with pytest.raises(InputError, match="into itself"):
        merge(ws, one_.id, one_.id, OPS, LATER)
    assert sound(ws.db)


def test_a_big_loop_never_swallows_the_customers_own_case(ws: Workspace) -> None:
    take_in(ws, {"text": UPDATE, "customer": "C1"})
    big, small = one(ws.db, Loop, kind="big"), one(ws.db, Loop, kind="small")
    for loop, into in ((small.id, big.id), (big.id, small.id)):
        with pytest.raises(InputError, match="big"):
            merge(ws, loop, into, OPS, LATER)
    assert number_of(ws.db, LoopLink) == 1


def test_what_the_auditor_reads(ws: Workspace) -> None:
    """审计 only looks: the story and the reasons, with nothing written and no phone shown."""
    loop = a_loop(ws, LOGIN + "，电话13900000001", customer="C1").id
    reject(ws, ticket_of(ws, loop).id, "请回电13900000001", "CC", ZHANG, NOON)
    before = number_of(ws.db, HistoryEvent)
    story, reasons = show_loop(ws, loop), explain_loop(ws, loop, "zh")
    assert [e["kind"] for e in story["events"]][:2] == ["loop.opened", "ticket.assigned"]
    assert reasons["rule"] == "ordinary"
    assert reasons["rules"][-1]["matched"]
    assert "13900000001" not in json.dumps([story, reasons], ensure_ascii=False, default=str)
    assert number_of(ws.db, HistoryEvent) == before
    assert AUDIT.id in ws.published.documents.organisation.person_by_id


@pytest.mark.parametrize("text", [LOGIN, LOST])
def test_a_person_checked_and_there_is_nothing_to_it(ws: Workspace, text: str) -> None:
    """Routed or not, the customer's loop ends, its ticket and clocks with it."""
    loop = a_loop(ws, text, customer="C1").id
    words = "查了日志，登录一直正常"
    assert close_unfounded(ws, loop[-6:].lower(), words, OPS, LATER) == loop
    row = one(ws.db, Loop)
    assert (row.state, row.outcome, row.closed_at) == ("closed", "unfounded", LATER)
    assert {t.state for t in rows(ws.db, Ticket)} <= {"done"}
    assert {c.stopped_at for c in rows(ws.db, Clock)} == {LATER}
    event = one(ws.db, HistoryEvent, kind=EventKind.LOOP_CLOSED)
    assert json.loads(event.data) == {"outcome": "unfounded", "why": "checked"}
    assert (event.actor_id, words in event.envelope) == (OPS.id, False)
    assert one(ws.db, EventBody, event_id=event.event_id).body == json.dumps(
        {"reason": words}, ensure_ascii=False, separators=(",", ":")
    )
    assert show_loop(ws, loop)["events"][-1]["words"] == {"reason": words}
    assert sound(ws.db)


def test_what_cannot_end_as_unfounded(ws: Workspace) -> None:
    loop = a_loop(ws).id
    with pytest.raises(InputError, match="needs words"):
        close_unfounded(ws, loop, " ", OPS, LATER)
    withdraw(ws, loop)
    with pytest.raises(TransitionRefused, match="is closed"):
        close_unfounded(ws, loop, "查过了", OPS, LATER)
    take_in(ws, {"text": UPDATE, "customer": "C1"})
    with pytest.raises(TransitionRefused, match="a big loop that is candidate"):
        close_unfounded(ws, one(ws.db, Loop, kind="big").id, "查过了", OPS, LATER)
