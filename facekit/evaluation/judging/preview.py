"""``preview_judging``: what judges would be asked, and before them the model whose answers they rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from facekit.data.dataset import RecordSet
from facekit.endpoints.addresses import parse_endpoint_spec
from facekit.evaluation.judging.explanations import (
    EXPLAIN,
    EXPLANATION_TOKENS,
    JudgedAnswer,
    plan_explanations,
    write_request,
)
from facekit.evaluation.judging.panel import MAX_TOKENS
from facekit.evaluation.models.other_models import check_model
from facekit.evaluation.preview import PlannedPart, Preview
from facekit.evaluation.tasks.definitions import ALL_TASKS, Task
from facekit.models.source import ModelSource


def preview_explanations(
    model: str | ModelSource, records: RecordSet | str | Path, tasks: Sequence[Task] = ALL_TASKS
) -> Preview:
    """Say what ``ask_for_explanations`` would ask, of a model that ``open_model`` would find; it is not opened."""
    check_model(model)
    name = str(model.path if isinstance(model, ModelSource) else model)
    counts: dict[str, list[str]] = {}
    for _, task, _, text in plan_explanations(RecordSet.of(records), tasks):
        counts.setdefault(task.name, []).append(f"{text} {EXPLAIN}")
    parts = (PlannedPart(task, len(texts), "", EXPLANATION_TOKENS, texts[0]) for task, texts in counts.items())
    return Preview(name, "", "", tuple(parts))


def preview_judging(answers: Sequence[JudgedAnswer], judges: Sequence[str]) -> list[Preview]:
    """Say what each judge would be asked about answers, but for what its ledger has; empty answers are not sent."""
    texts: dict[str, list[JudgedAnswer]] = {}
    for answer in answers:
        if not answer.is_empty:
            texts.setdefault(answer.task, []).append(answer)
    parts = tuple(
        PlannedPart(task, len(found), "", MAX_TOKENS, write_request(found[0]).prompt) for task, found in texts.items()
    )
    names = [f"{spec.name}:{spec.argument}" for spec in map(parse_endpoint_spec, judges)]
    return [Preview(name, "", "", parts) for name in names]
