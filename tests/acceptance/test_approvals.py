"""Asking, granting, refusing, publishing with a second person: typed as people type it."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.home import BANK, VOICES, Home, small_documents

pytestmark = pytest.mark.acceptance

SAID = [{"id": "1", "text": "转账三天了还没到账，投诉", "customer": "C1"}]
WHY = ("--reason", "核心系统周末升级 / core upgrade")


@pytest.fixture
def bank(home: Home, tmp_path: Path) -> Home:
    """The example bank, to which one customer has complained."""
    home.do("db", "upgrade")
    home.publish(small_documents(tmp_path / "documents", VOICES))
    lines = [json.dumps(item, ensure_ascii=False) for item in SAID]
    (tmp_path / "said.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    home.do("ingest", tmp_path / "said.jsonl", "--source", "voices")
    assert home.flow("triage_feedback")["opened"] == len(SAID)
    return home


def people() -> dict[str, dict[str, Any]]:
    organisation = yaml.safe_load((BANK / "organisation.yaml").read_text("utf-8"))
    return {person["id"]: person for person in organisation["people"]}


def staff_of(unit: str) -> tuple[str, str, str]:
    """A unit's head, whoever stands above, and one of its other people."""
    organisation = yaml.safe_load((BANK / "organisation.yaml").read_text("utf-8"))
    head = next(u["head"] for u in organisation["units"] if u["code"] == unit)
    other = next(p for p, row in people().items() if row["unit"] == unit and p != head)
    return head, people()[head]["manager"], other


def the_loop(home: Home) -> dict[str, Any]:
    (loop,) = home.ask("loop", "list", "--kind", "small")["items"]
    return dict(loop)


def test_compensation_from_the_request_to_the_grant(bank: Home) -> None:
    home, loop = bank, the_loop(bank)
    head, above, clerk = staff_of(loop["lead"])
    for amount in ("0", "1.234", "many"):
        wrong = home.type("loop", "compensate", loop["id"], "--yuan", amount, *WHY, "--as", clerk)
        assert (wrong.code, "→" in wrong.err) == (2, True)
    ask = ("loop", "compensate", loop["id"][-6:], "--yuan", "88.5", *WHY, "--as", clerk)
    tried = home.type(*ask, "--dry-run", "--json")
    assert (tried.code, home.ask("approval", "list")["items"]) == (0, [])
    approval = home.ask(*ask)["approval"]
    (waiting,) = home.ask("approval", "list", "--for", head)["items"]
    assert (waiting["id"], waiting["terms"]["fen"]) == (approval, 8850)
    assert home.ask("approval", "list", "--for", clerk)["items"] == []
    own = home.type("approval", "approve", approval, "--as", clerk)
    assert (own.code, "自己" in own.err, "own request" in own.err) == (1, True, True)
    assert head in own.err
    rehearsed = home.ask("approval", "approve", approval[-4:], "--as", head, "--dry-run")
    assert rehearsed == {"approval": approval}
    assert len(home.ask("approval", "list")["items"]) == 1
    home.do("approval", "approve", approval[-4:], "--as", head)
    again = home.type("approval", "refuse", approval, "--reason", "no", "--as", above)
    assert (again.code, "granted already" in again.err) == (1, True)
    assert home.ask("approval", "list")["items"] == []
    (decided,) = home.ask("approval", "list", "--all")["items"]
    assert (decided["state"], decided["decided_by"]) == ("granted", head)
    shown = home.do("approval", "show", approval, "--lang", "en")
    assert "amount ¥88.50" in shown
    assert "core upgrade" in shown
    kinds = [event["kind"] for event in home.ask("loop", "show", loop["id"])["events"]]
    assert kinds[-3:] == ["approval.requested", "approval.granted", "loop.compensated"]
    assert home.ask("audit", "replay")["differences"] == 0


def test_a_letter_waits_for_consumer_protection(bank: Home, tmp_path: Path) -> None:
    home, loop = bank, the_loop(bank)
    _, _, clerk = staff_of(loop["lead"])
    letter = tmp_path / "letter.txt"
    letter.write_text("尊敬的客户：款项已到账，请查收。", "utf-8")
    approval = home.ask("loop", "reply", loop["id"], "--file", letter, "--as", clerk)["approval"]
    waiting = {w["id"] for w in home.ask("approval", "list", "--for", "co.lead")["items"]}
    assert approval in waiting
    assert "款项已到账" in home.do("approval", "show", approval)
    home.do(
        "approval", "refuse", approval, "--reason", "补充金额 / name the sum", "--as", "co.lead"
    )
    late = home.type("approval", "approve", approval, "--as", "co.head")
    assert (late.code, "refused already" in late.err) == (1, True)
    missing = home.type("loop", "reply", loop["id"], "--file", tmp_path / "no.txt", "--as", clerk)
    assert (missing.code, "no.txt" in missing.err) == (2, True)


def no_example(folder: Path, name: str) -> Path:
    """The example bank as if it were real: signed regulations, not an example."""
    made = small_documents(folder / name, VOICES)
    organisation = made / "organisation.yaml"
    text = organisation.read_text("utf-8")
    organisation.write_text(text.replace("example: true\n", ""), "utf-8")
    for law in (made / "regulations").glob("*.yaml"):
        signed = 'signed_by: co.head\nsigned_on: "2026-08-01"\n'
        law.write_text(law.read_text("utf-8") + signed, "utf-8")
    return made


def test_publishing_takes_a_second_person(home: Home, tmp_path: Path) -> None:
    home.do("db", "upgrade")
    first = no_example(tmp_path, "first")
    done = home.ask("org", "publish", first, "--as", "cx.ops1")
    assert done["publication"] == 1
    asked = {a["id"]: a for a in home.ask("approval", "list")["items"]}
    assert set(done["approvals"]) == set(asked)
    second = no_example(tmp_path, "second")
    policy = second / "policy.yaml"
    policy.write_text(policy.read_text("utf-8").replace("bounces: 2", "bounces: 3"), "utf-8")
    held = home.type("org", "publish", second, "--as", "cx.ops1", "--json")
    approval = json.loads(held.out)["approval"]
    assert (held.code, home.counts()["publication"]) == (1, 1)
    unnamed = home.type("org", "publish", second)
    assert (unnamed.code, "→" in unnamed.err) == (2, True)
    own = home.type("approval", "approve", approval, "--as", "cx.ops1")
    assert own.code == 1
    home.do("approval", "approve", approval, "--as", "cx.head")
    assert home.ask("org", "publish", second, "--as", "cx.ops1")["publication"] == 2
    template = home.type("template", "approve", "cause_closed", "--as", "cx.ops1")
    assert (template.code, "own request" in template.err) == (1, True)
    mine = home.ask("template", "approve", "cause_closed", "--as", "cx.head")["approval"]
    assert asked[mine]["terms"]["template"] == "cause_closed"
    unknown = home.type("template", "approve", "ticket_assigned", "--as", "cx.head")
    assert (unknown.code, "cause_closed" in unknown.err) == (2, True)
    assert home.ask("audit", "replay")["differences"] == 0
    assert home.ask("audit", "verify")["ok"]


def test_an_example_publishes_at_once_and_asks_when_told_to(bank: Home, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    held = bank.type("org", "publish", folder, "--request", "--as", "cx.ops1", "--json")
    assert (held.code, bank.counts()["publication"]) == (1, 1)
    approval = json.loads(held.out)["approval"]
    bank.do("approval", "approve", approval, "--as", "cx.head")
    assert bank.ask("org", "publish", folder, "--as", "cx.ops1")["approvals"] == []
