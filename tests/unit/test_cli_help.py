"""Does the command line answer at once, without the heavy libraries?"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("prefect", "sklearn", "scipy", "numpy", "sqlalchemy", "httpx", "jinja2", "openpyxl", "cel")


def output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def test_help_answers_at_once() -> None:
    started = time.monotonic()
    shown = output(str(Path(sys.executable).with_name("loopwright")), "--help")
    seconds = time.monotonic() - started
    sys.stdout.write(f"loopwright --help: {seconds:.2f} s\n")
    assert "loop" in shown
    assert seconds < 3


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    code = "import json, sys; import console.main; print(json.dumps(sorted(sys.modules)))"
    loaded = {name.split(".")[0] for name in json.loads(output(sys.executable, "-c", code))}
    assert "typer" in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_noun_has_a_line_in_both_languages(language: str) -> None:
    from console.main import app

    lines = [group.help or "" for group in app.registered_groups]
    lines += [command.callback.__doc__ or "" for command in app.registered_commands]
    assert lines
    for line in lines:
        chinese = any("\u4e00" <= letter <= "\u9fff" for letter in line)
        latin = any("a" <= letter <= "z" for letter in line)
        assert chinese if language == "zh" else latin, line
