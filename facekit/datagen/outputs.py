"""Output files of a run: records with conversations, answers with their provenance, and failures.

``records.jsonl`` is for training; ``answers.jsonl`` has model, prompt version, time, tokens, cost and rating of every
answer in it; ``failures.jsonl`` has a reason for everything that is not in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from facekit.data.atomic import open_atomically, write_text_atomically
from facekit.data.confinement import OutsideFolders
from facekit.data.records import FaceRecord, Turn, format_record
from facekit.datagen.questions import stored_question
from facekit.datagen.recipe import Recipe
from facekit.datagen.selection import KEPT, OPEN, Decision, JudgedRecord
from facekit.errors import ConfigurationError

RECORDS_NAME, ANSWERS_NAME, FAILURES_NAME, SUMMARY_NAME = (
    "records.jsonl", "answers.jsonl", "failures.jsonl", "generation.json",
)  # fmt: skip


@dataclass
class Written:
    """Counts over the output of a run.

    Args:
        records: Records with at least one answer.
        kept: Answers kept.
        dropped: Answers dropped.
        failed: Calls without an answer.
        pending: Calls that are still to be made.
        reasons: Number of answers and calls that are not kept, by kind of reason.
    """

    records: int = 0
    kept: int = 0
    dropped: int = 0
    failed: int = 0
    pending: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def write_outputs(
    judged: Iterable[JudgedRecord], folder: Path, source: Path, recipe: Recipe,
    observe: Callable[[JudgedRecord], None],
) -> Written:  # fmt: skip
    """Write the three files; an interruption leaves earlier ones as they were.

    Args:
        judged: The records with what became of them.
        folder: The output folder.
        source: The records file that was read.
        recipe: The recipe.
        observe: Also shown every record, for the report.
    """
    written = Written()
    outside = OutsideFolders(folder / RECORDS_NAME)
    with (
        open_atomically(folder / RECORDS_NAME) as records,
        open_atomically(folder / ANSWERS_NAME) as answers,
        open_atomically(folder / FAILURES_NAME) as failures,
    ):
        for each in judged:
            observe(each)
            for decision in each.decisions:
                _write_decision(each.values["id"], decision, recipe, answers, failures, written)
            kept = [decision for decision in each.decisions if decision.outcome == KEPT]
            if kept and each.record is not None:
                for record in conversations(each.record, kept, recipe, source.parent, folder):
                    outside.add(record.file_names())
                    records.write(f"{format_record(record)}\n")
                    written.records += 1
    outside.write()
    return written


def _write_decision(
    identifier: str, decision: Decision, recipe: Recipe, answers: TextIO, failures: TextIO, written: Written
) -> None:
    entry = decision.entry
    if decision.outcome == OPEN:
        written.pending += 1
        return
    line: dict[str, Any] = {"id": identifier, "aspect": decision.aspect}
    if decision.outcome == KEPT:
        written.kept += 1
        line["question"] = stored_question(recipe, decision.aspect, identifier)
    else:
        written.dropped += decision.outcome == "dropped"
        written.failed += decision.outcome == "failed"
        written.reasons[decision.kind] = written.reasons.get(decision.kind, 0) + 1
        line |= {"outcome": decision.outcome, "reason": decision.reason}
    if entry is not None:
        line |= {
            "answer": entry.answer, "model": entry.model, "prompt_version": entry.version, "time": entry.time,
            "prompt_tokens": entry.prompt_tokens, "completion_tokens": entry.completion_tokens, "cost": entry.cost,
            "attempts": entry.attempts,
        }  # fmt: skip
    if decision.rating is not None:
        line["rating"] = decision.rating
    file = answers if decision.outcome == KEPT else failures
    file.write(json.dumps(line, ensure_ascii=False) + "\n")


def conversations(
    record: FaceRecord, kept: list[Decision], recipe: Recipe, source: Path, folder: Path
) -> list[FaceRecord]:
    """The records that are written for a face: one with all its answers, or one for each.

    Args:
        record: The face; conversations it had are replaced.
        kept: Its answers.
        recipe: Says which of the two.
        source: Folder that the record's paths are relative to.
        folder: Folder that the new record's paths are relative to.
    """
    origin = record.source if isinstance(record.source, dict) else {"dataset": record.source} if record.source else {}
    moved = record.model_copy(update={**_moved_paths(record, source, folder), "conversations": []})
    turns = {decision.aspect: _turns(decision, recipe, record.id) for decision in kept}
    models = sorted({decision.entry.model for decision in kept if decision.entry})
    source_of_answers = {**origin, "recipe": recipe.name, "annotator": ", ".join(models)}
    # Every aspect is asked about in a call of its own, so no answer depends on another.
    moved = moved.model_copy(update={"source": source_of_answers, "independent_questions": True})
    if recipe.conversation == "joined":
        return [moved.model_copy(update={"conversations": [turn for pair in turns.values() for turn in pair]})]
    return [
        moved.model_copy(update={"id": f"{record.id}#{aspect}", "conversations": pair})
        for aspect, pair in turns.items()
    ]


def _turns(decision: Decision, recipe: Recipe, identifier: str) -> list[Turn]:
    assert decision.entry is not None
    question = stored_question(recipe, decision.aspect, identifier)
    return [
        Turn(role="user", content=question, task=decision.aspect),
        Turn(role="assistant", content=decision.entry.answer, task=decision.aspect),
    ]


def _moved_paths(record: FaceRecord, source: Path, folder: Path) -> dict[str, Any]:
    def moved(name: str) -> str:
        path = Path(name)
        return name if path.is_absolute() else Path(os.path.relpath(source / path, folder)).as_posix()

    moves: dict[str, Any] = {}
    if record.image is not None:
        moves["image"] = moved(record.image)
    if record.images is not None:
        moves["images"] = [moved(name) for name in record.images]
    if record.video is not None:
        moves["video"] = (
            moved(record.video) if isinstance(record.video, str) else [moved(name) for name in record.video]
        )
    if isinstance(record.landmarks, str):
        moves["landmarks"] = moved(record.landmarks)
    return moves


def check_recipe(folder: Path, recipe: Recipe) -> None:
    """Raise ``ConfigurationError`` where a folder has the records of another recipe, which would be replaced."""
    path = folder / SUMMARY_NAME
    try:
        summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError):
        return
    found = summary.get("recipe", recipe.name) if isinstance(summary, dict) else recipe.name
    if found != recipe.name:
        raise ConfigurationError(
            f"{folder} has the records of the recipe '{found}', which those of '{recipe.name}' would replace; choose "
            "another folder"
        )


def write_summary(folder: Path, facts: dict[str, Any]) -> Path:
    """Write how the folder was made, for people and for the dataset card."""
    return write_text_atomically(folder / SUMMARY_NAME, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
