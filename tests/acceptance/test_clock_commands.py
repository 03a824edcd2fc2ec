"""`loopwright clock` and `calendar` as a user types them, on files and on published documents."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.home import BANK, VOICES, Home, small_documents, write_settings

pytestmark = pytest.mark.acceptance


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Documents published, and a broken copy of them beside."""
    folder = tmp_path_factory.mktemp("clocks")
    write_settings(folder)
    home = Home(folder)
    home.do("db", "upgrade")
    home.publish(small_documents(folder / "bank", VOICES))
    broken = shutil.copytree(folder / "bank", folder / "broken")
    year = broken / "calendars" / "cn-office-2026.yaml"
    year.write_text(
        year.read_text("utf-8").replace("2026-10-10, kind: workday", "2026-10-10, kind: holiday"),
        "utf-8",
    )
    return home


@pytest.mark.parametrize(
    ("options", "due", "provisional"),
    [
        (("--business-hours", "8"), "2026-10-08T16:30:00+08:00", False),
        (("--business-days", "3"), "2026-10-10T18:00:00+08:00", False),
        (("--calendar-days", "15"), "2026-10-16T00:00:00+08:00", False),
        (("--business-days", "80"), "2027-01-27T18:00:00+08:00", True),
        (("--clock", "customer-first-answer"), "2026-10-01T16:00:00+08:00", False),
        (("--clock", "customer-red"), "2026-09-30T18:00:00+08:00", False),
        (("--business-hours", "8", "--calendar", "cn-hotline"), "2026-10-01T10:00:00+08:00", False),
    ],
)
def test_when_a_clock_is_due(
    home: Home, options: tuple[str, ...], due: str, provisional: bool
) -> None:
    answer = home.ask("clock", "due", "--start", "2026-09-30T08:00:00Z", *options)
    assert list(answer) == ["due", "provisional", "steps", "changes", "regulation", "law"]
    assert (answer["due"], answer["provisional"]) == (due, provisional)
    assert list(answer["steps"][0]) == ["day", "what", "why", "from", "to", "minutes"]


def test_a_start_without_an_offset_is_local_and_files_do_without_a_database(tmp_path: Path) -> None:
    answer = Home(tmp_path).ask(
        "clock", "due", "--start", "2026-10-09T17:00", "--business-hours", "2", "--documents", BANK
    )
    assert answer["due"] == "2026-10-10T10:00:00+08:00"
    assert answer["steps"][1]["why"] == "国庆节调休上班"


def test_in_words_of_both_languages(home: Home) -> None:
    ask = ("clock", "due", "--start", "2026-12-31T17:00", "--business-hours", "2")
    zh, en = home.do(*ask), home.do(*ask, "--lang", "en")
    assert "到期: 2027-01-04 10:00" in zh
    assert "暂定" in zh
    assert "元旦" in zh
    assert "due: 2027-01-04 10:00" in en
    assert "provisional" in en
    assert "New Year's Day" in en


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--business-hours", "0"), 2, ("length",)),
        ((), 2, ("exactly one length", "--business-days")),
        (("--business-hours", "1", "--calendar", "nowhere"), 2, ("nowhere", "cn-office")),
        (("--clock", "nothing"), 2, ("nothing", "owner-small")),
        (("--business-hours", "9e9"), 2, ("cn-office", "less than")),
        (("--calendar-days", "99999999999"), 2, ("shorter",)),
        (("--business-hours", "1", "--lang", "fr"), 2, ("zh or en",)),
        (("--business-hours", "1", "--start", "tomorrow"), 2, ("tomorrow", "2026-")),
    ],
)
def test_what_cannot_be_counted_is_refused(
    home: Home, arguments: tuple[str, ...], code: int, words: tuple[str, ...]
) -> None:
    done = home.type("clock", "due", "--start", "2026-09-30T16:00", *arguments)
    assert done.code == code, done.said
    assert all(word in done.err for word in words), done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("clock", "due", "--start", "2026-09-30T16:00", "--business-hours", "8"),
        ("calendar", "show", "cn-office"),
        ("calendar", "check"),
    ],
)
def test_without_documents_a_clear_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write_settings(tmp_path)
    done = Home(tmp_path).type(*arguments)
    assert done.code == 3
    assert "--documents" in done.err


def test_a_month_is_shown(home: Home) -> None:
    shown = home.do("calendar", "show", "cn-office", "--year", "2026", "--month", "10")
    assert "10班" in shown
    assert " 1休" in shown
    assert "国庆节调休上班" in shown
    document = home.ask("calendar", "show", "cn-office", "--year", "2026", "--month", "10")
    days = {item["day"]: item for item in document["items"]}
    assert len(days) == 31
    assert (days["2026-10-10"]["kind"], days["2026-10-10"]["by"]) == ("workday", "override")
    assert days["2026-10-01"]["shifts"] == []


def test_a_year_is_shown_and_says_that_it_is_not_published(home: Home) -> None:
    shown = home.do("calendar", "show", "cn-office", "--year", "2027", "--lang", "en")
    assert shown.count("not published") == 12


def check(home: Home, *arguments: str | Path) -> tuple[int, list[dict[str, Any]]]:
    done = home.type("calendar", "check", *arguments, "--json")
    items: list[dict[str, Any]] = json.loads(done.out)["items"]
    return done.code, items


def test_check_finds_what_is_wrong(home: Home) -> None:
    assert check(home, "--now", "2026-06-01") == (0, [])
    code, items = check(home, "--now", "2026-12-15")
    assert code == 1
    assert {item["calendar"] for item in items} == {"cn-office", "cn-counter", "cn-hotline"}
    code, (item,) = check(
        home, "cn-office", "--documents", home.folder / "broken", "--now", "2026-06-01"
    )
    assert (code, item["day"]) == (1, "2026-10-10")
    assert "放假" in item["what"]
    assert "上班" in item["what"]
