"""The plan of a stage as a table for a terminal."""

from __future__ import annotations

from rich import box
from rich.markup import escape
from rich.table import Table

from facekit.training.recipes.stages import StagePlan


def plan_table(plan: StagePlan) -> Table:
    """Draw what is trainable in a stage, and at which rate."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part")
    for column in ("parameters", "trained", "peak rate"):
        table.add_column(column, justify="right")
    for part in plan.parts:
        rate = "" if part.learning_rate is None else f"{part.learning_rate:g}"
        trained = f"{part.trainable:,}" if part.trainable else "–"
        table.add_row(escape(part.name), f"{part.parameters:,}", trained, rate)
    return table
