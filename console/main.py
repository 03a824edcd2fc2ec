"""The command line: `loopwright NOUN VERB`. Exit codes: 0 ok, 1 finding, 2 usage, 3 environment."""

import sys

import typer

from console.commands import (
    approval,
    audit,
    bench,
    calendar,
    clock,
    db,
    demo,
    doctor,
    finding,
    ingest,
    init,
    loop,
    measure,
    model,
    notify,
    org,
    person,
    policy,
    quarantine,
    red,
    run,
    source,
    template,
    ticket,
    triage,
    up,
)
from loopwright.errors import DocumentError, LoopwrightError

app = typer.Typer(
    name="loopwright",
    help="从客户之声到整改闭环 / Close the loop between what customers say and what changes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for single in (init, doctor, up, demo, ingest, run, bench):
    app.command(single.NAME)(single.command)
for noun in (
    db,
    org,
    quarantine,
    loop,
    ticket,
    red,
    triage,
    approval,
    person,
    clock,
    calendar,
    policy,
    template,
    notify,
    model,
    source,
    measure,
    finding,
    audit,
):
    app.add_typer(noun.app, name=noun.NAME, help=noun.__doc__)


def main() -> None:
    """Run the command line; turn our errors into words and exit codes."""
    try:
        app()
    except DocumentError as error:
        sys.stderr.write("\n".join([f"✗ {error}", *(f"  {m}" for m in error.mistakes)]) + "\n")
        sys.exit(error.exit_code)
    except LoopwrightError as error:
        sys.stderr.write(f"✗ {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
