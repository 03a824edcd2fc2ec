"""What a customer answers to «is it solved?»: it closes the loop or reopens it, unless the words
contradict the answer; then a person settles what was meant."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, select

from loopwright.db import retry_conflicts
from loopwright.errors import TransitionRefused
from loopwright.history.envelope import Actor
from loopwright.mask import mask
from models.base import table
from models.kinds import Answer, EventKind, LoopState, Outcome
from models.loop import Loop
from models.verification import Verification
from policy.doubt import contradicts
from policy.transitions import SETTLED
from tasks.change import Change, NewMessage, change
from tasks.find import customers_loops, match_id
from tasks.look import plain
from tasks.messages.facts import Facts, quoted
from tasks.people import organisation_now, today
from tasks.routing.known import in_place_of
from tasks.routing.open_loops import clocks_anew, tell_reopened
from tasks.settle import stamped
from tasks.verification.verify import closing
from tasks.workspace import Workspace

LOOPS = table(Loop)
VERIFICATIONS = table(Verification)

CUSTOMER = "customer"
NEW_FEEDBACK = "take the customer's words in as new feedback"


@dataclass(frozen=True)
class Said:
    """What a customer answers, and the person who took it down.

    `recording`: of the call. `settles`: the person says what an answer in doubt meant.
    """

    loop: str
    answer: Answer
    actor: Actor
    words: str = ""
    recording: str = ""
    settles: bool = False


def answer(
    ws: Workspace,
    loop_id: str,
    answer: Answer,
    words: str,
    actor: Actor,
    now: datetime,
    recording: str = "",
) -> str:
    """Take one customer's answer; the loop may be named by its id's end. Returns its id."""
    return answer_one(ws, Said(loop_id, answer, actor, words, recording), now)


def settle_doubt(ws: Workspace, loop_id: str, meant: Answer, actor: Actor, now: datetime) -> str:
    """Say what an answer meant that its words contradict. Returns the loop's id; raises
    TransitionRefused where no answer is in doubt."""
    return answer_one(ws, Said(loop_id, meant, actor, settles=True), now)


def answer_one(ws: Workspace, said: Said, now: datetime) -> str:
    with ws.db.read() as tx:
        loop = match_id(tx, LOOPS, said.loop, "loop")
    return answers(ws, [replace(said, loop=loop)], now)[0]


def answers(ws: Workspace, said: Sequence[Said], now: datetime) -> list[str]:
    """Take a set of answers, all or none; each names its loop by the whole id.

    A yes closes as verified, a no or partly reopens, for a while also what was closed; and for a
    while a no may be taken back. Returns the loops' ids. Raises InputError for a loop without a
    customer of its own, TransitionRefused for one that nobody calls solved, or where it is too late
    to change an answer.
    """

    def attempt() -> None:
        with ws.db.begin() as tx:
            rows = customers_loops(tx, [one.loop for one in said])
            hearing = Hearing(ws, tx, last_questions(tx, list(rows)), now)
            made = [c for one in said for c in hearing.take(rows[one.loop], one)]
            change(tx, stamped(ws, made), now)

    retry_conflicts(attempt)
    return [one.loop for one in said]


def last_questions(tx: Connection, loops: Sequence[str]) -> dict[str, Any]:
    """Loop -> the last question put to its customer."""
    query = (
        select(VERIFICATIONS)
        .where(VERIFICATIONS.c.loop_id.in_(loops))
        .order_by(VERIFICATIONS.c.asked_at, VERIFICATIONS.c.id)
    )
    return {row.loop_id: row for row in tx.execute(query)}


@dataclass
class Hearing:
    """One moment's answers to the last question of each loop."""

    ws: Workspace
    tx: Connection
    questions: Mapping[str, Any]
    now: datetime

    def take(self, row: Any, said: Said) -> list[Change]:
        """The answer, and what follows from it."""
        asked = self.questions.get(row.id)
        if said.settles:
            return self.settle(row, asked, said)
        self.check(row, asked, said)
        asked = asked if self.is_about(row, asked) else None
        data = {"verification": asked.id if asked else None, "answer": said.answer.value}
        words = {"words": said.words, "recording": said.recording}
        first = Change(
            row.id,
            EventKind.VERIFICATION_ANSWERED,
            data,
            said.actor,
            row.version,
            body={name: text for name, text in words.items() if text.strip()} or None,
            on_behalf_of=CUSTOMER,
        )
        if not contradicts(said.answer, said.words):
            return [first, *self.follow(row, said.answer)]
        if asked is not None:
            return [replace(first, data=data | {"doubt": True}, messages=self.ask_operations(row))]
        # Of a loop whose customer is still to be asked: the question will settle it.
        later = [] if row.state == LoopState.RESOLVED else self.follow(row, said.answer)
        return [first, *later]

    def settle(self, row: Any, asked: Any, said: Said) -> list[Change]:
        if asked is None or not asked.doubt:
            raise TransitionRefused(
                f"no answer of loop {row.id} is in doubt", "`loopwright loop doubts` lists them"
            )
        data = {"verification": asked.id, "answer": said.answer.value}
        first = Change(row.id, EventKind.VERIFICATION_SETTLED, data, said.actor, row.version)
        return [first, *self.follow(row, said.answer)]

    def is_about(self, row: Any, asked: Any) -> bool:
        """Whether an answer now is to that question: it is open, or its answer may be changed."""
        if asked is None or row.state == LoopState.RESOLVED:
            return False
        return asked.answer is None or asked.doubt or self.may_change(asked)

    def may_change(self, asked: Any) -> bool:
        days = self.ws.published.documents.rulebook.answer_change_days
        return bool(self.now - asked.answered_at <= timedelta(days=days))

    def check(self, row: Any, asked: Any, said: Said) -> None:
        if row.state in SETTLED:
            return
        if row.state == LoopState.OPEN and asked and asked.answer and said.answer is Answer.YES:
            self.check_taken_back(row, asked)
        elif row.state != LoopState.CLOSED:
            raise TransitionRefused(
                f"loop {row.id} is {row.state}: nobody calls it solved",
                "the customer is asked when its tickets are resolved",
            )
        else:
            self.check_closed(row, said.answer)

    def check_taken_back(self, row: Any, asked: Any) -> None:
        days = self.ws.published.documents.rulebook.answer_change_days
        if not asked.doubt and not self.may_change(asked):
            raise TransitionRefused(
                f"loop {row.id} was opened again by an answer that is older than {days} days",
                "the customer is asked again when its tickets are resolved",
            )

    def check_closed(self, row: Any, answer: Answer) -> None:
        if row.outcome not in (Outcome.VERIFIED, Outcome.UNVERIFIED):
            raise TransitionRefused(f"loop {row.id} is closed as {row.outcome}", NEW_FEEDBACK)
        if answer is Answer.YES:
            raise TransitionRefused(
                f"loop {row.id} is closed as {row.outcome}: a yes comes too late to change it",
                "only a no or partly opens it again",
            )
        check_reopening(self.tx, self.ws, row, self.now)

    def follow(self, row: Any, answer: Answer) -> list[Change]:
        """What an answer that means what it says changes of the loop."""
        if answer is Answer.YES:
            done = row.state == LoopState.CLOSED
            return [] if done else [closing(row.id, Outcome.VERIFIED, f"answer {answer}")]
        if row.state == LoopState.OPEN:
            return []
        if row.state == LoopState.CLOSED:
            check_reopening(self.tx, self.ws, row, self.now)
        return [self.reopening(row, answer)]

    def reopening(self, row: Any, answer: Answer) -> Change:
        key, day = f"loop_reopened:{row.id}:{row.version}", today(self.ws, self.now)
        return Change(
            row.id,
            EventKind.LOOP_REOPENED,
            {"why": f"answer {answer}", **clocks_anew(self.ws, row, self.now)},
            messages=tell_reopened(self.organisation, row.lead, key, day),
        )

    @cached_property
    def organisation(self) -> Any:
        return organisation_now(self.ws, self.tx, self.now)

    def ask_operations(self, row: Any) -> tuple[NewMessage, ...]:
        operations = self.organisation.operations
        return (NewMessage(f"answer_doubted:{row.id}:{row.version}", "answer_doubted", operations),)


def check_reopening(tx: Connection, ws: Workspace, row: Any, now: datetime) -> None:
    """A closed loop opens again in the policy's window, unless another has taken its place."""
    days = ws.published.documents.rulebook.reopen_days
    if now - row.closed_at > timedelta(days=days):
        raise TransitionRefused(
            f"loop {row.id} has been closed for more than {days} days", NEW_FEEDBACK
        )
    if other := in_place_of(tx, row):
        raise TransitionRefused(
            f"the customer of loop {row.id} has another open loop on its topic",
            f"that one goes on: `loopwright loop show {other}`",
        )


def doubts(ws: Workspace) -> list[dict[str, Any]]:
    """Answers that their words contradict, the oldest first."""
    query = (
        select(
            VERIFICATIONS.c.loop_id.label("loop"),
            LOOPS.c.lead.label("unit"),
            LOOPS.c.topic,
            LOOPS.c.state,
            VERIFICATIONS.c.answer,
            VERIFICATIONS.c.first_answer,
            VERIFICATIONS.c.answered_at,
        )
        .join(LOOPS, LOOPS.c.id == VERIFICATIONS.c.loop_id)
        .where(VERIFICATIONS.c.doubt)
        .order_by(VERIFICATIONS.c.answered_at, VERIFICATIONS.c.id)
    )
    with ws.db.read() as tx:
        rows = tx.execute(query).all()
        facts = Facts(events=quoted(tx, [row.loop for row in rows]))
    answered = (EventKind.VERIFICATION_ANSWERED,)
    return [plain(row) | {"words": mask(facts.words(row.loop, answered, "words"))} for row in rows]
