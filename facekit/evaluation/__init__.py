"""Evaluation: questions put to a model, answers read, scores beside baselines; names load when they are first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "answering": ["FaceKitModel"],
        "comparison": ["PairedDifference", "compare_predictions", "compare_runs"],
        "evaluator": ["Statistics", "evaluate", "evaluate_model"],
        "facexbench": ["FaceXBenchResult", "read_facexbench", "run_facexbench"],
        "option_extraction": ["extract_published", "extract_strict"],
        "other_models": ["EndpointModel", "HuggingFaceModel", "RecordedModel", "open_model"],
        "judging": ["ask_for_explanations", "read_conversations", "read_predictions"],
        "label_checks": ["check_labels"],
        "questions": ["ModelUnderTest", "Question", "collect_replies"],
        "ratings": ["JudgingResult", "judge_answers"],
        "exports": ["to_csv", "to_latex"],
        "report": ["Run", "write_report"],
        "results": ["Disparity", "EvaluationResult", "GroupComparison", "TaskResult"],
        "tables": ["comparison_table", "disparity_table", "facexbench_tables", "group_table", "metric_table"],
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
