"""Do all files of real sources come in whole, and only once?"""

from pathlib import Path

import pytest

from tests.acceptance.home import BANK, REAL, STREAM, Home, write_settings

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.skipif(not STREAM.is_dir(), reason=f"{STREAM.name}/ is not beside the project"),
]

FILES = sorted(p for p in STREAM.iterdir() if p.is_file()) if STREAM.is_dir() else []
GB18030 = "hotline_workorders_zh"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    folder = tmp_path_factory.mktemp("real")
    write_settings(folder)
    home = Home(folder)
    home.do("db", "upgrade")
    home.publish(BANK, REAL)
    return home


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_record_is_accounted_for_and_only_once(home: Home, path: Path) -> None:
    first = home.ask("ingest", path, "--source", path.stem)
    assert first["read"] > 0
    assert first["read"] == first["stored"] + first["duplicates"] + first["quarantined"]
    assert first["waiting"] == 0
    assert first["stored"] >= 0.9 * first["read"]
    before = home.counts()
    again = home.ask("ingest", path, "--source", path.stem)
    assert (again["read"], again["stored"], again["quarantined"]) == (first["read"], 0, 0)
    after = home.counts()
    assert {name for name, n in after.items() if n != before[name]} <= {"intake", "history_event"}


def test_gb18030_is_read_right(home: Home) -> None:
    path = next(p for p in FILES if p.stem == GB18030)
    home.ask("ingest", path, "--source", GB18030)
    with home.database() as db, db.read() as tx:
        header = tx.exec_driver_sql(
            f"SELECT header FROM intake WHERE source = '{GB18030}' LIMIT 1"
        ).scalar_one()
        words = "".join(
            tx.exec_driver_sql(f"SELECT text FROM feedback WHERE source = '{GB18030}'").scalars()
        )
    assert "留言编号" in header
    assert "\ufeff" not in header
    assert "\ufffd" not in words
    han = sum("\u4e00" <= letter <= "\u9fff" for letter in words)
    assert han > 0.6 * len("".join(words.split()))


def test_a_byte_order_mark_is_no_part_of_the_first_column(home: Home) -> None:
    marked = [p for p in FILES if p.read_bytes()[:3] == b"\xef\xbb\xbf"]
    if not marked:
        pytest.skip("no file of the stream begins with a byte order mark")
    for path in marked:
        home.ask("ingest", path, "--source", path.stem)
        with home.database() as db, db.read() as tx:
            payloads = tx.exec_driver_sql(
                f"SELECT payload FROM raw_item WHERE source = '{path.stem}' ORDER BY number LIMIT 2"
            ).scalars()
            assert all("\ufeff" not in payload for payload in payloads)
