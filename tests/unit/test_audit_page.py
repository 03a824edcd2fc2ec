"""docs/audit.md works as printed: its commands, its programs, its bundles."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from loopwright.history.note import Checkpoint, Note
from tasks.audit.sample_history import draw
from tools import make_audit_examples as examples

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text("utf-8")
HALVES = dict(zip(("zh", "en"), PAGE.split("\n## ")[1:], strict=True))
FENCED = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
BLOCKS = {
    language: [(kind, text) for kind, text in FENCED.findall(half)]
    for language, half in HALVES.items()
}
LANGUAGES = ["zh", "en"]


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In the repository's root, as the page says, with a python3 that knows no packages."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [program, *arguments],
        cwd=ROOT,
        env=os.environ | {"PATH": path, "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def verify(name: str, *more: str) -> subprocess.CompletedProcess[str]:
    key = (ROOT / "docs/audit/key.txt").read_text().strip()
    bundle = f"docs/audit/{name}"
    return run(
        sys.executable, "-I", "tools/verify_history.py", bundle, "--key", key, *more
    )  # fmt: skip


ANSWERS = [
    ("sound.zip", (), 0, "1 erased by an event"),
    ("broken-1-edited.zip", (), 1, "do not make up checkpoint 240"),
    ("broken-2-resigned.zip", (), 1, "is not signed by bank.example/loop"),
    ("broken-3-words-gone.zip", (), 1, "is neither here nor erased by an event"),
    ("rewritten.zip", (), 0, "PROVEN"),
    (
        "rewritten.zip",
        ("--since", "docs/audit/held.txt"),
        1,
        "contradicts the checkpoint of size 240 that you hold",
    ),
    ("sound.zip", ("--since", "docs/audit/held.txt"), 0, "continues the checkpoint"),
]


@pytest.mark.parametrize(("name", "options", "code", "words"), ANSWERS)
def test_each_bundle_is_answered_as_the_page_says(
    name: str, options: tuple[str, ...], code: int, words: str
) -> None:
    done = verify(name, *options)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout


def test_the_bundles_are_those_that_the_tool_makes() -> None:
    for name, members in examples.bundles().items():
        with zipfile.ZipFile(examples.FOLDER / name) as bundle:
            assert {n: bundle.read(n) for n in bundle.namelist()} == members, name
    for name, text in examples.notes().items():
        assert (examples.FOLDER / name).read_text("utf-8") == text


def lateness(members: Mapping[str, bytes]) -> list[bool]:
    events = map(json.loads, members["events.ndjson"].splitlines())
    return [e["data"]["late"] for e in events if e["loop"] == examples.LATE]


def test_the_lie_is_the_one_that_the_page_tells() -> None:
    made = examples.bundles()
    assert any(lateness(made["sound.zip"]))
    for name in ("broken-1-edited.zip", "broken-2-resigned.zip", "rewritten.zip"):
        assert not any(lateness(made[name])), name


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_commands_of_the_practice_run(language: str) -> None:
    practice = BLOCKS[language][0][1]
    codes = [run("bash", "-c", f"{first_line(practice)}\n{line}").returncode for line in
             practice.splitlines()[1:]]  # fmt: skip
    assert codes == [0, 1, 1, 1, 0, 1]


def first_line(text: str) -> str:
    return text.splitlines()[0]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_second_opinion_is_found_without_our_program(language: str) -> None:
    script = next(text for kind, text in BLOCKS[language] if kind == "bash")
    done = run("bash", "-c", script)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    assert "in the signed tree" in done.stdout
    assert done.stdout.count("as recorded") == 5


@pytest.mark.parametrize("bundle", ["broken-1-edited.zip", "broken-2-resigned.zip"])
def test_the_second_opinion_refuses_too(bundle: str) -> None:
    script = next(text for kind, text in BLOCKS["en"] if kind == "bash")
    assert run("bash", "-c", script.replace("sound.zip", bundle)).returncode != 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_printed_draw_is_ours(language: str) -> None:
    programs = [text for kind, text in BLOCKS[language] if kind == "python"]
    done = run("python3", "-I", "-c", "\n".join(programs))
    assert done.returncode == 0, done.stderr
    positions, loops = map(literal, done.stdout.splitlines())
    held = Checkpoint.parse(Note.parse(examples.notes()["held.txt"]).text)
    drawn = list(draw(held.root, "2026-Q3", held.size))
    assert positions == drawn[:10]
    events = examples.bundles()["sound.zip"]["events.ndjson"].splitlines()
    first = [json.loads(e)["loop"] for e in events if json.loads(e)["loop_seq"] == 0]
    assert len(set(loops)) == len(loops) == 25
    assert set(loops) <= set(first)


def literal(text: str) -> list[object]:
    found = json.loads(text.replace("'", '"'))
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_story_is_read_without_our_program(language: str) -> None:
    reading = next(text for _, text in BLOCKS[language] if text.startswith("unzip -p"))
    done = run("bash", "-c", reading)
    assert [line.split()[0] for line in done.stdout.splitlines()] == [str(n) for n in range(10)]


def test_both_languages_show_the_same_programs() -> None:
    zh, en = ([t for k, t in BLOCKS[one] if k != "sh"] for one in LANGUAGES)
    assert zh == en
    assert len(BLOCKS["zh"]) == len(BLOCKS["en"])
