"""Checkpoints out of the house: what outsiders hold is what the history can be measured by.

Each configured way takes the newest checkpoint; what became of it stands in the checkpoint's row. A
way that fails is tried again at the next run and holds up nothing. An attempt is recorded before it
is made, so that processes side by side do not send the same twice; one that died counts for ten
minutes.
"""

import asyncio
import fcntl
import html
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, select, update

from loopwright.errors import LoopwrightError
from loopwright.history.checkpoints import CHECKPOINTS, SEPARATOR, newest
from loopwright.history.note import Note
from loopwright.log import log
from notifications.transport import Outgoing, TransportError, message_id
from notifications.wecom_text import robot_key
from tasks.messages.deliver import open_transport
from tasks.workspace import Workspace

LEASE = timedelta(minutes=10)
POST_SECONDS = 10.0
EXPLAINED = (
    "这是循环历史的签名检查点。请原样保存：日后可据此证明历史未被改写或截短。",
    "A signed checkpoint of the history. Keep it as it is: by it you can prove later that nothing"
    " was rewritten or cut off.",
)

Send = Callable[[Any], Awaitable[None]]
Entry = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """Where checkpoints go: `to` names it without secrets, `pause` is the least time between."""

    to: str
    send: Send
    pause: timedelta = timedelta()


@dataclass
class PublishCounts:
    published: int = 0
    failed: int = 0


def ways(ws: Workspace) -> list[Way]:
    """Every configured way."""
    audit, pause = ws.settings.audit, timedelta(minutes=ws.settings.audit.say_minutes)
    found = [Way(f"mail:{to}", mail_to(ws, to), pause) for to in audit.mail_to]
    if audit.wecom_robot:
        robot = audit.wecom_robot
        found.append(Way(f"wecom:{robot}", tell_group(ws, robot), pause))
    if audit.append_to:
        found.append(Way(f"file:{audit.append_to}", append_to(audit.append_to)))
    if audit.post_to:
        address = audit.post_to.get_secret_value()
        found.append(Way(f"http:{urlsplit(address).hostname}", post_to(address)))
    return found


async def publish(ws: Workspace, now: datetime) -> PublishCounts:
    """Bring the newest checkpoint to every way that has not taken it yet and is due."""
    checkpoint, due = claim(ws, ways(ws), now)
    if checkpoint is None or not due:
        return PublishCounts()
    errors = await asyncio.gather(*(attempt(way, checkpoint) for way in due))
    outcomes = {way.to: error for way, error in zip(due, errors, strict=True)}
    record(ws, checkpoint, outcomes, now)
    failed = sum(error is not None for error in errors)
    return PublishCounts(len(due) - failed, failed)


def claim(ws: Workspace, configured: list[Way], now: datetime) -> tuple[Any | None, list[Way]]:
    """The newest checkpoint and the ways that are due, noted as under way."""
    if not configured:
        return None, []
    with ws.db.read() as tx:
        checkpoint = newest(tx)
        if checkpoint is None or not due_ways(tx, checkpoint, configured, now):
            return None, []
    with ws.db.begin() as tx:
        checkpoint = tx.execute(at(checkpoint).with_for_update()).one()
        due = due_ways(tx, checkpoint, configured, now)
        names = {way.to for way in due}
        kept = [e for e in checkpoint.published if e["to"] not in names or e["ok"] is not None]
        begun = [entry(way.to, now, None, None) for way in due]
        change(tx, checkpoint, [*kept, *begun])
    return checkpoint, due


def due_ways(tx: Connection, checkpoint: Any, configured: list[Way], now: datetime) -> list[Way]:
    taken = {e["to"] for e in checkpoint.published if is_settled(e, now)}
    return [way for way in configured if way.to not in taken and not rests(tx, way, now)]


def is_settled(found: Entry, now: datetime) -> bool:
    """It was taken, or another process is about it."""
    under_way = found["ok"] is None and datetime.fromisoformat(found["at"]) > now - LEASE
    return bool(found["ok"]) or under_way


def rests(tx: Connection, way: Way, now: datetime) -> bool:
    """Whether the way took a checkpoint so lately that it must not be bothered again."""
    query = select(CHECKPOINTS.c.published).where(CHECKPOINTS.c.sealed_at > now - way.pause)
    return any(
        e["to"] == way.to and e["ok"] and datetime.fromisoformat(e["at"]) > now - way.pause
        for published in (tx.execute(query).scalars() if way.pause else ())
        for e in published
    )


def record(ws: Workspace, checkpoint: Any, outcomes: dict[str, str | None], now: datetime) -> None:
    """Replace what was under way by what became of it; a failure like the last is counted there."""
    with ws.db.begin() as tx:
        entries: list[Entry] = list(tx.execute(at(checkpoint).with_for_update()).one().published)
        for to, error in outcomes.items():
            ours = [e for e in entries if e["to"] == to and e["ok"] is not None]
            entries = [e for e in entries if e["to"] != to]
            if error is not None and ours and ours[-1]["error"] == error:
                tries = ours.pop()["tries"] + 1
                ours.append(entry(to, now, False, error) | {"tries": tries})
            else:
                ours.append(entry(to, now, error is None, error))
            entries += ours
        change(tx, checkpoint, entries)
    for to, error in outcomes.items():
        if error is not None:
            log.error("checkpoint.unpublished", way=to.partition(":")[0], error=error)


def entry(to: str, now: datetime, ok: bool | None, error: str | None) -> Entry:
    return {"to": to, "at": now.isoformat(), "ok": ok, "error": error, "tries": 1}


def at(checkpoint: Any) -> Any:
    same = (CHECKPOINTS.c.epoch == checkpoint.epoch) & (CHECKPOINTS.c.size == checkpoint.size)
    return select(CHECKPOINTS).where(same)


def change(tx: Connection, checkpoint: Any, published: list[Entry]) -> None:
    same = (CHECKPOINTS.c.epoch == checkpoint.epoch) & (CHECKPOINTS.c.size == checkpoint.size)
    tx.execute(update(CHECKPOINTS).where(same).values(published=published))


def not_taken(ws: Workspace) -> list[str]:
    """Configured ways whose last attempt failed."""
    with ws.db.read() as tx:
        checkpoint = newest(tx)
    last = {e["to"]: e["ok"] for e in (checkpoint.published if checkpoint else ())}
    return [way.to for way in ways(ws) if last.get(way.to) is False]


async def attempt(way: Way, checkpoint: Any) -> str | None:
    """Why the way did not take it, naming no address; None when it did."""
    try:
        await way.send(checkpoint)
    except TransportError as error:
        return error.reason
    except LoopwrightError as error:
        return error.what
    except OSError as error:
        return error.strerror or type(error).__name__
    except Exception as error:  # one way must never hold up the others
        return type(error).__name__
    return None


def title_of(checkpoint: Any) -> str:
    origin = Note.parse(checkpoint.note).text.partition("\n")[0]
    return f"检查点 / Checkpoint {origin} {checkpoint.size:,}"


def mail_to(ws: Workspace, address: str) -> Send:
    async def send(checkpoint: Any) -> None:
        transport = open_transport(ws.settings, "smtp")
        try:
            await transport.send(mail_of(ws.settings.smtp.sender, checkpoint, address))
        finally:
            await transport.close()

    return send


def mail_of(sender: str, checkpoint: Any, address: str) -> Outgoing:
    """The text part is the note and nothing else, so that it can be saved and verified."""
    domain = sender.rpartition("@")[2].strip("> ")
    key = f"checkpoint:{checkpoint.epoch}:{checkpoint.size}:{address}"
    words = "".join(f"<p>{line}</p>" for line in EXPLAINED)
    return Outgoing(
        message_id=message_id(key, checkpoint.root, domain),
        to=address,
        subject=title_of(checkpoint),
        text=checkpoint.note,
        html=f"<!doctype html><html><body>{words}<pre>{html.escape(checkpoint.note)}</pre>"
        "</body></html>",
        at=checkpoint.sealed_at,
        number=f"E{checkpoint.epoch}-{checkpoint.size}",
        unit="audit",
    )


def tell_group(ws: Workspace, robot: str) -> Send:
    async def send(checkpoint: Any) -> None:
        from notifications.wecom_robot import WecomRobot

        wecom = ws.settings.wecom
        keys = {robot_key(name): key.get_secret_value() for name, key in wecom.robots.items()}
        if robot_key(robot) not in keys:
            raise TransportError("no key is set for the robot")
        speaker = WecomRobot(wecom.base_url, keys[robot_key(robot)], timeout=wecom.timeout)
        try:
            await speaker.send_text(f"{title_of(checkpoint)}\n{EXPLAINED[0]}\n\n{checkpoint.note}")
        finally:
            await speaker.close()

    return send


def append_to(path: Path) -> Send:
    async def send(checkpoint: Any) -> None:
        append_note(path, checkpoint.note)

    return send


def append_note(path: Path, note: str) -> None:
    """Add a note to the file unless it is the last there already; whole, and on the disk.

    A torn end, left by a machine that died while writing, is closed off and passed over by readers.
    """
    text = note.encode()
    with path.open("ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - len(text)))
        tail = file.read()
        if tail == text:
            return
        torn = b"" if not end or tail.endswith(b"\n") else b"\n"
        separator = SEPARATOR.encode() if end else b""
        file.write(torn + separator + text)
        file.flush()
        os.fsync(file.fileno())


def post_to(address: str) -> Send:
    async def send(checkpoint: Any) -> None:
        import logging

        import httpx

        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)  # below it they log whole addresses
        async with httpx.AsyncClient(timeout=POST_SECONDS, trust_env=False) as client:
            try:
                answer = await client.post(
                    address,
                    content=checkpoint.note.encode(),
                    headers={"Content-Type": "text/plain; charset=utf-8"},
                )
                status = answer.status_code
            except httpx.HTTPError as error:
                status, reason = 0, type(error).__name__
        # Out here, where httpx's exception, which knows the address, is no longer the context.
        if not 200 <= status < 300:
            raise TransportError(f"HTTP {status}" if status else f"no answer: {reason}")

    return send
