"""The plan of a stage as a table for a terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from facekit.training.recipes.stages import StagePlan


def plan_table(plan: StagePlan) -> Group:
    """Draw a plan: where it starts, what is trainable at which rate, and the estimated memory."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("part")
    for column in ("parameters", "trained", "peak rate"):
        table.add_column(column, justify="right")
    for part in plan.parts:
        rate = "" if part.learning_rate is None else f"{part.learning_rate:g}"
        table.add_row(part.name, f"{part.parameters:,}", f"{part.trainable:,}" if part.trainable else "–", rate)
    return Group(
        f"[bold]{escape(plan.stage.name)}[/bold]: from {escape(plan.start)} to {escape(str(plan.folder))}",
        table,
        f"estimated memory: {plan.estimate}",
    )
