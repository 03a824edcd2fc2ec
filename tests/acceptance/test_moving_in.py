"""Moving in from an older system, measures and findings, typed as people type it."""

import csv
import json
import shutil
from typing import Any

import pytest

from tests.acceptance.home import ROOT, VOICES, Home, small_documents, write_settings

pytestmark = pytest.mark.acceptance

SAMPLE = ROOT / "examples" / "moving-in"
OPS = ("--as", "cx.ops1")
IMPORT = ("loop", "import", "open_cases.csv", "--source", "open_cases", *OPS)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The example bank with the older system's source; its file lies ready."""
    folder = tmp_path_factory.mktemp("moving-in")
    write_settings(folder)
    documents = small_documents(folder / "bank", VOICES)
    shutil.copy(SAMPLE / "open_cases.yaml", documents)
    shutil.copy(SAMPLE / "open_cases.csv", folder)
    home = Home(folder)
    home.do("db", "upgrade")
    home.publish(documents)
    return home


def answer(home: Home, *arguments: str, code: int = 0) -> Any:
    done = home.type(*arguments, "--json")
    assert done.code == code, done.said
    return json.loads(done.out)


def test_1_looking_first_stores_nothing(home: Home) -> None:
    before = home.counts()
    done = answer(home, *IMPORT, "--dry-run", code=1)
    # Of eleven: two unreadable, one of a unit nobody knows, one closed there.
    assert (done["read"], done["opened"], done["closed"]) == (11, 7, 1)
    assert [(r["line"], r["number"], r["column"]) for r in done["refused"]] == [
        (10, "OLD-0009", "受理时间"),
        (11, "OLD-0010", "承办部门"),
        (12, "OLD-0011", "状态"),
    ]
    assert home.counts() == before


def test_2_the_import_and_a_second_one(home: Home) -> None:
    done = answer(home, *IMPORT, code=1)
    # The customer of the first case complained again in the sixth; the eighth says no topic.
    assert (done["opened"], done["joined"], done["waiting"], done["closed"]) == (5, 1, 1, 1)
    before = home.counts()
    again = answer(home, *IMPORT, code=1)
    assert (again["opened"], again["unchanged"], again["changed"]) == (0, 11, [])
    # That the file was read, and all of it known.
    assert home.counts()["history_event"] == before["history_event"] + 1
    assert home.ask("audit", "replay")["differences"] == 0


def test_3_the_oldest_case_is_found_breached(home: Home) -> None:
    home.flow("watch_clocks")
    (late,) = [i for i in home.ask("loop", "status", "--source", "open_cases")["items"]
               if i["number"] == "OLD-0005"]  # fmt: skip
    story = home.ask("loop", "show", late["loop"])
    assert story["loop"]["lead"] == "LN"
    legal = next(c for c in story["clocks"] if c["kind"] == "legal")
    assert legal["started_at"].startswith("2026-09-15T00:50")
    assert legal["breached_at"] is not None
    assert "转个人贷款部" in story["events"][0]["words"]["history"]


def test_4_a_mended_line_goes_in(home: Home) -> None:
    path = home.folder / "open_cases.csv"
    mended = path.read_text("utf-8").replace("外星事业部", "数字银行部")
    path.write_text(mended.replace("十一月八日", "2026-11-08 09:00"), "utf-8")
    done = answer(home, *IMPORT, code=1)
    assert (done["opened"], done["unchanged"]) == (2, 9)
    assert [r["number"] for r in done["refused"]] == ["OLD-0011"]


def test_5_status_flows_back(home: Home) -> None:
    status = ("loop", "status", "--source", "open_cases")
    refused = home.type(*status, "--out", "status.csv")
    assert "--as PERSON" in refused.said, "nothing leaves in nobody's name"
    assert not (home.folder / "status.csv").exists()
    items = home.ask(*status, "--out", "status.csv", "--as", "cx.ops1")["items"]
    with open(home.folder / "status.csv", encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["number"] for line in lines] == [item["number"] for item in items]
    states = {item["number"]: item["state"] for item in items}
    assert states["OLD-0008"] == "waiting"
    assert items[0]["loop"] == next(i["loop"] for i in items if i["number"] == "OLD-0006")
    late = home.ask("loop", "status", "--source", "open_cases", "--since", "2099-01-01")["items"]
    assert late == []


def test_6_measures_are_defined_and_shown(home: Home) -> None:
    items = home.ask("measure", "list")["items"]
    assert len(items) >= 20
    assert items[0]["formula"]["zh"] == "其中已关闭 ÷ 期内收到的循环（小循环、不含已合并）"
    period = ("--from", "2026-09-01", "--to", "2026-11-30")
    found = home.ask("measure", "show", "closing-rate", *period, "--by", "unit")["items"]
    assert (found[0]["group"], found[0]["n"], found[0]["value"]) == (None, 7, None)
    assert sum(f["n"] for f in found[1:]) == 7
    assert "样本不足" in home.do("measure", "show", "closing-rate", *period)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("measure", "show", "closing"), "no measure 'closing'"),
        (("measure", "show", "--by", "person"), "no breakdown by 'person'"),
        (("measure", "show", "--from", "2026-13-01"), "is not a day"),
        (("measure", "show", "--from", "2026-12-01", "--to", "2026-11-01"), "before it begins"),
        (("loop", "import", "open_cases.csv", "--source", "voices", *OPS), "no cases"),
        (("loop", "status", "--source", "voices"), "no cases"),
        (("finding", "list", "--since", "soon"), "is not a day"),
    ],
)
def test_7_what_cannot_be_used_is_said(home: Home, words: tuple[str, ...], said: str) -> None:
    done = home.type(*words)
    assert done.code == 2
    assert said in done.err


def test_8_findings_are_an_exit_code(home: Home) -> None:
    assert answer(home, "finding", "list")["items"] == []
    items = home.ask("loop", "status", "--source", "open_cases")["items"]
    for loop in [i["loop"] for i in items if i["number"] in ("OLD-0002", "OLD-0003", "OLD-0004")]:
        home.do("loop", "withdraw", loop, "--reason", "客户不再追究", *OPS)
    (found,) = answer(home, "finding", "list", code=1)["items"]
    assert (found["name"], found["subject"]) == ("closed_without_contact", "cx.ops1")
    assert found["counts"] == {"closed": 3, "without_contact": 3}
    assert "cx.ops1 关闭 3 个客户问题" in home.type("finding", "list").out


def test_the_sample_is_plainly_made_up() -> None:
    with open(SAMPLE / "open_cases.csv", encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert all(line["原编号"].startswith("OLD-") for line in lines)
    assert all(line["客户号"].startswith("TEST-") for line in lines)
