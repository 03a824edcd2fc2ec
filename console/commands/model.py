"""主题模型 / Topic models: train one, evaluate one."""

from pathlib import Path
from typing import Annotated

import typer

from console.terminal import AsJson, emit, say, table

NAME = "model"
app = typer.Typer(no_args_is_help=True)
Data = Annotated[Path, typer.Option("--data", help="Labelled JSONL(.gz) or CSV.")]
TextField = Annotated[str, typer.Option("--text", help="The field with the text.")]
LabelField = Annotated[str, typer.Option("--label", help="The field with the label.")]


@app.command()
def train(
    data: Data,
    text: TextField,
    label: LabelField,
    out: Annotated[Path, typer.Option("--out", help="Folder for the model and its card.")],
    as_json: AsJson = False,
) -> None:
    """Train a linear model over hashed n-grams, calibrated; writes model.bin and model.json."""
    from tasks.documents.records import read_records
    from tasks.documents.train_model import train_to

    card = train_to(out, read_records(data), text=text, label=label)
    emit(
        card, as_json, lambda: say(f"✓ {card['rows']:,} rows, {len(card['labels'])} labels → {out}")
    )


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option("--model", help="A folder written by `model train`.")],
    data: Data,
    text: TextField,
    label: LabelField,
    as_json: AsJson = False,
) -> None:
    """Accuracy, macro-F1, accuracy by coverage, calibration error, records per second."""
    from tasks.documents.records import read_records
    from tasks.documents.train_model import evaluate as evaluate_model
    from tasks.documents.train_model import load_model

    report = evaluate_model(load_model(model), read_records(data), text=text, label=label)
    emit(report, as_json, lambda: table(str(data.name), ("figure", "value"), list(report.items())))
