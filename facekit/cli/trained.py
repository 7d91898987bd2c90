"""What ``facekit train`` prints of a finished run, for people and for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from facekit.cli.output import say
from facekit.counted import counted

if TYPE_CHECKING:
    from facekit.training.loop.trainer import TrainingResult


def training_facts(result: TrainingResult) -> dict[str, Any]:
    """A run as JSON has it: where things are, what it took, the last loss, and how much was left out."""
    points = result.history.points
    return {
        "model": result.model_folder,
        "history": result.history_path,
        "loss_plot": result.plot_path,
        "steps": result.steps,
        "resumed_from": result.resumed_from,
        "loss": points[-1].loss if points else None,
        "seconds": result.seconds,
        "samples_per_second": result.samples_per_second,
        "records_left_out": len(result.skipped_records),
        "questions_left_out": _questions_left_out(result),
    }


def tell_left_out(result: TrainingResult) -> None:
    """Say how many records and questions were left out, and where they are listed."""
    records, questions = len(result.skipped_records), _questions_left_out(result)
    if records or questions:
        listed = f"{result.history_path.parent}: skipped.jsonl, shortened.jsonl"
        say(f"left out {counted(records, 'record')} and {counted(questions, 'question')} of others, listed in {listed}")


def _questions_left_out(result: TrainingResult) -> int:
    return sum(len(each.left_out) for each in result.shortened_records)
