"""Two installations' folders on one database: work for both, and was any of it done twice?"""

import email
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import text

from loopwright.now import utc_now
from tests.acceptance.home import ASIDES, TROUBLES, Home

ALL_DAY = {str(day): [["00:00", "24:00"]] for day in range(1, 8)}
STEPS = [
    {"id": "tell-manager", "tell": "manager", "after_hours": 0.0005},
    {"id": "tell-manager2", "tell": "manager2", "after_hours": 0.001},
    {"id": "tell-ops", "tell": "ops", "after_hours": 0.0015},
]
AGES = (timedelta(days=20), timedelta(hours=17, minutes=59, seconds=56), timedelta(minutes=1))
"""Clocks that have run out; a reminder due in four seconds; nothing due."""


def hurry(organisation: Path) -> None:
    """Let ladders be climbed within seconds, at any hour of any day."""
    path = organisation / "ladders.yaml"
    ladders = yaml.safe_load(path.read_text("utf-8"))["ladders"]
    quick = [{"id": each["id"], "title": each["title"], "steps": STEPS} for each in ladders]
    path.write_text(json.dumps({"ladders": quick}, ensure_ascii=False), "utf-8")
    path = organisation / "calendars.yaml"
    calendars = yaml.safe_load(path.read_text("utf-8"))["calendars"]
    always = [each | {"shifts": ALL_DAY, "overrides": workdays()} for each in calendars]
    path.write_text(json.dumps({"calendars": always}, ensure_ascii=False), "utf-8")


def workdays() -> list[dict[str, Any]]:
    """Today and its neighbours, should one be a public holiday."""
    days = [f"{utc_now() + timedelta(days=n):%Y-%m-%d}" for n in (-1, 0, 1)]
    return [{"day": day, "kind": "workday", "title": {"zh": "上班", "en": "Work"}} for day in days]


@dataclass
class Crowd:
    """Customers who complain again and again about the same few things, here and there at once."""

    folders: tuple[Path, Path]
    customers: int
    chance: random.Random
    dropped: int = 0

    def speak(self) -> None:
        """One item into one inbox; every tenth is delivered to both."""
        both = self.chance.random() < 0.1
        review = self.review()
        for folder in self.folders if both else (self.chance.choice(self.folders),):
            write_review(folder, f"{self.dropped}.jsonl", review)

    def speak_in_place(self, folder: Path) -> None:
        """One more item at the end of a file that is there; the folder does not change."""
        path = folder / ".loopwright/inbox/app_reviews/old.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.review(), ensure_ascii=False) + "\n")

    def review(self) -> dict[str, Any]:
        self.dropped += 1
        zh, en = self.chance.choice(ASIDES)
        return {
            "review_id": f"S-{self.dropped}",
            "title": "",
            "content": self.chance.choice(TROUBLES).format(zh, en),
            "at": (utc_now() - self.chance.choice(AGES)).isoformat(timespec="seconds"),
            "score": 1,
            "lang": "zh",
            "author": {"openid": f"o-{self.chance.randrange(self.customers)}"},
        }


def write_review(folder: Path, name: str, review: dict[str, Any]) -> Path:
    inbox = folder / ".loopwright/inbox/app_reviews"
    inbox.mkdir(parents=True, exist_ok=True)
    hidden = inbox / f".{name}"
    hidden.write_text(json.dumps(review, ensure_ascii=False) + "\n", "utf-8")
    return hidden.rename(inbox / name)


def is_done(home: Home, items: int) -> bool:
    """All items are in loops, no message waits, and no clock wants anything within a minute."""
    looped = "SELECT count(DISTINCT feedback_id) FROM issue WHERE state = 'looped'"
    waiting = "SELECT count(*) FROM message WHERE state = 'queued'"
    ticking = "SELECT count(*) FROM clock WHERE next_at <= :soon"
    soon = {"soon": utc_now() + timedelta(minutes=1)}
    with home.database() as db, db.read() as tx:
        counts = [tx.execute(text(query)).scalar_one() for query in (looped, waiting)]
        return counts == [items, 0] and tx.execute(text(ticking), soon).scalar_one() == 0


def assert_nothing_twice(home: Home, folders: Sequence[Path]) -> Counter[str]:
    """Each loop, clock event and message once; how many events of each kind of clock there were."""
    with home.database() as db, db.read() as tx:

        def rows(query: str) -> list[Any]:
            return list(tx.execute(text(query)).all())

        open_loops = Counter(
            (r.customer_id, r.topic)
            for r in rows("SELECT customer_id, topic FROM loop WHERE kind = 'small'")
        )
        alarms = Counter(
            (r.kind, data["clock"], data.get("step"))
            for r in rows("SELECT kind, data FROM history_event WHERE kind LIKE 'clock.%'")
            for data in [json.loads(r.data)]
        )
        # An issue that needs several departments is in a big loop too.
        of_kind = "SELECT issue_id, kind FROM loop_issue JOIN loop ON loop.id = loop_id"
        issues = Counter(tuple(r) for r in rows(of_kind))
        deliveries = Counter(r.message_id for r in rows("SELECT message_id FROM delivery"))
        sent = rows("SELECT key FROM message WHERE state = 'sent'")
    counted: dict[str, Counter[Any]] = {
        "small loops of a customer and topic": open_loops,
        "clock events": alarms,
        "loops of one kind of an issue": issues,
        "deliveries of a message": deliveries,
    }
    for name, each in counted.items():
        assert set(each.values()) == {1}, f"{name}: {each.most_common(3)}"
    assert len({r.key for r in sent}) == len(deliveries)
    mails = [path for folder in folders for path in folder.glob(".loopwright/outbox/*/*.eml")]
    numbers = {email.message_from_bytes(path.read_bytes())["Message-ID"] for path in mails}
    assert len(numbers) == len(mails) == len(sent)
    home.do("audit", "verify")
    home.do("audit", "replay")
    return Counter(kind for kind, *_ in alarms)


def shares(home: Home) -> Counter[str]:
    """Run -> how many events it wrote."""
    query = "SELECT run_id, count(*) AS events FROM history_event GROUP BY run_id"
    with home.database() as db, db.read() as tx:
        return Counter({r.run_id: r.events for r in tx.execute(text(query)) if r.run_id})
