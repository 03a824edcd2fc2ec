"""A command of the tests is the program's own: words and exit code as of the console script."""

import pytest

from tests.acceptance.home import Done, Home

pytestmark = pytest.mark.acceptance

COMMANDS = [
    ("--help",),
    ("org", "lint"),
    ("loop", "list"),
    ("ticket", "accept", "XXXX", "--as", "nobody"),
    ("no-such-noun",),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda one: one[0])
def test_typed_and_run_are_the_same(home: Home, arguments: tuple[str, ...]) -> None:
    process = home.start(*arguments)
    out, err = process.communicate(timeout=60)
    assert home.type(*arguments) == Done(process.returncode, out, err)
