"""The transition tables: what may happen where, and nothing else; what follows by itself."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from models.kinds import EventKind, LoopState, Outcome, TicketState
from policy.clock_notation import Start, parse
from policy.effects import EFFECTS
from policy.story import Happening, Refused, Story
from policy.transitions import apply, follow

NOW = datetime(2026, 8, 3, 4, tzinfo=UTC)
K, L, T = EventKind, LoopState, TicketState

OPENED = {
    "kind": "small",
    "state": "open",
    "topic": "login",
    "touchpoint": "app-login",
    "received_at": NOW.isoformat(),
    "issue": "I1",
    "lead": "DB",
}
DATA: dict[EventKind, dict[str, Any]] = {
    K.LOOP_OPENED: OPENED,
    K.LOOP_JOINED: {"issue": "I2", "relation": "same_complaint"},
    K.LOOP_LINKED: {"small": "S1", "relation": "same_cause", "issue": "I3"},
    K.LOOP_DETACHED: {"issue": "I5"},
    K.LOOP_UNLINKED: {"small": "S5"},
    K.LOOP_ROUTED: {"lead": "CC", "priority": "P2"},
    K.LOOP_RESOLVED: {},
    K.LOOP_REOPENED: {"issue": "I4", "relation": "same_complaint"},
    K.LOOP_DISPUTED: {"bounces": 2},
    K.LOOP_ARBITRATED: {"unit": "CC"},
    K.LOOP_MERGED: {"into": "L9"},
    K.LOOP_WITHDRAWN: {},
    K.LOOP_CUSTOMER_IDENTIFIED: {"customer": "C2"},
    K.TICKET_ASSIGNED: {"ticket": "T2", "unit": "CC", "role": "participant"},
    K.TICKET_ACCEPTED: {"ticket": "T1"},
    K.TICKET_REJECTED: {"ticket": "T1", "suggested": "CC"},
    K.TICKET_TRANSFERRED: {"ticket": "T1", "unit": "CC"},
    K.TICKET_RESOLVED: {"ticket": "T1", "cause": "C01"},
    K.LOOP_CUSTOMER_TOLD: {"what": "first_answer", "how": "call"},
    K.LOOP_TRIAGED: {"lead": "CC", "priority": "P2"},
    K.LOOP_PLANNED: {"cause": "C01", "target": "none left", "by": "2026-09-30"},
    K.LOOP_STARTED: {},
    K.LOOP_CLOSED: {"outcome": "unfounded", "why": "checked"},
    K.VERIFICATION_ASKED: {"verification": "V1", "via": "mail", "due_at": NOW.isoformat()},
    K.VERIFICATION_ANSWERED: {"verification": "V1", "answer": "yes"},
    K.CLOCK_REMINDED: {"clock": "K1", "next_at": NOW.isoformat()},
    K.CLOCK_BREACHED: {"clock": "K1", "next_at": None},
    K.CLOCK_CLIMBED: {"clock": "K2", "step": "manager", "next_at": None},
    K.CLOCK_MOVED: {"clock": "K1", "next_at": NOW.isoformat()},
    K.CLOCK_PAUSED: {"clock": "K1", "reason": "appraisal"},
    K.CLOCK_RESUMED: {"clock": "K3", "due_at": NOW.isoformat(), "next_at": None},
    K.CLOCK_EXTENDED: {
        "clock": "K1",
        "extension": "complex",
        "due_at": NOW.isoformat(),
        "next_at": None,
    },
    K.CLOCK_RESTARTED: {"clock": "K1", "why": "new facts", "started_at": NOW.isoformat()},
    K.CLOCK_RECOMPUTED: {
        "clock": "K1",
        "why": "calendar",
        "was": NOW.isoformat(),
        "due_at": NOW.isoformat(),
        "next_at": None,
    },
    K.LOOP_RELAPSED: {"why": "the rate is back"},
    K.LOOP_CHANGE_DESCRIBED: {},
    K.LOOP_REVIEW_REQUESTED: {"on": "2026-08-04"},
    K.LOOP_HANDLER_BARRED: {"person": "db.zhang", "why": "named"},
    K.LOOP_COMPENSATED: {"approval": "A1", "fen": 2_000},
    K.EFFECT_MEASURED: {
        "effect": "F1",
        "horizon": 30,
        "method": "interrupted series",
        "verdict": "proven",
        "before": 300,
        "after": 200,
        "change": -310,
        "low": -390,
        "high": -220,
    },
    K.APPROVAL_REQUESTED: {
        "approval": "A1",
        "kind": "more_time",
        "level": "manager",
        "unit": "DB",
        "by": "db.zhang",
        "days": 3,
    },
    K.APPROVAL_GRANTED: {"approval": "A9", "by": "db.lead"},
    K.APPROVAL_REFUSED: {"approval": "A9", "by": "db.lead"},
    K.TICKET_GIVEN: {"ticket": "T1", "person": "db.zhang"},
    K.TICKET_PROGRESSED: {"ticket": "T1"},
    K.VERIFICATION_POSTPONED: {"until": NOW.isoformat(), "why": "asked recently"},
    K.VERIFICATION_REMINDED: {"verification": "V9", "due_at": NOW.isoformat()},
    K.VERIFICATION_CALLED: {
        "verification": "V9",
        "outcome": "busy",
        "call_at": NOW.isoformat(),
        "due_at": NOW.isoformat(),
    },
    K.VERIFICATION_SETTLED: {"verification": "V8", "answer": "no"},
}
OPEN = set(L) - {L.CLOSED}
WORKING = {L.OPEN, L.TRIAGED, L.PLANNED, L.ACTING}
ALLOWED: dict[EventKind, set[LoopState]] = {
    K.LOOP_OPENED: set(),
    K.LOOP_JOINED: OPEN,
    K.LOOP_DETACHED: OPEN,
    K.LOOP_LINKED: OPEN,
    K.LOOP_UNLINKED: OPEN,
    K.LOOP_ROUTED: {L.TRIAGE},
    K.LOOP_RESOLVED: WORKING,
    K.LOOP_REOPENED: {L.RESOLVED, L.VERIFYING, L.CLOSED},
    K.LOOP_DISPUTED: WORKING,
    K.LOOP_ARBITRATED: WORKING,
    K.LOOP_MERGED: OPEN,
    K.LOOP_WITHDRAWN: OPEN,
    K.LOOP_CUSTOMER_IDENTIFIED: set(L),
    K.TICKET_ASSIGNED: WORKING,
    K.TICKET_ACCEPTED: WORKING,
    K.TICKET_REJECTED: WORKING,
    K.TICKET_TRANSFERRED: WORKING,
    K.TICKET_RESOLVED: WORKING - {L.TRIAGED},
    K.LOOP_CUSTOMER_TOLD: OPEN,
    K.LOOP_TRIAGED: {L.CANDIDATE},
    K.LOOP_PLANNED: {L.TRIAGED},
    K.LOOP_STARTED: {L.PLANNED},
    K.LOOP_CLOSED: {L.TRIAGE, L.OPEN, L.RESOLVED, L.VERIFYING},
    K.VERIFICATION_ASKED: {L.RESOLVED},
    K.VERIFICATION_ANSWERED: {L.OPEN, L.RESOLVED, L.VERIFYING, L.CLOSED},
    K.CLOCK_REMINDED: OPEN,
    K.CLOCK_BREACHED: OPEN,
    K.CLOCK_CLIMBED: OPEN,
    K.CLOCK_MOVED: OPEN,
    K.CLOCK_PAUSED: OPEN,
    K.CLOCK_RESUMED: OPEN,
    K.CLOCK_EXTENDED: OPEN,
    K.CLOCK_RESTARTED: OPEN,
    K.CLOCK_RECOMPUTED: OPEN,
    K.LOOP_RELAPSED: {L.WATCHING},
    K.LOOP_CHANGE_DESCRIBED: {L.TRIAGED, L.PLANNED, L.ACTING, L.WATCHING, L.CLOSED},
    K.LOOP_REVIEW_REQUESTED: {L.RESOLVED, L.VERIFYING, L.CLOSED},
    K.LOOP_HANDLER_BARRED: OPEN,
    K.LOOP_COMPENSATED: set(L),
    K.EFFECT_MEASURED: {L.WATCHING, L.CLOSED},
    K.APPROVAL_REQUESTED: OPEN,
    K.APPROVAL_GRANTED: set(L),
    K.APPROVAL_REFUSED: set(L),
    K.TICKET_GIVEN: WORKING,
    K.TICKET_PROGRESSED: WORKING,
    K.VERIFICATION_POSTPONED: {L.RESOLVED},
    K.VERIFICATION_REMINDED: {L.VERIFYING},
    K.VERIFICATION_CALLED: {L.VERIFYING},
    K.VERIFICATION_SETTLED: {L.OPEN, L.VERIFYING, L.CLOSED},
}
OF_BIG = {K.LOOP_LINKED, K.LOOP_UNLINKED, K.LOOP_RELAPSED, K.EFFECT_MEASURED}
TICKETS = {
    K.TICKET_ACCEPTED: {T.ASSIGNED},
    K.TICKET_REJECTED: {T.ASSIGNED},
    K.TICKET_TRANSFERRED: {T.ASSIGNED, T.ACCEPTED},
    K.TICKET_RESOLVED: {T.ASSIGNED, T.ACCEPTED},
    K.TICKET_GIVEN: {T.ASSIGNED, T.ACCEPTED},
    K.TICKET_PROGRESSED: {T.ASSIGNED, T.ACCEPTED},
}


def event(kind: EventKind, at: datetime = NOW, /, **changed: Any) -> Happening:
    return Happening("L1", kind, DATA[kind] | changed, at, policy="1", rule="r")


def story(kind: str = "small", state: str = "open", ticket: str | None = "assigned") -> Story:
    """A loop brought by force into a state, so that every pair can be tried."""
    made = Story()
    apply(made, event(K.LOOP_OPENED, kind=kind))
    if ticket is not None:
        apply(made, event(K.TICKET_ASSIGNED, ticket="T1", unit="DB", role="lead"))
        made.tickets["T1"]["state"] = ticket
    made.issues["I5"], made.links["S5"] = "same_complaint", "same_cause"
    made.loop["state"] = state
    made.clocks = {
        "K1": clock("K1"),
        "K2": clock("K2", breached_at=NOW, stops="told"),
        "K3": clock("K3", paused_at=NOW, next_at=None),
    }
    asked = dict.fromkeys(("answer", "first_answer", "call_at", "contacted_at"))
    asked |= {"via": "mail", "asked_at": NOW, "due_at": NOW, "contacts": 1, "doubt": False}
    made.verifications = {
        "V8": asked | {"id": "V8", "answer": "yes", "doubt": True},
        "V9": asked | {"id": "V9"},
    }
    made.approvals = {"A9": {"id": "A9", "state": "waiting", "kind": "extension"}}
    return made


def clock(name: str, **changed: Any) -> dict[str, Any]:
    """A clock of ticket T1 that runs."""
    fresh = dict.fromkeys(("stopped_at", "reminded_at", "breached_at", "step", "paused_at"))
    return fresh | {"id": name, "ticket_id": "T1", "stops": "resolved", "next_at": NOW} | changed


def attempt(made: Story, one: Happening) -> bool:
    """Whether the event was taken; a refusal must leave the story as it was."""
    before = copy.deepcopy(made)
    try:
        apply(made, one)
    except Refused:
        assert made == before
        return False
    assert made.loop["version"] == before.loop["version"] + 1
    return True


def test_what_was_joined_or_linked_can_be_undone_once() -> None:
    made = story(kind="big")
    for kind in (K.LOOP_DETACHED, K.LOOP_UNLINKED):
        assert attempt(made, event(kind))
        assert not attempt(made, event(kind))
    assert "I5" not in made.issues
    assert not made.links


def test_the_issue_that_opened_a_loop_stays() -> None:
    made = story()
    assert not attempt(made, event(K.LOOP_DETACHED, issue=OPENED["issue"]))


def test_proven_takes_a_measurement_of_this_fix() -> None:
    made = story("big", "watching")
    made.loop["watched_from"] = NOW
    proven = event(K.LOOP_CLOSED, outcome="proven")
    assert not attempt(made, proven)
    for name, verdict, at in [("F1", "proven", 1), ("F2", "too_little", 2), ("F3", "proven", 3)]:
        look = event(K.EFFECT_MEASURED, NOW + timedelta(days=at), effect=name, verdict=verdict)
        assert attempt(made, look)
        assert attempt(copy.deepcopy(made), proven) is (verdict == "proven")
    made.loop["watched_from"] = NOW + timedelta(days=4)
    assert not attempt(made, proven), "measured before the fix was in place again"


def test_a_relapse_takes_a_proof() -> None:
    for outcome, taken in [("proven", True), ("abandoned", False), ("not proven", False)]:
        made = story("big", "closed", ticket="done")
        made.loop |= {"outcome": outcome, "closed_at": NOW}
        assert attempt(made, event(K.LOOP_RELAPSED)) is taken
        assert (made.tickets["T1"]["state"] == T.ASSIGNED) is taken


def test_an_approval_is_decided_once() -> None:
    for kind in (K.APPROVAL_GRANTED, K.APPROVAL_REFUSED):
        made = story()
        assert attempt(made, event(kind))
        for again in (K.APPROVAL_GRANTED, K.APPROVAL_REFUSED):
            assert not attempt(made, event(again))


def test_every_kind_of_a_loop_is_known() -> None:
    nouns = ("loop.", "ticket.", "clock.", "verification.", "approval.", "effect.")
    of_loops = {k for k in K if k.startswith(nouns)}
    assert of_loops == set(EFFECTS) == set(DATA) == set(ALLOWED)


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("state", L)
def test_every_state_and_event(kind: EventKind, state: LoopState) -> None:
    made = story("big" if kind in OF_BIG else "small", state)
    assert attempt(made, event(kind)) is (state in ALLOWED[kind])


@pytest.mark.parametrize("kind", TICKETS)
@pytest.mark.parametrize("state", T)
def test_every_ticket_state_and_event(kind: EventKind, state: TicketState) -> None:
    assert attempt(story(ticket=state), event(kind)) is (state in TICKETS[kind])


@pytest.mark.parametrize("kind", [k for k in DATA if k is not K.LOOP_OPENED])
def test_nothing_happens_to_no_loop(kind: EventKind) -> None:
    with pytest.raises(Refused, match="there is no loop"):
        apply(Story(), event(kind))


@pytest.mark.parametrize("state", L)
def test_where_a_loop_starts(state: LoopState) -> None:
    made = Story()
    if state in (L.TRIAGE, L.OPEN, L.CANDIDATE):
        apply(made, event(K.LOOP_OPENED, state=state))
        assert made.loop["version"] == 0
    else:
        with pytest.raises(Refused, match="cannot start"):
            apply(made, event(K.LOOP_OPENED, state=state))
        assert made == Story()


def test_of_a_closed_loop_a_customer_is_told_only_what_changed() -> None:
    made = story(state="closed")
    before = copy.deepcopy(made.clocks)
    for what in ("first_answer", "decision"):
        assert not attempt(made, event(K.LOOP_CUSTOMER_TOLD, what=what))
    assert attempt(made, event(K.LOOP_CUSTOMER_TOLD, what="change"))
    assert made.clocks == before


REFUSALS = [
    (K.LOOP_OPENED, {}, "open already"),
    (K.CLOCK_RESUMED, {"clock": "K1"}, "is not paused"),
    (K.CLOCK_PAUSED, {"clock": "K3"}, "is paused"),
    (K.CLOCK_REMINDED, {"clock": "K3"}, "is paused"),
    (K.APPROVAL_GRANTED, {"approval": "A7"}, "no approval A7"),
    (K.TICKET_GIVEN, {"ticket": "T9"}, "no ticket T9"),
    (K.LOOP_RELAPSED, {}, "is open"),
    (K.EFFECT_MEASURED, {}, "is open"),
    (K.TICKET_ACCEPTED, {"ticket": "T9"}, "no ticket T9"),
    (K.TICKET_ASSIGNED, {"ticket": "T1"}, "exists already"),
    (K.LOOP_LINKED, {}, "only a big loop"),
    (K.LOOP_DETACHED, {"issue": "I1"}, "I1 has not joined"),
    (K.LOOP_DETACHED, {"issue": "I8"}, "I8 has not joined"),
    (K.LOOP_UNLINKED, {"small": "S9"}, "S9 is not linked"),
    (K.CLOCK_REMINDED, {"clock": "K9"}, "no clock K9"),
    (K.CLOCK_REMINDED, {"clock": "K2"}, "has been or cannot be"),
    (K.CLOCK_BREACHED, {"clock": "K2"}, "has been or cannot be"),
    (K.CLOCK_CLIMBED, {"clock": "K1"}, "has been or cannot be"),
    (K.LOOP_CLOSED, {"outcome": "verified"}, "cannot close as 'verified'"),
    (K.LOOP_CLOSED, {"outcome": "abandoned"}, "small loop"),
]


@pytest.mark.parametrize(("kind", "data", "why"), REFUSALS)
def test_refusals_say_why_and_change_nothing(
    kind: EventKind, data: dict[str, Any], why: str
) -> None:
    made = story()
    before = copy.deepcopy(made)
    with pytest.raises(Refused, match=why):
        apply(made, event(kind, **data))
    assert made == before


LEAVE_CLOSED = {K.LOOP_REOPENED, K.LOOP_REVIEW_REQUESTED, K.LOOP_RELAPSED}


def test_only_reopening_leaves_closed() -> None:
    for kind in K:
        if kind not in DATA:
            continue
        made = story("big" if kind is K.LOOP_RELAPSED else "small", "closed")
        made.loop["outcome"] = "proven"
        attempt(made, event(kind))
        assert (made.loop["state"] != L.CLOSED) is (kind in LEAVE_CLOSED), kind


FOLLOW = [
    (["resolved"], True),
    (["resolved", "resolved"], True),
    (["resolved", "rejected"], True),
    (["resolved", "done"], True),
    (["resolved", "assigned"], False),
    (["resolved", "accepted"], False),
]


@pytest.mark.parametrize(("states", "resolves"), FOLLOW)
def test_last_ticket_resolves_the_loop(states: list[str], resolves: bool) -> None:
    made = story(ticket=None)
    for n, state in enumerate(states):
        made.tickets[f"T{n}"] = {"id": f"T{n}", "state": state}
    assert follow(made, K.TICKET_RESOLVED) == (K.LOOP_RESOLVED if resolves else None)
    others = DATA.keys() - {K.TICKET_RESOLVED, K.LOOP_REOPENED}
    assert all(follow(made, kind) is None for kind in others)


def test_what_is_open_again_and_nobodys_is_disputed() -> None:
    for ticket, expected in (("rejected", K.LOOP_DISPUTED), ("done", None)):
        made = story(state="closed", ticket=ticket)
        made.loop |= {"closed_at": NOW, "outcome": "verified"}
        apply(made, event(K.LOOP_REOPENED))
        assert follow(made, K.LOOP_REOPENED) is expected


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("kind", ["small", "big"])
@pytest.mark.parametrize("state", L)
def test_how_a_loop_may_close(outcome: Outcome, kind: str, state: LoopState) -> None:
    small, settled = kind == "small", {L.RESOLVED, L.VERIFYING}
    allowed: dict[Outcome, set[LoopState]] = {
        Outcome.VERIFIED: settled if small else set(),
        Outcome.UNVERIFIED: settled if small else set(),
        Outcome.UNFOUNDED: settled | {L.TRIAGE, L.OPEN} if small else set(),
        Outcome.NOT_PROVEN: set() if small else {L.WATCHING},
        Outcome.ABANDONED: set() if small else OPEN,
    }
    made = story(kind, state)
    taken = attempt(made, event(K.LOOP_CLOSED, outcome=outcome, why="silent"))
    assert taken is (state in allowed.get(outcome, set()))
    if taken:
        assert made.loop["outcome"] == outcome
        assert all(c["stopped_at"] == NOW and c["next_at"] is None for c in made.clocks.values())


@pytest.mark.parametrize("why", [None, "", "checked", "happy", "answer no"])
def test_nobody_is_left_out_without_a_coded_reason(why: str | None) -> None:
    made = story(state="verifying", ticket="resolved")
    assert not attempt(made, event(K.LOOP_CLOSED, outcome="unverified", why=why))
    assert attempt(made, event(K.LOOP_CLOSED, outcome="unverified", why="unreachable"))


def test_only_a_customer_who_takes_a_no_back_verifies_what_is_open() -> None:
    made = story(state="resolved", ticket="resolved")
    made.verifications = {}
    yes = event(K.LOOP_CLOSED, outcome="verified")
    for one in (event(K.VERIFICATION_ASKED), event(K.VERIFICATION_ANSWERED, answer="no")):
        apply(made, one)
    apply(made, event(K.LOOP_REOPENED))
    assert not attempt(made, yes)
    apply(made, event(K.VERIFICATION_ANSWERED, answer="yes"))
    assert made.verifications["V1"]["first_answer"] == "no"
    assert attempt(made, yes)
    assert {t["state"] for t in made.tickets.values()} == {T.DONE}


def test_queueing_a_question_tells_nobody() -> None:
    """In histories older than that fact it did."""
    for told, stopped in ((False, None), (None, NOW)):
        made = story(state="resolved", ticket="resolved")
        made.clocks["K2"]["next_at"] = None
        apply(made, event(K.VERIFICATION_ASKED, **({} if told is None else {"told": told})))
        assert made.clocks["K2"]["stopped_at"] == stopped


def test_a_call_is_a_contact_and_reminding_the_unit_is_none() -> None:
    made = story(state="resolved", ticket="resolved")
    apply(made, event(K.VERIFICATION_ASKED, via="call"))
    asked = made.verifications["V1"]
    assert (asked["contacts"], asked["call_at"], asked["contacted_at"]) == (0, NOW, None)
    due = {"verification": "V1", "due_at": NOW.isoformat()}
    apply(made, event(K.VERIFICATION_REMINDED, **due, via="call"))
    assert asked["contacts"] == 0
    apply(made, event(K.VERIFICATION_CALLED, **due, outcome="busy", call_at=NOW.isoformat()))
    assert (asked["contacts"], asked["contacted_at"], asked["outcome"]) == (1, NOW, "busy")
    apply(made, event(K.VERIFICATION_ANSWERED, answer="yes"))
    assert (asked["contacts"], asked["call_at"], asked["due_at"]) == (2, None, None)


def test_a_planned_big_loop_starts_with_the_first_ticket_accepted() -> None:
    made = story("big", "triaged")
    apply(made, event(K.TICKET_ACCEPTED))
    assert follow(made, K.TICKET_ACCEPTED) is None
    apply(made, event(K.LOOP_PLANNED))
    assert follow(made, K.LOOP_PLANNED) is K.LOOP_STARTED
    waiting = story("big", "triaged")
    apply(waiting, event(K.LOOP_PLANNED))
    assert follow(waiting, K.LOOP_PLANNED) is None
    apply(waiting, event(K.TICKET_ACCEPTED))
    assert follow(waiting, K.TICKET_ACCEPTED) is K.LOOP_STARTED


def test_a_big_loop_is_watched_when_its_tickets_are_resolved() -> None:
    made = story("big", "acting")
    apply(made, event(K.TICKET_RESOLVED))
    apply(made, event(K.LOOP_RESOLVED))
    assert made.loop["state"] == L.WATCHING


DUE, WARN = NOW + timedelta(days=3), NOW + timedelta(days=2)
RUNS = str(Start("owner", "resolved", DUE, WARN, provisional=True))
LEGAL = str(Start("legal", "told", DUE, None))


def test_a_start_reads_back() -> None:
    assert parse(RUNS) == Start("owner", "resolved", DUE, WARN, provisional=True)
    assert parse(LEGAL) == Start("legal", "told", DUE, None)
    with pytest.raises(ValueError, match="no start"):
        parse(RUNS + " twice")


def test_clocks_start_inside_other_events() -> None:
    made = Story()
    apply(made, event(K.LOOP_OPENED, **{"clock:legal": LEGAL}))
    apply(made, event(K.TICKET_ASSIGNED, NOW + timedelta(hours=1), **{"clock:owner": RUNS}))
    legal, owner = made.clocks["L1.0.legal"], made.clocks["L1.1.owner.T2"]
    assert (legal["ticket_id"], legal["started_at"], legal["due_at"]) == (None, NOW, DUE)
    assert (owner["ticket_id"], owner["started_at"]) == ("T2", NOW + timedelta(hours=1))
    assert (owner["next_at"], owner["provisional"], legal["provisional"]) == (WARN, True, False)


def running(*changes: Happening) -> list[str]:
    """Which of a loop's three clocks still run after the changes."""
    made = Story()
    answer = str(Start("customer", "first_answer", DUE, WARN))
    apply(made, event(K.LOOP_OPENED, **{"clock:legal": LEGAL, "clock:customer": answer}))
    assigned = {"ticket": "T1", "unit": "DB", "role": "lead"}
    apply(made, event(K.TICKET_ASSIGNED, **assigned, **{"clock:owner": RUNS}))
    for change in changes:
        apply(made, change)
    return sorted(c["spec"] for c in made.clocks.values() if c["stopped_at"] is None)


RESOLVED = (event(K.TICKET_RESOLVED), event(K.LOOP_RESOLVED))


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ((), ["customer", "legal", "owner"]),
        ((event(K.TICKET_ACCEPTED),), ["customer", "legal", "owner"]),
        ((event(K.TICKET_REJECTED),), ["customer", "legal"]),
        ((event(K.TICKET_TRANSFERRED),), ["customer", "legal"]),
        (RESOLVED, ["customer", "legal"]),
        ((event(K.LOOP_CUSTOMER_TOLD),), ["legal", "owner"]),
        ((event(K.LOOP_CUSTOMER_TOLD, what="decision"),), ["owner"]),
        ((event(K.LOOP_CUSTOMER_TOLD, what="change"),), ["customer", "legal", "owner"]),
        ((*RESOLVED, event(K.VERIFICATION_ASKED)), []),
        ((*RESOLVED, event(K.VERIFICATION_ASKED, via="call")), ["customer", "legal"]),
        ((*RESOLVED, event(K.VERIFICATION_ANSWERED, answer="no")), []),
        ((event(K.LOOP_WITHDRAWN),), []),
    ],
)
def test_what_stops_which_clock(changes: tuple[Happening, ...], left: list[str]) -> None:
    assert running(*changes) == left


def test_reopening_starts_a_fresh_owner_clock_and_keeps_the_old_row() -> None:
    made = Story()
    apply(made, event(K.LOOP_OPENED))
    assigned = {"ticket": "T1", "unit": "DB", "role": "lead"}
    apply(made, event(K.TICKET_ASSIGNED, **assigned, **{"clock:owner": RUNS}))
    for change in (*RESOLVED, event(K.VERIFICATION_ASKED)):
        apply(made, change)
    later = NOW + timedelta(days=4)
    apply(made, event(K.LOOP_REOPENED, later, **{"clock:owner": RUNS}))
    old, new = made.clocks.values()
    assert (old["stopped_at"], new["started_at"], new["stopped_at"]) == (NOW, later, None)
    assert (new["ticket_id"], made.tickets["T1"]["state"]) == ("T1", T.ASSIGNED)
    assert made.verifications["V1"]["due_at"] is None


def test_each_moment_of_a_clock_happens_once() -> None:
    made = Story()
    apply(made, event(K.LOOP_OPENED, **{"clock:legal": LEGAL}))
    named = {"clock": "L1.0.legal"}
    for kind in (K.CLOCK_REMINDED, K.CLOCK_BREACHED, K.CLOCK_CLIMBED):
        assert attempt(made, event(kind, **named))
        assert not attempt(made, event(kind, **named))
    assert attempt(made, event(K.CLOCK_CLIMBED, **named, step="manager2"))
    assert not attempt(made, event(K.CLOCK_REMINDED, **named))
    apply(made, event(K.LOOP_WITHDRAWN))
    assert not attempt(made, event(K.CLOCK_CLIMBED, **named, step="senior"))


def test_an_answer_is_kept_with_its_question() -> None:
    made = story(state="resolved", ticket="resolved")
    apply(made, event(K.VERIFICATION_ASKED))
    assert made.verifications["V1"]["due_at"] == NOW
    apply(made, event(K.VERIFICATION_ANSWERED, answer="partly"))
    asked = made.verifications["V1"]
    assert (asked["answer"], asked["answered_at"], asked["due_at"]) == ("partly", NOW, None)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("resolved", "assigned"),
        ("done", "assigned"),
        ("rejected", "rejected"),
        ("accepted", "accepted"),
    ],
)
def test_reopening_takes_tickets_back(before: str, after: str) -> None:
    made = story(state="closed", ticket=before)
    made.loop |= {"closed_at": NOW, "outcome": "verified"}
    made.tickets["T1"] |= {"resolved_at": NOW, "cause": "C01"}
    apply(made, event(K.LOOP_REOPENED, NOW + timedelta(days=1)))
    assert made.tickets["T1"]["state"] == after
    assert (made.loop["closed_at"], made.loop["outcome"]) == (None, None)
    if before != after:
        ticket = made.tickets["T1"]
        assert ticket["assigned_at"] == NOW + timedelta(days=1)
        assert ticket["cause"] is ticket["resolved_at"] is ticket["accepted_at"] is None


@pytest.mark.parametrize(("kind", "state"), [("small", "open"), ("big", "acting")])
def test_where_reopening_leads(kind: str, state: str) -> None:
    made = story(kind, "closed")
    apply(made, event(K.LOOP_REOPENED))
    assert made.loop["state"] == state
    assert made.issues["I4"] == "same_complaint"


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [(K.LOOP_MERGED, Outcome.MERGED), (K.LOOP_WITHDRAWN, Outcome.WITHDRAWN)],
)
def test_closing_ends_the_tickets(kind: EventKind, outcome: Outcome) -> None:
    made = story()
    apply(made, event(K.TICKET_ASSIGNED))
    made.tickets["T2"]["state"] = T.REJECTED
    apply(made, event(kind))
    assert (made.loop["state"], made.loop["outcome"]) == (L.CLOSED, outcome)
    assert [t["state"] for t in made.tickets.values()] == [T.DONE, T.REJECTED]


def test_the_lead_is_who_holds_the_lead_ticket() -> None:
    made = story()
    apply(made, event(K.TICKET_REJECTED))
    apply(made, event(K.TICKET_ASSIGNED, ticket="T3", unit="CC", role="lead"))
    assert made.loop["lead"] == "CC"
    apply(made, event(K.TICKET_ASSIGNED, ticket="T4", unit="RK", role="participant"))
    assert made.loop["lead"] == "CC"


def test_big_loops_keep_their_links_once() -> None:
    made = story("big", "candidate", ticket=None)
    apply(made, event(K.LOOP_LINKED))
    apply(made, event(K.LOOP_LINKED))
    assert made.links == {"S5": "same_cause", "S1": "same_cause"}
    assert made.issues == {"I1": "origin", "I5": "same_complaint", "I3": "same_cause"}


def test_each_relation_can_be_undone_on_its_own() -> None:
    made = story("big", "candidate", ticket=None)
    for kind in (K.LOOP_LINKED, K.LOOP_JOINED):
        apply(made, event(kind))
    apply(made, event(K.LOOP_UNLINKED, small="S1"))
    assert (set(made.links), set(made.issues)) == ({"S5"}, {"I1", "I2", "I3", "I5"})
    apply(made, event(K.LOOP_DETACHED, issue="I2"))
    assert set(made.issues) == {"I1", "I3", "I5"}


def test_routing_keeps_what_it_does_not_name() -> None:
    made = story(state="triage")
    apply(made, event(K.LOOP_ROUTED))
    assert (made.loop["state"], made.loop["topic"]) == ("open", "login")
    assert (made.loop["lead"], made.loop["priority"]) == ("CC", "P2")


class Lives(RuleBasedStateMachine):
    """Random lives of a loop: taken events replay to the same story, refused ones leave none."""

    def __init__(self) -> None:
        super().__init__()
        self.story, self.taken, self.now = Story(), list[Happening](), NOW

    @initialize(kind=st.sampled_from(["small", "big"]), state=st.sampled_from(["triage", "open"]))
    def open(self, kind: str, state: str) -> None:
        first = "candidate" if kind == "big" else state
        self.try_(event(K.LOOP_OPENED, kind=kind, state=first, **{"clock:1": LEGAL}))

    @rule(
        kind=st.sampled_from([k for k in DATA if k is not K.LOOP_OPENED]),
        number=st.integers(1, 3),
        minutes=st.integers(0, 100),
    )
    def happen(self, kind: EventKind, number: int, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        names = {"ticket": f"T{number}", "issue": f"I{number}", "small": f"S{number}"}
        names |= {"clock": f"L1.0.{number}", "verification": f"V{number}"}
        changed = {name: value for name, value in names.items() if name in DATA[kind]}
        self.try_(event(kind, self.now, **changed))

    @precondition(lambda self: len(self.taken) > 1)
    @rule()
    def replay(self) -> None:
        again = Story()
        for one in self.taken:
            apply(again, one)
        assert again == self.story

    def try_(self, one: Happening) -> None:
        was = self.story.loop.get("state")
        if self.story.loop and not attempt(self.story, one):
            return
        if not self.taken:
            apply(self.story, one)
        self.taken.append(one)
        if was == L.CLOSED and self.story.loop["state"] != L.CLOSED:
            assert one.kind in LEAVE_CLOSED

    @invariant()
    def sound(self) -> None:
        loop = self.story.loop
        if not loop:
            return
        closed = loop["state"] == L.CLOSED
        assert closed == (loop["closed_at"] is not None) == (loop["outcome"] is not None)
        assert loop["version"] == len(self.taken) - 1
        for running in self.story.clocks.values():
            assert running["next_at"] is None or running["stopped_at"] is None
            assert running["step"] is None or running["breached_at"] is not None
            assert not closed or running["stopped_at"] is not None
        for ticket in self.story.tickets.values():
            assert ticket["state"] != T.RESOLVED or ticket["cause"] is not None
            assert not closed or ticket["state"] in (T.DONE, T.REJECTED)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
