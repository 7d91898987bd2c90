"""Evaluation: questions put to a model, answers read, scores beside baselines; names load when they are first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "answering": ["FaceKitModel"],
        "evaluator": ["Statistics", "evaluate", "evaluate_model"],
        "other_models": ["EndpointModel", "HuggingFaceModel", "RecordedModel", "open_model"],
        "questions": ["ModelUnderTest", "Question"],
        "results": ["Disparity", "EvaluationResult", "GroupComparison", "TaskResult"],
        "tables": ["group_table", "metric_table"],
        "tasks": [
            "ACTION_UNITS",
            "AGE",
            "ALL_TASKS",
            "ATTRIBUTES",
            "ATTRIBUTE_QUESTIONS",
            "EXPRESSION",
            "MANIPULATION",
            "Task",
            "load_tasks",
        ],
    },
)
