"""What a stranger types: set up, take in the example bank's feedback, work on what comes of it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import BANK, SECRET, Home, write_settings

pytestmark = pytest.mark.acceptance

DATA = sorted(path for path in (BANK / "data").glob("*") if path.is_file() and path.suffix != ".md")


def test_init_makes_an_installation_that_passes_its_own_checks(tmp_path: Path) -> None:
    home = Home(tmp_path)
    done = home.ask("init", "bank", "--no-template")
    assert done["publication"] == 1
    bank = Home(tmp_path / "bank")
    for name in ("loopwright.toml", "organisation/organisation.yaml", ".loopwright/identity.key"):
        assert (bank.folder / name).is_file(), name
    assert (bank.folder / ".loopwright/identity.key").stat().st_mode & 0o077 == 0
    assert not (bank.folder / "organisation/data").exists()

    assert bank.ask("org", "lint")["items"] == []
    assert bank.ask("db", "check")["revision"]
    checks = {i["check"]: i for i in json.loads(bank.type("doctor", "--json").out)["items"]}
    assert {name for name, i in checks.items() if not i["ok"]} <= {"prefect"}
    assert bank.type("doctor").code == (0 if checks["prefect"]["ok"] else 3)

    before = bank.counts()
    again = home.type("init", "bank", "--no-template")
    assert again.code == 2
    assert "loopwright.toml" in again.err
    assert "→" in again.err
    assert bank.counts() == before


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def bank(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models: Path
) -> tuple[Home, dict[str, Any]]:
    """The example bank after one round of its own feedback, and what each file gave."""
    if not DATA:
        pytest.skip("examples/bank/data is not there yet")
    folder = tmp_path_factory.mktemp(f"bank-{request.param}")
    env = {"LOOPWRIGHT_MODELS": str(models), "LOOPWRIGHT_IDENTITY__SECRET": SECRET}
    if request.param == "postgres":
        new_database: Callable[[], str] = request.getfixturevalue("new_database")
        env["LOOPWRIGHT_DATABASE__URL"] = new_database()
    write_settings(folder)
    home = Home(folder, env)
    home.do("db", "upgrade")
    home.publish(BANK)
    taken = {path.stem: home.ask("ingest", path, "--source", path.stem) for path in DATA}
    taken["triage"] = home.flow("triage_feedback")
    taken["deliver"] = home.flow("deliver_messages")
    return home, taken


Bank = tuple[Home, dict[str, Any]]
# The made-up phones, mails, card and identity numbers of the example data.
PRIVATE = re.compile(r"1990000\d{4}|customer\d+@|622200\d{6,}|11010519491231")


def test_every_file_is_accounted_for(bank: Bank) -> None:
    _, taken = bank
    for path in DATA:
        counts = taken[path.stem]
        parts = counts["stored"] + counts["duplicates"] + counts["quarantined"]
        assert counts["read"] == parts > 0, path.name
        assert counts["waiting"] == 0
        assert counts["quarantined"] <= 5, path.name
    assert taken["triage"]["feedback"] >= 400
    assert taken["triage"]["opened"] > 100
    assert taken["triage"]["big"] >= 4
    assert taken["deliver"]["sent"] > 100
    assert taken["deliver"]["retried"] == taken["deliver"]["quarantined"] == 0


def test_the_second_time_nothing_is_new(bank: Bank) -> None:
    """The same files once more, now as deliveries dropped into the sources' folders."""
    home, taken = bank
    before = home.counts()
    for path in DATA:
        place = home.folder / ".loopwright/inbox" / path.stem
        place.mkdir(parents=True)
        shutil.copy(path, place)
    counts = home.flow("ingest_feedback")
    assert counts["stored"] == counts["quarantined"] == 0
    assert counts["read"] == counts["duplicates"] == sum(taken[p.stem]["read"] for p in DATA)
    assert home.flow("triage_feedback")["feedback"] == 0
    assert home.flow("deliver_messages") == {
        "flow": "deliver_messages",
        "sent": 0,
        "retried": 0,
        "quarantined": 0,
    }
    after = home.counts()
    assert {name: n for name, n in after.items() if n != before[name]}.keys() <= {
        "intake",
        "history_event",
    }


def test_a_loop_tells_its_story_and_its_reason(bank: Bank) -> None:
    home, _ = bank
    loops = home.ask("loop", "list", "--limit", "1000")["items"]
    assert {loop["kind"] for loop in loops} == {"small", "big"}
    big = next(loop for loop in loops if loop["kind"] == "big")
    small = next(loop for loop in loops if loop["kind"] == "small" and loop["lead"])

    story = home.ask("loop", "show", small["id"][-6:])
    assert story["loop"]["id"] == small["id"]
    assert story["issues"]
    assert story["tickets"][0]["unit"] == small["lead"]
    assert [m["state"] for m in story["messages"]] == ["sent"] * len(story["messages"])
    assert story["events"][0]["kind"] == "loop.opened"
    assert home.ask("loop", "show", big["id"])["small"]
    assert big["state"] == "candidate"
    assert home.ask("loop", "show", big["id"])["tickets"] == []

    some = [loop["id"] for loop in loops if loop["kind"] == "small" and loop["lead"]][:5]
    reasons = [home.ask("loop", "explain", loop, "--lang", "en") for loop in some]
    for why in reasons:
        assert why["rule"]
        assert why["version"]
        assert why["publication"] == 1
        assert len(why["documents"]) == 64
        assert 0 < why["confidence"] <= 1
        assert why["evidence"]
        assert all(one["about"] and one["by"] for one in why["evidence"])
        assert why["clauses"]
        assert all(c["holds"] is True for c in why["clauses"])
        assert [r["rule"] for r in why["rules"] if r["matched"]] == [why["rule"]]
    # A rating alone is evidence without words, so not every one need have them.
    assert any(one["words"] for why in reasons for one in why["evidence"])
    rules = [rule for why in reasons for rule in why["rules"]]
    failed = [c for rule in rules if not rule["matched"] for c in rule["clauses"]]
    assert any(c["holds"] is False and c["values"] for c in failed)

    why = reasons[0]
    chinese = home.ask("loop", "explain", small["id"], "--lang", "zh")
    assert chinese["title"] != why["title"]
    for language, word in (("zh", "规则"), ("en", "rule")):
        told = home.do("loop", "explain", small["id"], "--lang", language)
        assert word in told
        assert why["rule"] in told
        assert small["id"] in told


def test_a_model_opinion_shows_its_name(bank: Bank) -> None:
    home, _ = bank
    with home.database() as db, db.read() as tx:
        query = "SELECT count(*) FROM issue WHERE evidence LIKE '%\"model:%'"
        assert tx.exec_driver_sql(query.replace("%", "%%") if not db.is_sqlite else query).scalar()


def test_no_customer_data_leaves_in_a_message(bank: Bank) -> None:
    home, _ = bank
    written = list((home.folder / ".loopwright/outbox").rglob("*.txt"))
    assert written
    for path in written:
        words = path.read_text("utf-8")
        assert not PRIVATE.search(words), path.name


def test_a_department_answers_its_tickets(bank: Bank) -> None:
    home, _ = bank
    tickets = home.ask("ticket", "list", "--state", "assigned", "--limit", "1000")["items"]
    units = {u["code"]: u for u in documents()["units"]}
    people = {u: p["id"] for p in documents()["people"] for u in [p["unit"]]}
    mine = [t for t in tickets if t["unit"] in people and "head" in units[t["unit"]]][:3]
    resolved, rejected, _ = mine

    def ask(*arguments: str) -> Any:
        return home.ask("ticket", *arguments)

    person = people[resolved["unit"]]
    assert ask("accept", resolved["id"], "--as", person)["loop"] == resolved["loop_id"]
    done = ("--cause", causes()[0], "--done", "已为客户补发 / sent again", "--as", person)
    ask("resolve", resolved["id"], *done)
    shown = home.ask("loop", "show", resolved["loop_id"])
    assert shown["loop"]["state"] == "resolved"
    assert [t["state"] for t in shown["tickets"]] == ["resolved"]
    assert {e["actor_id"] for e in shown["events"]} >= {person}
    twice = home.type("ticket", "resolve", resolved["id"], *done)
    assert twice.code == 1
    assert "→" in twice.err

    other = next(code for code in ("OP", "LN", "DB") if code != rejected["unit"])
    ask(
        "reject",
        rejected["id"],
        "--reason",
        "不归我们管 / not ours",
        "--suggest",
        other,
        "--as",
        people[rejected["unit"]],
    )
    moved = home.ask("loop", "show", rejected["loop_id"])["tickets"]
    assert {t["unit"]: t["state"] for t in moved} == {
        rejected["unit"]: "rejected",
        other: "assigned",
    }
    assert home.flow("deliver_messages")["sent"] >= 1
    clean(home)


def test_a_person_decides_what_waits(bank: Bank) -> None:
    home, _ = bank
    waiting = home.ask("triage", "list", "--limit", "1000")["items"]
    issue = next(i for i in waiting if i["what"] == "issue")
    person = documents()["people"][0]["id"]
    decide = ("triage", "decide", issue["id"], "--as", person)
    fate = home.ask(*decide, "--kind", "complaint", "--topic", "app-crash")["fate"]
    assert fate == "looped"
    left = home.ask("triage", "list", "--limit", "1000")["items"]
    assert issue["id"] not in [i["id"] for i in left]
    assert home.type(*decide, "--kind", "noise").code in (1, 2)
    proposals = [i for i in left if i["what"] == "proposal"]
    for proposal in proposals[:1]:
        home.ask("triage", "decide", proposal["id"], "--accept", "--as", person)
    clean(home)


def test_the_outbox_says_what_was_sent(bank: Bank) -> None:
    home, _ = bank
    items = home.ask("notify", "outbox", "--state", "sent", "--limit", "10000")["items"]
    assert items
    assert all(i["attempts"] == 1 and i["sent_at"] for i in items)
    assert {i["template"] for i in items} >= {"ticket_assigned", "big_loop_candidate"}


def clean(home: Home) -> None:
    assert home.ask("audit", "verify")["ok"] is True
    assert home.ask("audit", "replay")["differences"] == 0


def documents() -> dict[str, Any]:
    import yaml

    loaded: dict[str, Any] = yaml.safe_load((BANK / "organisation.yaml").read_text("utf-8"))
    return loaded


def causes() -> list[str]:
    from policy.documents import load_set
    from tasks.documents.publish import documents_only, read_folders

    found, mistakes = load_set(documents_only(read_folders([BANK])))
    assert found is not None, mistakes
    return [entry.code for entry in found.taxonomy.codes.causes]
