"""循环 / Loops: their story and why; customers, clocks, causes; merging, moving in."""

import typer

from console.commands.loop import (
    cause,
    clocks,
    customer,
    explain,
    fairness,
    look,
    moving_in,
    relations,
)

NAME = "loop"
app = typer.Typer(no_args_is_help=True)
for part in (look, explain, customer, clocks, relations, cause, fairness, moving_in):
    app.add_typer(part.app)
