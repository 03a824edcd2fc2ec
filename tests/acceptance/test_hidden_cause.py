"""A cause that no topic names, hidden in seven of four hundred complaints, found by typing commands
as operations do: one candidate, the right seven, and never a second one."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import Home, small_documents, write_settings
from tests.hidden_cause import HIDDEN, Item, four_hundred, hidden

pytestmark = pytest.mark.acceptance

SOURCE = """\
  - name: {name}
    title: {{zh: 验收用的来源, en: Source for acceptance tests}}
    channel: {channel}
    format: {{kind: jsonl}}
    map:
      id: id
      text: [text]
      received_at: {{field: at}}
      customer: {{number: customer}}
      unit: unit
"""
CHANNELS = {"hotline": "hotline", "book": "branch", "reviews": "app_store"}
SOURCES = "sources:\n" + "".join(SOURCE.format(name=n, channel=c) for n, c in CHANNELS.items())
ZONE = timezone(timedelta(hours=8))
TODAY = datetime.now(ZONE).replace(hour=0, minute=0, second=0, microsecond=0)
OPS = ("--as", "cx.ops1")


@pytest.fixture(params=["sqlite", "postgres"])
def bank(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    models: Path,
    new_database: Callable[..., str],
) -> Home:
    """The example bank, to which the four hundred have come in."""
    env = {"LOOPWRIGHT_MODELS": str(models)}
    if request.param == "postgres":
        env["LOOPWRIGHT_DATABASE__URL"] = new_database()
    write_settings(tmp_path)
    home = Home(tmp_path, env)
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "documents", SOURCES))
    deliver(home, four_hundred(TODAY), "first")
    return home


def deliver(home: Home, items: dict[str, list[Item]], name: str) -> None:
    for source, said in items.items():
        path = home.folder / f"{source}-{name}.jsonl"
        path.write_text("".join(json.dumps(i, ensure_ascii=False) + "\n" for i in said), "utf-8")
        home.do("ingest", path, "--source", source)
    home.flow("triage_feedback")


def review(home: Home, days: int = 0) -> dict[str, int]:
    """The review of today, or of so many days later."""
    now = datetime.now(ZONE) + timedelta(days=days)
    return home.flow("review_causes", "--now", now.isoformat())


def query(home: Home, statement: str) -> list[Any]:
    with home.database() as db, db.read() as tx:
        return list(tx.exec_driver_sql(statement).all())


def found(home: Home) -> list[tuple[str, str]]:
    """Loops that reviews opened, and what by."""
    rows = query(home, "SELECT id, rule FROM loop WHERE kind = 'big' ORDER BY id")
    return [(loop, rule) for loop, rule in rows if rule in ("similarity", "recurrence")]


def linked(home: Home, big: str) -> list[str]:
    rows = query(home, f"SELECT small_id FROM loop_link WHERE big_id = '{big}' ORDER BY small_id")
    return [small for (small,) in rows]


def keys_of(home: Home, loops: list[str]) -> set[str]:
    """The items behind small loops."""
    rows = query(
        home,
        "SELECT l.loop_id, r.key FROM loop_issue l JOIN issue i ON i.id = l.issue_id"
        " JOIN raw_item r ON r.id = i.feedback_id",
    )
    return {key.removeprefix("=") for loop, key in rows if loop in loops}


def test_seven_of_four_hundred(bank: Home) -> None:
    items = four_hundred(TODAY)
    assert sum(map(len, items.values())) == 400
    assert len(query(bank, "SELECT 1 FROM loop WHERE kind = 'small'")) > 250
    assert review(bank)["candidates"] == 1
    ((big, rule),) = found(bank)
    assert rule == "similarity"
    seven = linked(bank, big)
    assert keys_of(bank, seven) == hidden(items)
    check_words(bank, big)
    check_places(bank, seven)

    deliver(bank, items, "again")
    anew = {name: [item | {"id": f"again-{item['id']}"} for item in said][-60:]
            for name, said in items.items()}  # fmt: skip
    for days in (0, 2):
        assert review(bank, days)["candidates"] == 0
    assert found(bank) == [(big, rule)]
    assert keys_of(bank, linked(bank, big)) == hidden(items)

    take_out(bank, big, seven)
    deliver(bank, anew, "under new ids")
    assert review(bank, 1)["candidates"] == 0
    assert found(bank) == [(big, rule)]
    assert seven[0] not in linked(bank, big)

    bank.do("loop", "close", big, "--outcome", "abandoned", "--reason", "已换芯片 / mended", *OPS)
    assert review(bank, 1)["candidates"] == 0
    assert found(bank) == [(big, rule)]
    assert bank.type("audit", "replay").code == 0


def check_words(home: Home, big: str) -> None:
    """Why says what the seven have in common, and the numbers."""
    why = home.ask("loop", "explain", big)
    counted = why["recurrence"]
    assert {"联名卡", "芯片"} <= {word[-3:] for word in counted["words"]}
    assert (counted["customers"], counted["past"]) == (7, 0)
    assert counted["p"] < counted["threshold"] < 0.01 / 91
    assert len(counted["loops"]) == 7
    assert len(counted["topics"]) >= 4
    assert "联名卡" in why["reason"]
    assert "7 位客户" in why["reason"]
    told = home.do("loop", "explain", big)
    assert "用词相近" in told
    assert "芯片" in told


def check_places(home: Home, loops: list[str]) -> None:
    """Three channels and two branches."""
    rows = query(
        home,
        "SELECT l.loop_id, f.channel, f.unit FROM loop_issue l JOIN issue i ON i.id = l.issue_id"
        " JOIN feedback f ON f.id = i.feedback_id",
    )
    mine = [(channel, unit) for loop, channel, unit in rows if loop in loops]
    assert {channel for channel, _ in mine} == set(CHANNELS.values())
    assert {unit[:3] for _, unit in mine if unit} == {unit[:3] for _, unit, _ in HIDDEN if unit}


def take_out(home: Home, big: str, seven: list[str]) -> None:
    home.do("loop", "unlink", seven[0], "--from", big, *OPS)
    assert review(home)["linked"] == 0
    assert seven[0] not in linked(home, big)
