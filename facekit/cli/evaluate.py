"""``facekit eval``: metrics of a saved model on a records file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    model: Annotated[Path, typer.Argument(help="A folder with a saved model.")],
    records: Annotated[Path, typer.Argument(help="A records file (JSON lines) with labels.")],
    tasks: Annotated[str | None, typer.Option(help="Names, separated by commas; by default all with labels.")] = None,
    training_records: Annotated[
        Path | None, typer.Option(help="Records whose commonest labels make the baseline.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Where metrics.json and predictions.jsonl go.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures at a time.")] = 64,
) -> None:
    """Evaluate a model: every task beside a baseline, and by demographic group."""
    from rich.console import Console
    from rich.markup import escape

    from facekit.evaluation import ALL_TASKS, group_table, load_tasks, metric_table
    from facekit.evaluation import evaluate as evaluate_model
    from facekit.models.load import load
    from facekit.training.progress import RichProgress

    chosen = ALL_TASKS if tasks is None else load_tasks(name.strip() for name in tasks.split(","))
    composed, processor = load(model)
    with RichProgress() as progress:
        result = evaluate_model(
            composed,
            processor,
            records,
            chosen,
            training_records=training_records,
            output_dir=output,
            batch_size=batch_size,
            on_progress=progress.for_stage("evaluate"),
        )
    console = Console()
    console.print(metric_table(result))
    console.print(group_table(result))
    if output is not None:
        console.print(f"metrics and predictions: {escape(str(output))}")
