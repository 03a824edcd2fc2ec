"""The whole loop machine: whatever people and sweeps do, in whatever order, states stay legal, the
history verifies and the tables follow from it."""

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import text

from loopwright.db import Database
from loopwright.errors import InputError, LoopwrightError
from loopwright.history.envelope import Actor
from models.clock import Clock
from models.kinds import Answer, CallOutcome, How, Told
from models.loop import Loop
from models.ticket import Ticket
from tasks import merge
from tasks.approval import approvals
from tasks.causes import big_loops, measure_effects, nominate, plan_cause, review_causes
from tasks.clocks import changes as clock_changes
from tasks.clocks import regulate
from tasks.clocks.watch_clocks import watch_lease
from tasks.documents.publish import publish
from tasks.routing import decide
from tasks.tickets import hand_off, handlers
from tasks.verification import answers, call_backs, verify
from tasks.verification.tell import tell_customer
from tasks.workspace import Workspace
from tests.cast import (
    FEE,
    LI,
    LOGIN,
    NOON,
    OPS,
    UPDATE,
    ZHANG,
    document,
    documents,
    rows,
    settings_for,
    sound,
    take_in,
)

pytestmark = pytest.mark.acceptance

RUNS, STEPS = 200, 25
SEEDS = 25
"""`make check` makes the runs of one seed, `make prove` of all: 5,000. A search of its own for each
seed, since one slows down with all that it remembers."""
ITEMS = (LOGIN, FEE, UPDATE, "转账失败，要求赔偿", "更新后登录不了")
SHARED = ("published", "clocks", "router", "places", "classifier", "hasher", "sources", "model")
"""What a workspace reads once; every run works by the same documents."""


LAW = Path(__file__).parents[2] / "examples/bank/regulations/cn-2020-3.yaml"


def under_the_law() -> dict[str, bytes]:
    """The tests' documents with a regulation, whose legal clock may be extended and stand still."""
    kept = [line for line in document("clocks").splitlines(True) if "id: legal," not in line]
    law = LAW.read_text("utf-8").replace("id: legal-cn\n", "id: legal\n")
    return documents(clocks="".join(kept)) | {"regulations/law.yaml": law.encode()}


@dataclass
class World:
    """One run's database, the moment, and what the chances picked."""

    ws: Workspace
    now: datetime
    one: int = 0
    other: int = 0

    def loop(self, which: int | None = None) -> Any:
        found = rows(self.ws.db, Loop)
        return found[(self.one if which is None else which) % len(found)]

    def asked(self) -> str:
        """A loop whose customer is being asked; any where none is."""
        found = [row.id for row in rows(self.ws.db, Loop, state="verifying")]
        return found[self.one % len(found)] if found else self.loop().id

    def doubted(self) -> str:
        """A loop whose customer's answer is in doubt; any where none is."""
        found = answers.doubts(self.ws)
        return found[self.one % len(found)]["loop"] if found else self.loop().id

    def disputed(self) -> str:
        """A loop that departments disagree on, else one that no rule decided; any where none is."""
        found = rows(self.ws.db, Loop, arbitration=True) or rows(self.ws.db, Loop, state="triage")
        return found[self.one % len(found)].id if found else self.loop().id

    def ticket(self) -> Any:
        found = rows(self.ws.db, Ticket)
        return found[self.one % len(found)]

    def clock(self) -> Any:
        found = rows(self.ws.db, Clock)
        return found[self.one % len(found)]

    def unit(self) -> str:
        return ("DB", "CC", "RK")[self.other % 3]

    def person(self) -> Any:
        return (ZHANG, LI, OPS)[self.other % 3]

    def waiting(self) -> tuple[str, str]:
        """An approval that waits, and somebody who may decide it."""
        with self.ws.db.read() as tx:
            found = approvals.deciders(self.ws, tx, self.now)
        if not found:
            raise InputError("nothing waits for approval", "ask for something first")
        row, people = found[self.one % len(found)]
        return row["id"], next(iter(people), "cx.ops")


Act = Callable[[World], Any]


def complain(w: World) -> None:
    words = ITEMS[w.one % len(ITEMS)]
    take_in(w.ws, {"text": words, "customer": f"K{w.other % 4}"}, now=w.now)


def answer(w: World) -> None:
    said = (Answer.YES, Answer.NO, Answer.PARTLY)[w.other % 3]
    answers.answer(w.ws, w.loop().id, said, "", OPS, w.now)


def tell(w: World) -> None:
    what = (Told.FIRST_ANSWER, Told.DECISION)[w.other % 2]
    tell_customer(w.ws, w.loop().id, what, How.CALL, "R1", OPS, w.now)


def plan(w: World) -> None:
    by = date(2027, 8, 1)
    made = plan_cause.Plan("C01", ["原因"], ["措施"], "目标", by)
    plan_cause.plan(w.ws, w.loop().id, made, OPS, w.now)


def close(w: World) -> None:
    outcome = ("not proven", "abandoned", "proven")[w.other % 3]
    changed = "已改" if w.other % 2 else None
    big_loops.close(w.ws, w.loop().id, outcome, "理由", changed, OPS, w.now)


def pause(w: World) -> None:
    clock, reason = w.clock(), ("external_appraisal", "waiting")[w.other % 2]
    proof = clock_changes.Proof(reason, evidence="E1", notice="N1")
    clock_changes.pause(w.ws, clock.loop_id, clock.id, proof, OPS, w.now)


def resume(w: World) -> None:
    clock = w.clock()
    clock_changes.resume(w.ws, clock.loop_id, clock.id, OPS, w.now)


def extend(w: World) -> None:
    name = ("complex", "especially-complex")[w.other % 2]
    wish = regulate.Wish(name, "复杂", notice="N2", how=How.CALL)
    regulate.extend(w.ws, w.loop().id, wish, ZHANG, w.now)


def approve(w: World) -> None:
    approval, person = w.waiting()
    approvals.approve(w.ws, approval, Actor("person", person, "cli"), w.now)


def refuse(w: World) -> None:
    approval, person = w.waiting()
    approvals.refuse(w.ws, approval, "不必", Actor("person", person, "cli"), w.now)


def called(w: World) -> None:
    outcome = list(CallOutcome)[w.other % len(CallOutcome)]
    call_backs.called(w.ws, w.asked(), outcome, "R2", OPS, w.now)


def settle(w: World) -> None:
    """A doubt is rare, so that one is made where there is none."""
    if not answers.doubts(w.ws):
        doubt(w)
    meant = (Answer.YES, Answer.NO)[w.other % 2]
    answers.settle_doubt(w.ws, w.doubted(), meant, OPS, w.now)


def doubt(w: World) -> None:
    answers.answer(w.ws, w.asked(), Answer.YES, "还是没有解决", OPS, w.now)


def review_effects(w: World) -> None:
    measure_effects.reopen_relapsed(w.ws, w.now)
    measure_effects.measure(w.ws, w.now)


ACTS: Mapping[str, Act] = {
    "pause": pause,
    "resume": resume,
    "extend": extend,
    "new facts": lambda w: regulate.new_facts(w.ws, w.loop().id, w.now, "新的事实", OPS, w.now),
    "review": lambda w: regulate.review(w.ws, w.loop().id, w.now, "不同意", OPS, w.now),
    "more time": lambda w: approvals.request_more_time(w.ws, w.ticket().id, 2, "等待", LI, w.now),
    "compensate": lambda w: approvals.compensate(w.ws, w.loop().id, 5_000, "误工", ZHANG, w.now),
    "approve": approve,
    "refuse": refuse,
    "give": lambda w: handlers.give(w.ws, w.ticket().id, None, OPS, w.now),
    "bar": lambda w: handlers.bar(w.ws, w.loop().id, w.person().id, "亲属", OPS, w.now),
    "progress": lambda w: hand_off.progress(w.ws, w.ticket().id, "在查", w.person(), w.now),
    "nominate": lambda w: nominate.nominate(w.ws, w.loop().id, "各部门都有", LI, w.now),
    "called": called,
    "doubt": doubt,
    "settle": settle,
    "effects": review_effects,
    "complain": complain,
    "accept": lambda w: hand_off.accept(w.ws, w.ticket().id, w.person(), w.now),
    "reject": lambda w: hand_off.reject(w.ws, w.ticket().id, "不归", w.unit(), LI, w.now),
    "transfer": lambda w: hand_off.transfer(w.ws, w.ticket().id, w.unit(), "归他", LI, w.now),
    "resolve": lambda w: hand_off.resolve(w.ws, w.ticket().id, "C01", "已办", ZHANG, w.now),
    "decide": lambda w: decide.decide_loop(w.ws, w.disputed(), w.unit(), OPS, w.now),
    "withdraw": lambda w: decide.withdraw(w.ws, w.loop().id, "算了", OPS, w.now),
    "unfounded": lambda w: decide.close_unfounded(w.ws, w.loop().id, "查无", OPS, w.now),
    "answer": answer,
    "tell": tell,
    "ask": lambda w: verify.ask(w.ws, w.now),
    "end silences": lambda w: verify.follow_up(w.ws, w.now),
    "merge": lambda w: merge.merge(w.ws, w.loop().id, w.loop(w.other).id, OPS, w.now),
    "unmerge": lambda w: merge.unmerge(w.ws, w.loop().id, OPS, w.now),
    "take on": lambda w: big_loops.triage(w.ws, w.loop().id, w.unit(), (), None, OPS, w.now),
    "plan": plan,
    "close": close,
    "link": lambda w: review_causes.link_loops(w.ws, w.now),
    "watch": lambda w: watch_lease(w.ws, w.now),
}
USUAL = ("accept", "resolve", "ask", "answer", "watch", "approve", "plan", "take on")
"""Oftener than others, so that loops get on."""

OFTEN = ("accept", "resolve", "answer", "reject", "merge", "watch", "pause", "more time", "approve")

SOUND: Mapping[str, str] = {
    "a loop is closed without an outcome or a time": """
        SELECT id FROM loop WHERE (state = 'closed') <> (outcome IS NOT NULL)
            OR (state = 'closed') <> (closed_at IS NOT NULL)""",
    "a closed loop has a ticket at work": """
        SELECT t.id FROM ticket t JOIN loop l ON l.id = t.loop_id
        WHERE l.state = 'closed' AND t.state NOT IN ('done', 'rejected')""",
    "a resolved loop has a ticket at work": """
        SELECT t.id FROM ticket t JOIN loop l ON l.id = t.loop_id
        WHERE l.state IN ('resolved', 'verifying') AND t.state IN ('assigned', 'accepted')""",
    "a closed loop has a running clock": """
        SELECT c.id FROM clock c JOIN loop l ON l.id = c.loop_id
        WHERE l.state = 'closed' AND c.stopped_at IS NULL""",
    "a stopped or paused clock would be looked at": """
        SELECT id FROM clock
        WHERE next_at IS NOT NULL AND (stopped_at IS NOT NULL OR paused_at IS NOT NULL)""",
    "a clock is due before it starts": "SELECT id FROM clock WHERE due_at <= started_at",
    "the law's clock stopped though nobody told the customer": """
        SELECT c.id FROM clock c JOIN loop l ON l.id = c.loop_id
        WHERE c.stops = 'told' AND c.stopped_at IS NOT NULL AND l.state <> 'closed'
            AND NOT EXISTS (SELECT 1 FROM history_event e WHERE e.loop_id = l.id AND e.kind IN (
                'loop.customer_told', 'verification.answered',
                'loop.reopened', 'loop.review_requested', 'clock.restarted'))""",
    "a loop is at work without a ticket": """
        SELECT id FROM loop l WHERE state IN ('open', 'acting') AND NOT arbitration
            AND NOT EXISTS (SELECT 1 FROM ticket t WHERE t.loop_id = l.id
                AND t.state <> 'rejected')""",
    "a question waits though its loop has moved on": """
        SELECT v.id FROM verification v JOIN loop l ON l.id = v.loop_id
        WHERE v.due_at IS NOT NULL AND l.state <> 'verifying'""",
    "a big loop is proven without a proof": """
        SELECT id FROM loop l WHERE outcome = 'proven'
            AND NOT EXISTS (SELECT 1 FROM effect e WHERE e.loop_id = l.id
                AND e.verdict = 'proven')""",
}


def machine(prepared: Path, cached: Mapping[str, Any], done: Counter[str]) -> type:
    class LoopMachine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.home = Path(mkdtemp(prefix="machine"))
            shutil.copy(prepared, self.home / "loopwright.db")
            url = f"sqlite:///{self.home / 'loopwright.db'}"
            ws = Workspace(settings_for(url, self.home), Database(url), run="machine")
            vars(ws).update(cached)
            self.world = World(ws, NOON)

        @rule(
            name=st.sampled_from([*ACTS, *USUAL, *USUAL]),
            one=st.integers(0, 11),
            other=st.integers(0, 5),
            hours=st.sampled_from([0, 0, 1, 5, 30, 200]),
        )
        def act(self, name: str, one: int, other: int, hours: int) -> None:
            self.world.now += timedelta(hours=hours, minutes=1)
            self.world.one, self.world.other = one, other
            try:
                ACTS[name](self.world)
            except LoopwrightError as refusal:
                done[f"{name} refused" if refusal.what and refusal.fix else "no words"] += 1
            else:
                done[name] += 1

        def teardown(self) -> None:
            db = self.world.ws.db
            try:
                for wrong, query in SOUND.items():
                    with db.read() as tx:
                        assert tx.execute(text(query)).all() == [], wrong
                assert sound(db)
                done["runs"] += 1
            finally:
                db.close()
                shutil.rmtree(self.home)

    return LoopMachine


@pytest.fixture(scope="module")
def start(
    prepared_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A database with loops of every kind, and what a workspace has read of its documents."""
    home = tmp_path_factory.mktemp("machine")
    path = home / "loopwright.db"
    shutil.copy(prepared_sqlite, path)
    ws = Workspace(settings_for(f"sqlite:///{path}", home), Database(f"sqlite:///{path}"))
    publish(ws.db, under_the_law(), OPS, NOON)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        items = [{"text": words, "customer": f"K{n % 4}"} for n, words in enumerate(ITEMS)]
        take_in(ws, *items)
    states = {(row.kind, row.state) for row in rows(ws.db, Loop)}
    assert states >= {("small", "open"), ("big", "candidate")}, states
    read = {name: getattr(ws, name) for name in SHARED}
    ws.db.close()
    return path, read


def run(
    start: tuple[Path, Mapping[str, Any]], seeds: int, patch: pytest.MonkeyPatch, home: Path
) -> Counter[str]:
    patch.chdir(home)
    done: Counter[str] = Counter()
    for number in range(seeds):
        search(seed(number)(machine(*start, done)))
    assert not done["no words"], "a refusal says what is wrong and what to do"
    assert done["runs"] >= seeds * RUNS
    return done


def search(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def happened(done: Counter[str], names: Sequence[str]) -> list[str]:
    """Acts that never came about: a machine that only refuses proves nothing."""
    return [name for name in names if not done[name]]


def test_the_loop_machine(start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = run(start, 1, monkeypatch, tmp_path)
    assert happened(done, OFTEN) == []


@pytest.mark.prove
def test_the_loop_machine_at_length(
    start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = run(start, SEEDS, monkeypatch, tmp_path)
    assert happened(done, list(ACTS)) == []
    sys.stderr.write(f"{done['runs']:,} runs: {dict(done.most_common())}\n")
