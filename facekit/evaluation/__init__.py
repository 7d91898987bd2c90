"""Evaluation: questions put to a model, answers read, scores beside baselines; names load when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ACTION_UNITS": "tasks",
    "AGE": "tasks",
    "ALL_TASKS": "tasks",
    "ATTRIBUTES": "tasks",
    "ATTRIBUTE_QUESTIONS": "tasks",
    "Disparity": "results",
    "EXPRESSION": "tasks",
    "EndpointModel": "other_models",
    "EvaluationResult": "results",
    "FaceKitModel": "answering",
    "GroupComparison": "results",
    "HuggingFaceModel": "other_models",
    "MANIPULATION": "tasks",
    "ModelUnderTest": "questions",
    "Question": "questions",
    "RecordedModel": "other_models",
    "Statistics": "evaluator",
    "Task": "tasks",
    "TaskResult": "results",
    "evaluate": "evaluator",
    "evaluate_model": "evaluator",
    "group_table": "tables",
    "load_tasks": "tasks",
    "metric_table": "tables",
    "open_model": "other_models",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
