"""What the commands share: options, the workspace, who acts, and how results are printed.

Results go to standard output (one JSON document with --json), progress and errors to standard
error. Heavy modules are imported inside functions, so that `--help` stays quick.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from loopwright.errors import InputError

if TYPE_CHECKING:
    from datetime import date, datetime

    from loopwright.history.envelope import Actor
    from tasks.workspace import Workspace

Choice = TypeVar("Choice", bound=StrEnum)
LISTED = 20
"""So many names stand in one line; --json names all."""
LoopId = Annotated[str, typer.Argument(help="A loop's id, or its last four or more characters.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Person = Annotated[
    str, typer.Option("--as", metavar="PERSON", help="Who acts: a person of the organisation.")
]
Language = Annotated[str, typer.Option("--lang", help="zh or en.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most this many.")]


@contextmanager
def workspace(*, dry_run: bool = False, program: str = "cli") -> Iterator["Workspace"]:
    """The configured workspace, closed at the end; with `dry_run` nothing it writes stays.

    Before it writes anything, the history is told by which version, where that is a new one.
    """
    from loopwright.log import show
    from loopwright.now import utc_now
    from loopwright.settings import load_settings
    from tasks.start import record_before_writing
    from tasks.workspace import open_workspace

    settings = load_settings()
    show(settings.log_level)
    ws = open_workspace(settings, dry_run=dry_run)
    record_before_writing(ws, program, utc_now)
    if dry_run:
        sys.stderr.write("试运行：不保存任何更改 / dry run: nothing is kept\n")
    try:
        yield ws
    finally:
        ws.db.close()


def actor(ws: "Workspace", person: str) -> "Actor":
    """The acting person, recorded as via=cli. Raises InputError for somebody unknown or nobody."""
    from loopwright.history.envelope import Actor

    if not person:
        raise InputError("nobody is named", "say who acts: --as PERSON")
    people = ws.published.documents.organisation.person_by_id
    if person not in people:
        near = ", ".join(sorted(people)[:8])
        raise InputError(f"nobody is called {person!r}", f"use a person's id, such as {near}")
    return Actor("person", person, "cli")


def actor_or_program(ws: "Workspace", person: str) -> "Actor":
    """As `actor`; with nobody named, as when cron runs it, the program itself."""
    from loopwright.history.envelope import CLI

    return actor(ws, person) if person else CLI


def act(
    person: str,
    work: Callable[["Workspace", "Actor", "datetime"], str],
    done: str,
    *,
    dry_run: bool,
    as_json: bool,
    name: str = "loop",
) -> None:
    """Let a person do one thing now and say so: `work` returns an id, which the document holds
    under `name` and the words `done` at {}."""
    from loopwright.now import utc_now

    with workspace(dry_run=dry_run) as ws:
        result = work(ws, actor(ws, person), utc_now())
    emit({name: result}, as_json, lambda: say(f"✓ {done.format(result)}"))


def choose(kind: type[Choice], word: str, what: str) -> Choice:
    """The member that a word of the command line names. Raises InputError for another word."""
    known = {member.value.replace("_", "-"): member for member in kind}
    if word not in known:
        raise InputError(f"no {what} {word!r}", f"use one of: {', '.join(known)}")
    return known[word]


def day(text: str) -> "date":
    """A day of the command line, as YYYY-MM-DD. Raises InputError for anything else."""
    from datetime import date

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is not a day", "write it as 2026-12-31") from None


def listed(names: Sequence[str]) -> str:
    """The first names in one line, and how many there are."""
    more = f" … ({len(names)})" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def emit(document: Mapping[str, Any], as_json: bool, human: Callable[[], None]) -> None:
    """Print a result for programs or for people."""
    if as_json:
        text = json.dumps(document, ensure_ascii=False, indent=2, default=str)
        sys.stdout.write(text + "\n")
    else:
        human()


def say(text: str = "") -> None:
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(text, markup=False)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A plain table on standard output."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160).print(grid)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error while a long step runs; none in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def steps(label: str) -> Iterator[Callable[[str, Callable[[], Any]], Any]]:
    """A step that shows on standard error what is being done and how much is done; silent in a
    pipe."""
    from tasks.sweeps import call

    if not sys.stderr.isatty():
        yield call
        return
    from rich.console import Console

    with Console(stderr=True).status(label) as status:
        done = 0

        def shown(name: str, work: Callable[[], Any]) -> Any:
            nonlocal done
            status.update(f"{label}: {name} ({done:,})")
            result = work()
            done += getattr(result, "feedback", 0) or getattr(result, "read", 0)
            return result

        yield shown


def note_two_person_rule(language: str) -> None:
    """Say that the two-person rule is not enforced at a terminal."""
    words = {
        "zh": "提示：终端不校验双人复核，仅记录操作人。",
        "en": "Note: the two-person rule is enforced where people sign in, not at a terminal.",
    }
    sys.stderr.write(words.get(language, words["zh"]) + "\n")
