"""Write docs/audit: a sound bundle of invented events, three broken ones, one that only an older
checkpoint gives away, and the public key. The same bytes each time but for the packing.

    python -m tools.make_audit_examples
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from loopwright.history.envelope import Event, canonical, fields
from loopwright.history.note import SigningKey
from tests.bundles import KEY, Log, Members, edited, export_range, pack, story

FOLDER = Path(__file__).parents[1] / "docs" / "audit"
STRANGER = SigningKey(KEY.name, bytes(range(7, 39)))
LOOPS = 30
HELD = 240
"""The size of the checkpoint that the auditor holds."""
LATE = "L260302-00000007"
SEALED = 60


@dataclass
class FixedLog(Log):
    """A log whose salts follow from the events, so that the examples can be made again."""

    def append(self, event: Event) -> int:
        if event.body is None:
            return super().append(event)
        salt, body = sha256(event.id.encode()).digest(), canonical(event.body)
        line = {"event": event.id, "salt": salt.hex(), "body": body}
        self.bodies[len(self.lines)] = canonical(line).encode()
        commit = sha256(salt + body.encode()).hexdigest()
        return self.append_line(canonical(fields(event, commit)).encode())


def log_of(events: Iterable[Event], key: SigningKey = KEY) -> FixedLog:
    log = FixedLog(key=key)
    for number, event in enumerate(events, 1):
        log.append(event)
        if number % SEALED == 0:
            log.seal()
    return log


def honest() -> FixedLog:
    """Three hundred events; one customer's words were erased, by an event."""
    log = log_of(story(LOOPS))
    log.erase(0)
    return log


def without_delay(event: Event) -> Event:
    """The event as somebody would like it to be: what was late becomes early."""
    if event.loop != LATE or not event.data.get("late"):
        return event
    return replace(event, data=dict(event.data) | {"late": False})


def edit(line: bytes) -> bytes:
    """The same lie in the events' file alone."""
    mark = f'"loop":"{LATE}"'.encode()
    late, early = b'"late":true', b'"late":false'
    return b"\n".join(x.replace(late, early) if mark in x else x for x in line.split(b"\n"))


def words_gone() -> FixedLog:
    """Words that somebody took away without saying so."""
    log = log_of(story(LOOPS))
    for seq in [s for s in log.bodies if json.loads(log.lines[s])["loop"] == LATE]:
        del log.bodies[seq]
        log.erased[seq] = 0
    return log


def bundles() -> Mapping[str, Members]:
    """Each example's members, by file name."""
    sound = export_range(honest(), 0, 301)
    lie = map(without_delay, story(LOOPS))
    return {
        "sound.zip": sound,
        "broken-1-edited.zip": edited(sound, "events.ndjson", edit),
        "broken-2-resigned.zip": export_range(log_of(lie, STRANGER), 0, 300),
        "broken-3-words-gone.zip": export_range(words_gone(), 0, 300),
        "rewritten.zip": export_range(log_of(map(without_delay, story(LOOPS))), 0, 300),
    }


def notes() -> Mapping[str, str]:
    """The public key as handed over, and a checkpoint that the auditor got at the time."""
    held = next(note for checkpoint, note in honest().notes if checkpoint.size == HELD)
    return {"key.txt": f"{KEY.public}\n", "held.txt": held}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, members in bundles().items():
        pack(FOLDER / name, members)
    for name, text in notes().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
