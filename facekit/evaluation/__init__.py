"""Evaluation: questions, parsed answers, scores with baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.evaluation.benchmarks.face_human_bench import FaceHumanBenchResult, run_face_human_bench
    from facekit.evaluation.benchmarks.facebench import FaceBenchResult, run_facebench
    from facekit.evaluation.benchmarks.facexbench import FaceXBenchResult, read_facexbench, run_facexbench
    from facekit.evaluation.benchmarks.mer_unibench import MerUniBenchResult, run_mer_unibench
    from facekit.evaluation.benchmarks.suite import BENCHMARKS, BenchmarkOutcome, run_benchmark
    from facekit.evaluation.biometrics.attack_sets import ATTACK_SETS, read_attacks, trials_of_records
    from facekit.evaluation.biometrics.attacks import AttackResult, detect_attacks, score_attacks
    from facekit.evaluation.biometrics.pair_lists import PAIR_LISTS, read_pairs
    from facekit.evaluation.biometrics.trials import Trial, TrialVerdict
    from facekit.evaluation.biometrics.verification import VerificationResult, score_verification, verify_pairs
    from facekit.evaluation.evaluator import Statistics, evaluate, evaluate_model
    from facekit.evaluation.judging.explanations import ask_for_explanations, read_conversations, read_predictions
    from facekit.evaluation.judging.label_checks import check_labels
    from facekit.evaluation.judging.panel import JudgePanel, Verdict
    from facekit.evaluation.judging.ratings import JudgingResult, judge_answers
    from facekit.evaluation.metrics.comparison import PairedDifference, compare_predictions, compare_runs
    from facekit.evaluation.models.answering import FaceKitModel
    from facekit.evaluation.models.endpoint_model import EndpointModel
    from facekit.evaluation.models.other_models import (
        HuggingFaceModel,
        RecordedModel,
        is_own_model,
        open_extractor,
        open_model,
    )
    from facekit.evaluation.preview import Preview, preview_benchmark, preview_evaluation
    from facekit.evaluation.report.exports import to_csv, to_latex
    from facekit.evaluation.report.group_results import Disparity, GroupComparison, GroupScore, RateGap
    from facekit.evaluation.report.leaderboard import write_leaderboard
    from facekit.evaluation.report.page import write_report
    from facekit.evaluation.report.results import EvaluationResult, Extraction, TaskResult
    from facekit.evaluation.report.runs import Run
    from facekit.evaluation.report.sign_off import Finding, sign_off
    from facekit.evaluation.report.tables import (
        comparison_table,
        disparity_table,
        facexbench_tables,
        group_table,
        metric_table,
        sign_off_table,
    )
    from facekit.evaluation.tasks.collecting import collect_replies
    from facekit.evaluation.tasks.definitions import (
        ACTION_UNIT_QUESTIONS,
        ACTION_UNITS,
        AGE,
        ALL_TASKS,
        ATTRIBUTE_QUESTIONS,
        ATTRIBUTES,
        EXPRESSION,
        MANIPULATION,
        Task,
        load_tasks,
    )
    from facekit.evaluation.tasks.extraction import Extractor, extract_labels
    from facekit.evaluation.tasks.prompts import PromptStyle
    from facekit.evaluation.tasks.questions import ModelUnderTest, Question, Unanswered

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "benchmarks.suite": ["BENCHMARKS", "BenchmarkOutcome", "run_benchmark"],
        "biometrics.attack_sets": ["ATTACK_SETS", "read_attacks", "trials_of_records"],
        "biometrics.attacks": ["AttackResult", "detect_attacks", "score_attacks"],
        "biometrics.pair_lists": ["PAIR_LISTS", "read_pairs"],
        "biometrics.trials": ["Trial", "TrialVerdict"],
        "biometrics.verification": ["VerificationResult", "score_verification", "verify_pairs"],
        "benchmarks.face_human_bench": ["FaceHumanBenchResult", "run_face_human_bench"],
        "benchmarks.facebench": ["FaceBenchResult", "run_facebench"],
        "benchmarks.facexbench": ["FaceXBenchResult", "read_facexbench", "run_facexbench"],
        "benchmarks.mer_unibench": ["MerUniBenchResult", "run_mer_unibench"],
        "evaluator": ["Statistics", "evaluate", "evaluate_model"],
        "judging.explanations": ["ask_for_explanations", "read_conversations", "read_predictions"],
        "judging.label_checks": ["check_labels"],
        "judging.panel": ["JudgePanel", "Verdict"],
        "judging.ratings": ["JudgingResult", "judge_answers"],
        "metrics.comparison": ["PairedDifference", "compare_predictions", "compare_runs"],
        "models.answering": ["FaceKitModel"],
        "models.endpoint_model": ["EndpointModel"],
        "models.other_models": ["HuggingFaceModel", "RecordedModel", "is_own_model", "open_extractor", "open_model"],
        "preview": ["Preview", "preview_benchmark", "preview_evaluation"],
        "report.exports": ["to_csv", "to_latex"],
        "report.group_results": ["Disparity", "GroupComparison", "GroupScore", "RateGap"],
        "report.leaderboard": ["write_leaderboard"],
        "report.page": ["write_report"],
        "report.results": ["EvaluationResult", "Extraction", "TaskResult"],
        "report.runs": ["Run"],
        "report.sign_off": ["Finding", "sign_off"],
        "report.tables": [
            "comparison_table",
            "disparity_table",
            "facexbench_tables",
            "group_table",
            "metric_table",
            "sign_off_table",
        ],
        "tasks.collecting": ["collect_replies"],
        "tasks.extraction": ["Extractor", "extract_labels"],
        "tasks.definitions": [
            "ACTION_UNITS",
            "AGE",
            "ALL_TASKS",
            "ATTRIBUTES",
            "ACTION_UNIT_QUESTIONS",
            "ATTRIBUTE_QUESTIONS",
            "EXPRESSION",
            "MANIPULATION",
            "Task",
            "load_tasks",
        ],
        "tasks.prompts": ["PromptStyle"],
        "tasks.questions": ["ModelUnderTest", "Question", "Unanswered"],
    },
)
