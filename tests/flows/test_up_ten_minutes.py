"""Ten minutes of `loopwright up`: what is dropped arrives, idling is cheap, kills mend themselves.

Items come at random moments. Each child is killed once, then the top process, whenever nothing is
under way: work under a killed process's lease waits for the lease's end, which is proved elsewhere.
`UP_SECONDS` shortens it for a try.
"""

import email
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import httpx
import pytest
from sqlalchemy import text

from notifications.transport import message_id
from tasks.sweeps import SWEEPS
from tests.acceptance.home import SECRET, Home
from tests.flows.running import CHILDREN, Running, drop, start, within
from tests.flows.usage import Usage, Window
from tests.smtp_double import Relay, smtp

pytestmark = [
    pytest.mark.prove,
    pytest.mark.flow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc"),
]

SECONDS = float(os.environ.get("UP_SECONDS", 600))
GAP = 8.0
"""Seconds between two items, on average."""
KILLS = dict(zip((*CHILDREN, "up"), (0.35, 0.2, 0.5, 0.7), strict=True))
"""What is killed -> after which part of the time."""
BY_HAND = "review-causes"
"""Its schedule comes once a day."""

TICKETS = text("""
SELECT raw_item.key AS item, message.key AS message
FROM raw_item
JOIN issue ON issue.feedback_id = raw_item.id
JOIN loop_issue ON loop_issue.issue_id = issue.id AND relation = 'origin'
JOIN message ON message.loop_id = loop_issue.loop_id AND message.template = 'ticket_assigned'
""")
ARRIVED = text("SELECT count(*) FROM message WHERE template='ticket_assigned' AND state='sent'")


@dataclass
class Session:
    """What was dropped when, and when something was being mended."""

    site: Home
    run: Running
    usage: Usage
    chance: random.Random
    began: float = field(default_factory=time.time)
    dropped: dict[str, float] = field(default_factory=dict)
    mended: dict[str, Window] = field(default_factory=dict)

    def drop(self) -> None:
        name = f"T-{len(self.dropped)}"
        self.dropped[name] = time.time()
        drop(self.site, name, self.chance)

    def has_arrived(self) -> bool:
        with self.site.database() as db, db.read() as tx:
            return bool(tx.execute(ARRIVED).scalar_one() >= len(self.dropped))

    def is_resting(self) -> bool:
        return self.usage.is_resting() and self.has_arrived()

    def kill(self, what: str) -> None:
        """Kill, drop an item at once, and wait until it has arrived all the same."""
        within(90, self.is_resting)
        killed = time.time()
        if what == "up":
            self.run.kill()
            self.drop()
            self.run = start(self.site)
            assert self.run.seconds < 30
            self.usage.top = self.run.process.pid
        else:
            before = self.run.child(what)
            os.kill(before, signal.SIGKILL)
            self.drop()
            within(30, lambda: self.has_child(what, before))
        within(40, self.has_arrived)
        within(60, self.run.healthy)
        self.mended[what] = killed, time.time()

    def has_child(self, what: str, before: int) -> bool:
        try:
            return self.run.child(what) != before
        except ValueError:
            return False

    def play(self, seconds: float, kills: dict[str, float]) -> None:
        plan: list[tuple[float, Callable[[], None]]] = []
        moment = self.chance.expovariate(1 / GAP)
        while moment < seconds - 12:
            plan.append((moment, self.drop))
            moment += self.chance.expovariate(1 / GAP)
        for what, part in kills.items():
            plan.append((part * seconds, lambda what=what: self.kill(what)))  # type: ignore[misc]
        plan.append((0.55 * seconds, lambda: start_run(self.run, BY_HAND)))
        for moment, act in sorted(plan, key=lambda step: step[0]):
            time.sleep(max(0.0, self.began + moment - time.time()))
            act()
        time.sleep(max(0.0, self.began + seconds - time.time()))
        within(40, self.is_resting)

    def busy(self) -> list[Window]:
        """When work, or mending and starting, went on."""
        starts = [(begin - 1, end + 15) for begin, end in self.mended.values()]
        return [(self.began, self.began + 10), *starts] + [
            (at - 1, at + 6) for at in self.dropped.values()
        ]

    def latencies(self, arrived: dict[str, float]) -> tuple[list[float], list[float]]:
        """Seconds from drop to department: of items dropped while all was well, and of others."""
        with self.site.database() as db, db.read() as tx:
            of = {row.item.lstrip("="): row.message for row in tx.execute(TICKETS)}
        calm: list[float] = []
        mending: list[float] = []
        for name, at in self.dropped.items():
            seconds = arrived[message_id(of[name], SECRET.encode(), "bank.invalid")] - at
            hit = any(begin <= at <= end for begin, end in self.mended.values())
            (mending if hit else calm).append(seconds)
        return calm, mending


def start_run(run: Running, deployment: str) -> None:
    """As `prefect deployment run` does."""
    (found,) = [d for d in run.ask("deployments") if d["name"] == deployment]
    url = run.api(f"deployments/{found['id']}/create_flow_run")
    httpx.post(url, json={}, trust_env=False, timeout=20).raise_for_status()


def runs_of(run: Running) -> Counter[tuple[str, str]]:
    """(deployment, state) -> how many runs have ended so."""
    names = {d["id"]: d["name"] for d in run.ask("deployments")}
    ended = run.ask("flow_runs", flow_runs={"state": {"type": {"any_": ["COMPLETED", "CRASHED"]}}})
    return Counter((names[r["deployment_id"]], r["state_type"]) for r in ended)


def in_files(site: Home) -> Iterator[tuple[str, float]]:
    for path in (site.folder / ".loopwright/outbox").rglob("*.eml"):
        yield email.message_from_bytes(path.read_bytes())["Message-ID"], path.stat().st_mtime


def in_mailboxes(relay: Relay) -> Iterator[tuple[str, float]]:
    offset = time.time() - time.monotonic()
    for envelope, at in zip(relay.accepted, relay.times, strict=True):
        assert isinstance(envelope.content, bytes)
        yield email.message_from_bytes(envelope.content)["Message-ID"], at + offset


def distribution(seconds: list[float]) -> str:
    p95 = quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    return (
        f"{len(seconds)} items: median {median(seconds):.1f} s, p95 {p95:.1f} s,"
        f" max {max(seconds):.1f} s"
    )


@pytest.mark.parametrize("transport", ["file", "smtp"])
def test_ten_minutes(tmp_path: Path, transport: str) -> None:
    with smtp() if transport == "smtp" else nullcontext((None, 0)) as (relay, port):
        env = {
            "LOOPWRIGHT_MESSAGES__TRANSPORT": transport,
            "LOOPWRIGHT_SMTP__HOST": "127.0.0.1",
            "LOOPWRIGHT_SMTP__PORT": str(port),
        }
        site = Home(tmp_path, env)
        site.do("init")
        length, kills = (SECONDS, KILLS) if relay is None else (SECONDS / 5, {})
        run = start(site)
        session = Session(site, run, Usage(run.process.pid), random.Random(1))
        try:
            with session.usage:
                session.play(length, kills)
            ended = runs_of(session.run)
            session.run.stop()
        finally:
            session.run.process.kill()
        found = list(in_files(site) if relay is None else in_mailboxes(relay))
    arrived = dict(found)
    assert len(arrived) == len(found), "a message came twice"
    calm, mending = session.latencies(arrived)
    report(session, transport, calm, mending, ended)

    assert max(calm) < 10
    idle, shares = session.usage.idle(session.busy())
    assert sum(shares.values()) < 0.05
    if length >= 600:
        assert idle > 60, "too little of it was idle to say what idling costs"
        completed = {name for name, state in ended if state == "COMPLETED"}
        assert completed == {flow.replace("_", "-") for flow in SWEEPS}
    counts = site.counts()
    assert counts["message"] == counts["delivery"], "a message was sent more than once"
    site.do("audit", "verify")
    site.do("audit", "replay")


def report(
    session: Session,
    transport: str,
    calm: list[float],
    mending: list[float],
    ended: Counter[tuple[str, str]],
) -> None:
    seconds, shares = session.usage.idle(session.busy())
    spent, number = session.usage.spent_on_runs(), ended.total()
    mends = {what: round(end - begin, 1) for what, (begin, end) in session.mended.items()}
    lines = [
        f"{transport}: {time.time() - session.began:.0f} s, ready in {session.run.seconds:.1f} s",
        f"  dropped while all was well: {distribution(calm)}",
        *([f"  dropped around a kill: {distribution(mending)}"] if mending else []),
        f"  killed; an item delivered and the server answering after: {mends} s",
        f"  idle {100 * sum(shares.values()):.1f} % of a core over {seconds:.0f} s: "
        + ", ".join(f"{name} {100 * share:.2f}" for name, share in shares.items()),
        f"  {number} scheduled runs: {spent:.1f} CPU s, {spent / max(number, 1):.1f} each; "
        + ", ".join(f"{name} {state} {n}" for (name, state), n in sorted(ended.items())),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
