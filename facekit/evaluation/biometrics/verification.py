"""Face verification by a multimodal model: whether two given pictures show one person.

It compares two pictures that the caller has. It does not search, rank or name, and nothing here makes that possible:
there is no gallery. The score is the log-probability of "yes" beyond that of "no".
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean

import numpy as np

from facekit.evaluation.biometrics.pair_lists import read_pairs
from facekit.evaluation.biometrics.trials import (
    ANSWER_TOKENS,
    Trial,
    TrialVerdict,
    ask_trials,
    choose_evenly,
    choose_scoring,
    weigh_subjects,
    write_result,
)
from facekit.evaluation.biometrics.verdicts import read_same_person
from facekit.evaluation.metrics.intervals import RESAMPLES, Interval
from facekit.evaluation.metrics.roc import RocCurve, accuracy_by_folds, decide_by_folds
from facekit.evaluation.report.group_results import SMALLEST_GROUP
from facekit.evaluation.tasks.questions import ModelUnderTest
from facekit.reports import ProgressListener, as_listener

__all__ = ["GroupErrors", "Rate", "VerificationResult", "score_verification", "verify_pairs"]

QUESTION = "Do these two pictures show the same person? Answer yes or no."
FALSE_ACCEPT_RATES = (0.1, 0.01, 0.001)
RESULT_NAME = "verification.json"
_LARGEST_BLOCK = 1 << 22


@dataclass(frozen=True)
class Rate:
    """A number with its 95 % interval over people.

    Args:
        value: The number, a share.
        low: Lower end; None where no replicate defines it.
        high: Upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class GroupErrors:
    """Errors about the pairs of one group, at the threshold of the whole set.

    Args:
        attribute: What the groups differ in.
        group: The group's name.
        count: Pairs that were answered.
        unanswered: Pairs that were not.
        accuracy: Share of right decisions.
        false_match_rate: Pairs of two people that are taken for one; a group with more of them is taken for each other.
        false_non_match_rate: Pairs of one person that are not; a group with more of them is shut out.
    """

    attribute: str
    group: str
    count: int
    unanswered: int
    accuracy: Rate
    false_match_rate: Rate | None
    false_non_match_rate: Rate | None


@dataclass(frozen=True)
class VerificationResult:
    """How well a model tells whether two pictures show one person. Rates are of pairs that were answered.

    Args:
        model: Its name.
        benchmark: Name of the set.
        scoring: ``likelihood`` or ``generation``.
        pairs: Pairs of the set.
        unanswered: Pairs without a readable answer (failure to answer).
        accuracy: Mean over folds at the threshold that is best on the others; without scores, of the yes and no.
            None where no pair was answered.
        accuracy_deviation: Standard deviation over folds.
        strict_accuracy: Accuracy times the share that was answered: no answer is a wrong one.
        equal_error_rate: Where false matches and false non-matches are as frequent; None without scores.
        true_accept_rates: By the false accept rate that it is at; empty without scores.
        area: Area under the ROC curve; None without scores.
        threshold: At which groups are compared: of a false accept rate of 1 %; 0 without scores.
        groups: Errors by group.
        seconds: How long the model took.
        available: Those of the set; more than ``pairs`` where a sample was asked. 0 where not known.
    """

    model: str
    benchmark: str
    scoring: str
    pairs: int
    unanswered: int
    accuracy: Rate | None = None
    accuracy_deviation: float = 0.0
    strict_accuracy: float = 0.0
    equal_error_rate: Rate | None = None
    true_accept_rates: dict[str, Rate] = field(default_factory=dict)
    area: Rate | None = None
    threshold: float = 0.0
    groups: tuple[GroupErrors, ...] = ()
    seconds: float = 0.0
    available: int = 0


def verify_pairs(
    model: ModelUnderTest,
    benchmark: str,
    root: str | Path,
    *,
    scoring: str | None = None,
    output_dir: str | Path | None = None,
    resume: bool = True,
    limit: int | None = None,
    max_new_tokens: int = ANSWER_TOKENS,
    on_progress: ProgressListener | None = None,
) -> VerificationResult:
    """Put a verification set to a model.

    Args:
        model: The model.
        benchmark: A set of ``pair_lists.PAIR_LISTS``.
        root: Its folder.
        scoring: ``likelihood`` or ``generation``; by default what the model can.
        output_dir: Where ``answers.jsonl`` and ``verification.json`` go; None writes nothing.
        resume: Go on with the answers that are there.
        limit: Ask only so many pairs, evenly spread over the list.
        max_new_tokens: Longest answer in tokens, where the model writes; models that think need thousands.
        on_progress: Called with a ``Progress`` after every answer.

    Raises:
        RecordError: The list or a picture is missing.
        ConfigurationError: The folder has another run's answers, or the model cannot be scored that way.
    """
    scoring, trials = choose_scoring(model, scoring), read_pairs(benchmark, root)
    available, trials = len(trials), choose_evenly(trials, limit)
    started = time.perf_counter()
    verdicts = ask_trials(
        model,
        trials,
        QUESTION,
        read_same_person,
        benchmark=benchmark,
        scoring=scoring,
        output_dir=output_dir,
        resume=resume,
        max_new_tokens=max_new_tokens,
        on_progress=as_listener(on_progress, "verify_pairs"),
    )
    seconds = time.perf_counter() - started
    result = score_verification(
        trials, verdicts, model=model.name, benchmark=benchmark, scoring=scoring, seconds=seconds
    )
    result = replace(result, available=available)
    write_result(asdict(result), output_dir, RESULT_NAME)
    return result


def score_verification(
    trials: Sequence[Trial],
    verdicts: Sequence[TrialVerdict],
    *,
    model: str = "",
    benchmark: str = "",
    scoring: str = "likelihood",
    seconds: float = 0.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> VerificationResult:
    """Score what a model said of pairs.

    Args:
        trials: The pairs.
        verdicts: What it said, in the same order.
        model: Its name.
        benchmark: Name of the set.
        scoring: How the verdicts were made.
        seconds: How long that took.
        resamples: Bootstrap replicates over people.
        seed: Decides them.
    """
    kept = [index for index, verdict in enumerate(verdicts) if verdict.decision is not None]
    answered, said = [trials[index] for index in kept], [verdicts[index] for index in kept]
    about = {"model": model, "benchmark": benchmark, "scoring": scoring, "seconds": seconds}
    missing = len(trials) - len(kept)
    if not kept:
        return VerificationResult(pairs=len(trials), unanswered=missing, **about)  # type: ignore[arg-type]
    truths, folds = [trial.is_positive for trial in answered], [trial.fold or 0 for trial in answered]
    weights = weigh_subjects(answered, resamples=resamples, seed=seed)
    scores = [verdict.score for verdict in said if verdict.score is not None]
    decisions = np.array([bool(verdict.decision) for verdict in said])
    curve, at_threshold, threshold = _Curve(), decisions, 0.0
    if len(scores) == len(said) and len(set(truths)) == 2:
        curve = _Curve.of(truths, scores, weights)
        decisions, threshold = decide_by_folds(truths, scores, folds), curve.threshold
        at_threshold = np.array(scores) >= threshold
    by_fold = accuracy_by_folds(truths, decisions.tolist(), folds)
    accuracy = replace(_share((decisions == np.array(truths)).astype(float), weights), value=fmean(by_fold))
    return VerificationResult(
        pairs=len(trials),
        unanswered=missing,
        accuracy=accuracy,
        accuracy_deviation=float(np.std(by_fold)),
        strict_accuracy=accuracy.value * len(kept) / len(trials),
        equal_error_rate=curve.equal_error_rate,
        true_accept_rates=curve.true_accept_rates,
        area=curve.area,
        threshold=threshold,
        groups=_by_group(trials, verdicts, answered, at_threshold, weights),
        **about,  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class _Curve:
    equal_error_rate: Rate | None = None
    true_accept_rates: dict[str, Rate] = field(default_factory=dict)
    area: Rate | None = None
    threshold: float = 0.0

    @classmethod
    def of(cls, truths: Sequence[bool], scores: Sequence[float], weights: np.ndarray) -> _Curve:
        """What a ROC curve says, with intervals over weightings."""
        point = RocCurve.of(truths, scores)
        blocks = np.array_split(weights, max(1, weights.size // _LARGEST_BLOCK))
        drawn = [_measures(RocCurve.of(truths, scores, block)) for block in blocks if len(block)]
        replicates = [np.concatenate(parts) for parts in zip(*drawn, strict=True)] or [np.array([])] * 5
        error, area, *accepted = map(_rate, _measures(point), replicates)
        rates = {f"{rate:g}": found for rate, found in zip(FALSE_ACCEPT_RATES, accepted, strict=True)}
        return cls(error, rates, area, point.threshold_at(FALSE_ACCEPT_RATES[1]))


def _measures(curve: RocCurve) -> list[np.ndarray]:
    """Equal error rate, area, and true accept rates at ``FALSE_ACCEPT_RATES``."""
    return [curve.equal_error_rate(), curve.area(), *map(curve.positives_at, FALSE_ACCEPT_RATES)]


def _by_group(
    trials: Sequence[Trial],
    verdicts: Sequence[TrialVerdict],
    answered: Sequence[Trial],
    decisions: np.ndarray,
    weights: np.ndarray,
) -> tuple[GroupErrors, ...]:
    truths = np.array([trial.is_positive for trial in answered])
    found = []
    names = sorted({(attribute, group) for trial in trials for attribute, group in trial.groups.items()})
    for attribute, group in names:
        members = np.array([trial.groups.get(attribute) == group for trial in answered])
        missing = sum(
            verdict.decision is None and trial.groups.get(attribute) == group
            for trial, verdict in zip(trials, verdicts, strict=True)
        )
        if not members.any():
            continue
        wrong = (decisions != truths).astype(float)
        rates = []
        for kind in (~truths, truths):
            rows = members & kind
            rates.append(_share(wrong[rows], weights[:, rows]) if rows.sum() >= SMALLEST_GROUP else None)
        accuracy = _share(1.0 - wrong[members], weights[:, members])
        found.append(GroupErrors(attribute, group, int(members.sum()), missing, accuracy, *rates))
    return tuple(found)


def _share(values: np.ndarray, weights: np.ndarray) -> Rate:
    """A weighted mean with its interval."""
    total = weights.sum(1)
    replicates = np.divide(weights @ values, total, out=np.full(len(weights), np.nan), where=total > 0)
    return _rate(np.array([values.mean()]), replicates)


def _rate(value: np.ndarray, replicates: np.ndarray) -> Rate:
    interval = Interval.of(replicates)
    return Rate(float(value[0]), *((None, None) if interval is None else (interval.low, interval.high)))
