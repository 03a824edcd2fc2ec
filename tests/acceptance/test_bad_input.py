"""Whatever is wrong with what was given: a clear message, its exit code, nothing half done."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from loopwright.migrate import newest
from tests.acceptance.home import BANK, SECRET, VOICES, Home, small_documents, write_settings

pytestmark = pytest.mark.acceptance

OK, FINDING, USAGE, ENVIRONMENT = 0, 1, 2, 3

REGISTER = """\
  - name: register
    title: {zh: 登记表, en: Register}
    channel: branch
    format: {kind: delimited, encoding: utf-8}
    map:
      id: 编号
      text: [内容]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A published installation that no test of this module may change."""
    folder = tmp_path_factory.mktemp("bad-input")
    write_settings(folder)
    home = Home(folder)
    home.do("db", "upgrade")
    home.publish(small_documents(folder / "bank", VOICES + REGISTER))
    write_inputs(folder)
    return home


def write_inputs(folder: Path) -> None:
    (folder / "folder.csv").mkdir()
    (folder / "empty.csv").touch()
    (folder / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40)
    (folder / "gibberish.csv").write_bytes(bytes(n * 7919 % 256 for n in range(9000)))
    words = "编号,内容\n" + "".join(f"R-{n},柜台排队很久，没有人管第{n}次\n" for n in range(50))
    (folder / "gb18030.csv").write_bytes(words.encode("gb18030"))
    (folder / "columns.csv").write_text(words.replace("编号,内容", "编号,意见"), "utf-8")
    (folder / "good.csv").write_text(words, "utf-8")
    (folder / "words.jsonl").write_text("no json here\n" * 40, "utf-8")


Table = list[tuple[str, tuple[str, ...], int, tuple[str, ...]]]
REFUSED: Table = [
    ("missing file", ("ingest", "nowhere.csv", "--source", "register"), USAGE, ("nowhere.csv",)),
    ("directory", ("ingest", "folder.csv", "--source", "register"), USAGE, ("folder.csv",)),
    ("empty file", ("ingest", "empty.csv", "--source", "register"), USAGE, ("empty",)),
    ("binary file", ("ingest", "picture.csv", "--source", "register"), USAGE, ("PNG",)),
    ("gibberish", ("ingest", "gibberish.csv", "--source", "register"), USAGE, ("gibberish",)),
    ("encoding", ("ingest", "gb18030.csv", "--source", "register"), USAGE, ("gb18030", "encoding")),
    ("wrong column", ("ingest", "columns.csv", "--source", "register"), USAGE, ("内容", "意见")),
    ("no JSON", ("ingest", "words.jsonl", "--source", "voices"), USAGE, ("JSON",)),
    ("unknown source", ("ingest", "good.csv", "--source", "nobody"), USAGE, ("nobody", "voices")),
    ("dry run, empty", ("ingest", "empty.csv", "--source", "register", "--dry-run"), USAGE, ("e",)),
    ("unknown flow", ("run", "fly"), USAGE, ("fly", "triage_feedback")),
    ("no time", ("run", "triage_feedback", "--no-prefect", "--now", "noon"), USAGE, ("noon",)),
    (
        "no zone",
        ("run", "triage_feedback", "--no-prefect", "--now", "2026-11-01"),
        USAGE,
        ("zone",),
    ),
    ("unknown loop", ("loop", "show", "L000000-NONE0000"), USAGE, ("L000000", "loop list")),
    ("unknown loop why", ("loop", "explain", "L000000-NONE0000"), USAGE, ("L000000",)),
    ("unknown ticket", ("ticket", "accept", "T000000-NONE0000", "--as", "PERSON"), USAGE, ("T00",)),
    ("unknown person", ("ticket", "accept", "T000000-X", "--as", "mallory"), USAGE, ("mallory",)),
    (
        "unknown issue",
        ("triage", "decide", "00000000-nobody", "--kind", "noise", "--as", "PERSON"),
        USAGE,
        ("00000000-nobody",),
    ),
    (
        "unknown department",
        ("ticket", "list", "--unit", "NOPE"),
        USAGE,
        ("NOPE",),
    ),
    ("missing documents", ("org", "lint", "nowhere"), USAGE, ("nowhere",)),
    ("unknown document kind", ("org", "schema", "poem"), USAGE, ("poem", "policy")),
    (
        "unknown replay",
        ("quarantine", "replay", "--source", "nobody", "--as", "PERSON"),
        USAGE,
        ("nobody",),
    ),
    ("unknown template", ("template", "preview", "nothing"), USAGE, ("nothing",)),
]


@pytest.mark.parametrize(
    ("command", "code", "named"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_is_wrong_is_refused(
    home: Home, command: tuple[str, ...], code: int, named: tuple[str, ...]
) -> None:
    before = home.counts()
    done = home.type(*(a.replace("PERSON", person()) for a in command))
    assert done.code == code, done.said
    for words in named:
        assert words in done.err
    assert done.err.startswith("✗ ")
    assert "→" in done.err, "it says how to mend it"
    assert home.counts() == before


def person() -> str:
    from policy.documents import load_set
    from tasks.documents.publish import documents_only, read_folders

    found, mistakes = load_set(documents_only(read_folders([BANK])))
    assert found is not None, mistakes
    return found.organisation.people[0].id


BROKEN: list[tuple[str, str, str, str, str]] = [
    (
        "unknown name in a rule",
        "policy.yaml",
        "severity >= 2 || emotion >= 3",
        "anger >= 2",
        "anger",
    ),
    ("broken CEL", "policy.yaml", "\"channel == 'regulator'\"", '"channel == "', "policy.yaml"),
    ("unknown department", "policy.yaml", "lead: unit:RK", "lead: unit:NOPE", "NOPE"),
    (
        "test of its own fails",
        "policy.yaml",
        "expect: {rule: noise",
        "expect: {rule: praise",
        "空话",
    ),
    ("owner not in the tree", "taxonomy.yaml", "owner: OP", "owner: NOPE", "NOPE"),
    ("not YAML", "organisation.yaml", "units:", "units: [", "organisation.yaml"),
    ("misspelt key", "sources.yaml", "channel: hotline", "chanel: hotline", "chanel"),
]


@pytest.mark.parametrize(
    ("file", "old", "new", "named"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN]
)
def test_broken_documents_are_never_published(
    home: Home, tmp_path: Path, file: str, old: str, new: str, named: str
) -> None:
    before = home.counts()
    folder = tmp_path / "broken"
    shutil.copytree(home.folder / "bank", folder)
    content = (folder / file).read_text("utf-8")
    assert old in content
    (folder / file).write_text(content.replace(old, new, 1), "utf-8")

    linted = home.type("org", "lint", folder)
    assert linted.code == FINDING
    assert f"{file}:" in linted.out, "file and line"
    assert named in linted.out
    assert "→" in linted.out
    published = home.type("org", "publish", folder, "--as", person())
    assert published.code == USAGE
    assert named in published.err
    assert home.counts() == before


ADDRESSES: list[tuple[str, str, tuple[str, ...]]] = [
    ("nonsense", "nonsense", ("SQLite", "PostgreSQL")),
    ("another kind", "mysql://localhost/x", ("SQLite", "PostgreSQL")),
    ("unreachable", "postgresql://someone:hush@127.0.0.1:1/x", ("127.0.0.1",)),
    ("no port", "postgresql://localhost:none/x", ("LOOPWRIGHT_DATABASE__URL",)),
    ("a folder", "sqlite:////", ("LOOPWRIGHT_DATABASE__URL",)),
    ("not a database", "sqlite:///good.csv", ("good.csv",)),
    ("no tables", "sqlite:///fresh.db", ("db upgrade",)),
]


@pytest.mark.parametrize(
    ("url", "named"), [row[1:] for row in ADDRESSES], ids=[row[0] for row in ADDRESSES]
)
def test_an_unusable_database(home: Home, url: str, named: tuple[str, ...]) -> None:
    before = home.counts()
    for command in (("loop", "list"), ("ingest", "good.csv", "--source", "register")):
        done = home.type(*command, LOOPWRIGHT_DATABASE__URL=url)
        assert done.code == ENVIRONMENT, done.said
        for words in named:
            assert words in done.err
        assert "→" in done.err
        assert "hush" not in done.said, "a password is never shown"
    assert home.counts() == before


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_database_newer_than_the_program(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    new_database: Callable[[], str] | None = (
        request.getfixturevalue("new_database") if kind == "postgres" else None
    )
    write_settings(tmp_path)
    home = Home(tmp_path, {"LOOPWRIGHT_DATABASE__URL": new_database()} if new_database else {})
    home.do("db", "upgrade")
    home.sql("UPDATE alembic_version SET version_num = '9999'")
    before = home.counts()
    for command in ("db upgrade", "db check", "loop list", "run triage_feedback --no-prefect"):
        done = home.type(*command.split())
        assert done.code == ENVIRONMENT, command
        assert "9999" in done.err
        assert "newer" in done.err
    assert home.type("doctor").code == ENVIRONMENT
    assert home.counts() == before
    home.sql(f"UPDATE alembic_version SET version_num = '{newest()}'")
    home.do("db", "check")


def test_a_policy_is_judged_before_anything_is_published(tmp_path: Path) -> None:
    write_settings(tmp_path)
    (tmp_path / "read.jsonl").write_text('{"text": "闪退", "loop": "small"}\n', "utf-8")
    command = "policy evaluate --data read.jsonl --text text --label loop --json"
    done = Home(tmp_path).type(*command.split())
    assert done.code == 0, done.said
    assert "examples/real" in done.err
    assert '"labelled": 1' in done.out


def test_nothing_published_yet(tmp_path: Path) -> None:
    write_settings(tmp_path)
    home = Home(tmp_path)
    home.do("db", "upgrade")
    before = home.counts()
    for command in (
        "ingest x.csv --source y",
        "run triage_feedback --no-prefect",
        "source list",
    ):
        done = home.type(*command.split())
        assert done.code == ENVIRONMENT, done.said
        assert "publish" in done.err
        assert "→" in done.err
    assert home.counts() == before


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    for content, named in (("colour = 'red'\n", "colour"), ("= 3\n", "loopwright.toml")):
        (tmp_path / "loopwright.toml").write_text(content, "utf-8")
        done = home.type("db", "check")
        assert done.code == USAGE
        assert named in done.err
    assert not (tmp_path / ".loopwright").exists()


def test_without_a_secret_no_customer_is_hashed(home: Home) -> None:
    done = home.type(
        "ingest", "good.csv", "--source", "register", LOOPWRIGHT_IDENTITY__SECRET_FILE="nowhere"
    )
    assert done.code == USAGE
    assert "nowhere" in done.err
    assert SECRET not in done.said


def test_the_good_file_is_good(home: Home) -> None:
    """Last: the refusals above were not for another reason."""
    counts = home.ask("ingest", "good.csv", "--source", "register")
    assert (counts["stored"], counts["quarantined"]) == (50, 0)
