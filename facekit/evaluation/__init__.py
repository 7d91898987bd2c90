"""Evaluation: questions, parsed answers, scores with baselines; names load when they are first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "models.answering": ["FaceKitModel"],
        "metrics.comparison": ["PairedDifference", "compare_predictions", "compare_runs"],
        "evaluator": ["Statistics", "evaluate", "evaluate_model"],
        "benchmarks.facexbench": ["FaceXBenchResult", "read_facexbench", "run_facexbench"],
        "models.endpoint_model": ["EndpointModel"],
        "models.other_models": ["HuggingFaceModel", "RecordedModel", "open_model"],
        "judging.explanations": ["ask_for_explanations", "read_conversations", "read_predictions"],
        "judging.label_checks": ["check_labels"],
        "tasks.collecting": ["collect_replies"],
        "tasks.questions": ["ModelUnderTest", "Question", "Unanswered"],
        "judging.panel": ["JudgePanel", "Verdict"],
        "judging.ratings": ["JudgingResult", "judge_answers"],
        "report.exports": ["to_csv", "to_latex"],
        "report.page": ["write_report"],
        "report.runs": ["Run"],
        "report.group_results": ["Disparity", "GroupComparison", "GroupScore", "RateGap"],
        "report.results": ["EvaluationResult", "TaskResult"],
        "report.sign_off": ["Finding", "sign_off"],
        "report.tables": [
            "comparison_table",
            "disparity_table",
            "facexbench_tables",
            "group_table",
            "metric_table",
            "sign_off_table",
        ],
        "tasks.definitions": [
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
