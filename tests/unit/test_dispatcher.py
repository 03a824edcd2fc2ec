"""Does the dispatcher notice what comes, do it at once, and cost next to nothing while idle?"""

import asyncio
import json
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from loopwright.now import utc_now
from models.kinds import MessageState
from models.message import Message
from tasks.dispatch import (
    MOST_LOOKS,
    Growing,
    Inbox,
    Rest,
    current,
    dispatch,
    look,
    look_at_growing,
)
from tasks.documents.publish import publish
from tasks.intake.pull import switch_source
from tasks.sweeps import SWEEPS
from tasks.workspace import Workspace
from tests.cast import FEE, LOGIN, NOON, OPS, documents, drop, number_of, rows


def noon() -> datetime:
    return NOON


def put(ws: Workspace, name: str, *lines: str, source: str = "posts") -> Path:
    folder = ws.settings.inbox / source
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def sent(ws: Workspace) -> list[Path]:
    return sorted(ws.settings.messages.folder.rglob("*.eml"))


def test_a_file_is_rested_when_it_stayed_the_same_for_one_look(ws: Workspace) -> None:
    inbox = Inbox(ws.settings.inbox)
    assert inbox.rested(ws) == []
    put(ws, "a.txt", LOGIN)
    assert inbox.rested(ws) == []
    assert inbox.rested(ws) == ["posts"]
    assert inbox.rested(ws) == [], "it was told once"


def test_a_second_file_in_the_same_folder_is_noticed(ws: Workspace) -> None:
    inbox = Inbox(ws.settings.inbox)
    put(ws, "a.txt", LOGIN)
    assert [inbox.rested(ws), inbox.rested(ws)] == [[], ["posts"]]
    put(ws, "b.txt", FEE)
    assert [inbox.rested(ws), inbox.rested(ws)] == [[], ["posts"]]


def test_a_growing_file_is_waited_for_but_not_for_ever(ws: Workspace) -> None:
    inbox = Inbox(ws.settings.inbox)
    for n in range(MOST_LOOKS):
        put(ws, "a.txt", *[LOGIN] * (n + 1))
        assert inbox.rested(ws) == []
    put(ws, "a.txt", *[LOGIN] * 99)
    assert inbox.rested(ws) == ["posts"]


def test_files_that_vanish_or_are_hidden_or_of_a_switched_off_source_are_left(
    ws: Workspace,
) -> None:
    inbox = Inbox(ws.settings.inbox)
    gone = put(ws, "gone.txt", LOGIN)
    put(ws, ".partial", LOGIN)
    put(ws, "off.txt", LOGIN, source="daily_posts")
    switch_source(ws, "daily_posts", False, OPS, NOON)
    assert inbox.rested(ws) == []
    gone.unlink()
    assert [inbox.rested(ws) for _ in range(3)] == [[], [], []]


def test_a_dropped_file_becomes_messages_in_two_looks(ws: Workspace) -> None:
    inbox, rest = Inbox(ws.settings.inbox), Rest()
    put(ws, "a.txt", LOGIN, FEE)
    for _ in range(2):
        asyncio.run(look(ws, noon, inbox, rest))
    states = {row.state for row in rows(ws.db, Message)}
    assert states == {MessageState.SENT.value}
    assert sent(ws)
    before = number_of(ws.db, Message)
    asyncio.run(look(ws, noon, inbox, rest))
    assert number_of(ws.db, Message) == before


def test_a_sweep_that_fails_rests_and_does_not_hold_up_the_others(ws: Workspace) -> None:
    inbox, rest = Inbox(ws.settings.inbox), Rest()
    ws.settings.messages.transport = "nowhere"
    drop(ws, LOGIN)
    asyncio.run(look(ws, noon, inbox, rest))
    assert rest.failures == {"deliver_messages": 1}
    assert not rest.is_over("deliver_messages")
    drop(ws, FEE)
    asyncio.run(look(ws, noon, inbox, rest))
    assert rest.failures == {"deliver_messages": 1}, "it was not tried again yet"
    assert number_of(ws.db, Message) >= 2, "triage went on"


def test_a_source_that_could_not_be_read_is_tried_again(ws: Workspace) -> None:
    inbox, rest = Inbox(ws.settings.inbox), Rest()
    path = put(ws, "a.txt", LOGIN)
    path.write_bytes(b"\0" * 9)
    for _ in range(2):
        asyncio.run(look(ws, noon, inbox, rest))
    assert rest.failures == {"ingest_feedback posts": 1}
    put(ws, "a.txt", LOGIN)
    asyncio.run(look(ws, noon, inbox, rest))
    assert not sent(ws), "it rests first"
    rest.until.clear()
    asyncio.run(look(ws, noon, inbox, rest))
    assert sent(ws)
    assert not rest.failures
    assert not inbox.failed


def test_a_new_publication_is_used_from_the_next_look(ws: Workspace) -> None:
    first = current(ws)
    assert current(first) is first
    publish(ws.db, documents(), OPS, NOON)
    second = current(first)
    assert second.publication == (first.publication or 0) + 1
    assert second.published.number == second.publication


def test_it_stops_when_told(ws: Workspace) -> None:
    ready: list[bool] = []

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(0.2, stop.set)
        await asyncio.wait_for(dispatch(ws, utc_now, stop, lambda: ready.append(True)), 5)

    asyncio.run(run())
    assert ready == [True]


@pytest.mark.parametrize("files", [0, 500])
def test_an_idle_look_costs_little_of_its_second(ws: Workspace, files: int) -> None:
    ws, inbox, rest, looks = current(ws), Inbox(ws.settings.inbox), Rest(), 50
    for n in range(files):
        put(ws, f".old-{n}", LOGIN)
    for _ in range(3):
        asyncio.run(look(ws, noon, inbox, rest))
    started = time.process_time()
    for _ in range(looks):
        asyncio.run(look(current(ws), noon, inbox, rest))
    milliseconds = 1000 * (time.process_time() - started) / looks
    sys.stdout.write(f"an idle look: {milliseconds:.1f} ms of CPU\n")
    assert milliseconds < 25


# Files that grow while conversations run


def grow(ws: Workspace, *segments: dict[str, object]) -> Path:
    path = ws.settings.inbox / "live" / "today.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(s, ensure_ascii=False) + "\n" for s in segments))
    return path


def said(n: int, words: str) -> dict[str, object]:
    return {"call": "C1", "n": n, "who": "customer", "said": words}


def test_a_growing_file_is_noticed_at_every_change_and_only_then(ws: Workspace) -> None:
    growing = Growing()
    assert growing.grown(ws, NOON) == []
    grow(ws, said(1, LOGIN))
    assert growing.grown(ws, NOON) == ["live"]
    assert growing.grown(ws, NOON) == []
    grow(ws, said(2, LOGIN))
    assert growing.grown(ws, NOON) == ["live"]
    growing.forget("live")
    assert growing.grown(ws, NOON) == ["live"], "what could not be read is looked at again"


def test_a_growing_file_need_not_rest(ws: Workspace) -> None:
    inbox = Inbox(ws.settings.inbox)
    grow(ws, said(1, LOGIN))
    assert [inbox.rested(ws), inbox.rested(ws)] == [[], []], "it is followed, not waited for"


def test_one_look_reads_raises_and_sends(ws: Workspace) -> None:
    growing, rest = Growing(), Rest()
    grow(ws, said(1, "我不想活了"))
    asyncio.run(look_at_growing(ws, noon, growing, rest))
    (mail,) = sent(ws)
    assert "红色预警" in mail.with_suffix(".txt").read_text("utf-8")
    asyncio.run(look_at_growing(ws, noon, growing, rest))
    assert len(sent(ws)) == 1


def test_a_long_sweep_does_not_hold_up_a_red_alert(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triage takes three seconds; the alert of a call that begins meanwhile is out before."""
    stop, done = asyncio.Event(), []

    async def long_triage(_ws: Workspace, _clock: object) -> dict[str, int]:
        grow(ws, said(1, "我不想活了"))
        deadline = time.monotonic() + 10
        while not sent(ws) and time.monotonic() < deadline:
            time.sleep(0.05)  # nothing else runs in this loop, as in a real triage
        done.append(time.monotonic() < deadline)
        stop.set()
        return {}

    monkeypatch.setitem(SWEEPS, "triage_feedback", long_triage)
    drop(ws, LOGIN)
    asyncio.run(asyncio.wait_for(dispatch(ws, noon, stop, lambda: None), 30))
    assert done[0]
