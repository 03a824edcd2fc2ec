"""测速 / Benchmarks: the bare floor against the whole way, in one run."""

from typing import Annotated

import typer

from console.terminal import AsJson, emit, say

NAME = "bench"


def command(
    records: Annotated[str, typer.Option(help="Sizes to run.")] = "20000,200000",
    databases: Annotated[str, typer.Option(help="sqlite, postgres or both.")] = "sqlite,postgres",
    as_json: AsJson = False,
) -> None:
    """测速 / Records a second and each ratio, and where the time goes."""
    from console.benchmark import run_all

    result = run_all([int(n) for n in records.split(",")], databases.split(","), say)
    emit(result, as_json, lambda: None)
