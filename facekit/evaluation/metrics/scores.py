"""Metrics of the five tasks, computed by scikit-learn, and constant-answer baselines.

Every metric takes the truth and the predictions in the same order. A prediction of None is an answer that could not
be read; it counts as wrong: a label that is nobody's, the opposite in every binary decision, or the age farthest from
the truth.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np

from facekit.errors import MissingExtraError

UNREADABLE = "(unreadable)"
"""The label that stands in for an answer without one."""

YOUNGEST, OLDEST = 0.0, 100.0
"""An unreadable age counts as whichever of these is farther from the truth, in years."""

Presence = Mapping[str, bool]
PresencePrediction = Set[str] | Mapping[str, bool | None] | None
"""The labels that an answer named; or per label the answer to its own question; or None, unreadable."""


def expression_metrics(truths: Sequence[str], predictions: Sequence[str | None]) -> dict[str, float]:
    """Accuracy, and the recall of the expressions that occur in the truth, averaged unweighted and weighted.

    Returns:
        ``accuracy``; ``uar``, unweighted average recall, which counts every expression alike; ``war``, weighted
        average recall, which counts every face alike and so equals the accuracy.
    """
    metrics = require_scikit_learn()
    predicted = [UNREADABLE if prediction is None else prediction for prediction in predictions]
    classes = sorted(set(truths))
    return {
        "accuracy": float(metrics.accuracy_score(truths, predicted)),
        "uar": float(metrics.recall_score(truths, predicted, labels=classes, average="macro", zero_division=0.0)),
        "war": float(metrics.recall_score(truths, predicted, labels=classes, average="weighted", zero_division=0.0)),
    }


def action_unit_metrics(truths: Sequence[Presence], predictions: Sequence[PresencePrediction]) -> dict[str, float]:
    """F1 per action unit and their mean, over the units that occur at least once in the truth.

    Args:
        truths: Per face, whether each annotated unit is active.
        predictions: Per face, the units that were named.

    Returns:
        ``mean_f1``, and ``f1_AU12`` and so on in ascending order.
    """
    metrics = require_scikit_learn()
    scores = {}
    for code, (actual, predicted) in _by_label(truths, predictions).items():
        if any(actual):
            scores[code] = float(metrics.f1_score(actual, predicted, zero_division=0.0))
    ordered = sorted(scores, key=lambda code: (len(code), code))
    return {"mean_f1": _mean(scores.values()), **{f"f1_{code}": scores[code] for code in ordered}}


def attribute_metrics(truths: Sequence[Presence], predictions: Sequence[PresencePrediction]) -> dict[str, float]:
    """Accuracy per attribute and their mean, as CelebA is scored.

    Args:
        truths: Per face, whether it has each annotated attribute.
        predictions: Per face, the attributes that were named.

    Returns:
        ``mean_accuracy``, and ``accuracy_Eyeglasses`` and so on.
    """
    metrics = require_scikit_learn()
    scores = {
        name: float(metrics.accuracy_score(actual, predicted))
        for name, (actual, predicted) in _by_label(truths, predictions).items()
    }
    return {"mean_accuracy": _mean(scores.values()), **{f"accuracy_{name}": scores[name] for name in scores}}


def age_metrics(truths: Sequence[float], predictions: Sequence[float | None]) -> dict[str, float]:
    """Mean absolute error (MAE) in years."""
    metrics = require_scikit_learn()
    predicted = np.asarray(truths) - age_errors(truths, predictions)
    return {"mean_absolute_error": float(metrics.mean_absolute_error(truths, predicted))}


def age_errors(truths: Sequence[float], predictions: Sequence[float | None]) -> np.ndarray:
    """Truth minus prediction in years, ``(n,)``; an unreadable age is the farther of ``YOUNGEST`` and ``OLDEST``."""
    middle = (YOUNGEST + OLDEST) / 2
    return np.array(
        [
            truth - ((YOUNGEST if truth > middle else OLDEST) if prediction is None else prediction)
            for truth, prediction in zip(truths, predictions, strict=True)
        ],
        dtype=float,
    )


def manipulation_metrics(truths: Sequence[bool], predictions: Sequence[bool | None]) -> dict[str, float]:
    """Accuracy of distinguishing manipulated pictures from genuine ones."""
    metrics = require_scikit_learn()
    predicted = [
        not truth if prediction is None else prediction for truth, prediction in zip(truths, predictions, strict=True)
    ]
    return {"accuracy": float(metrics.accuracy_score(truths, predicted))}


def averaged_scores(truths: Sequence[bool], predictions: Sequence[bool], *, weighted: bool) -> dict[str, float]:
    """Precision, recall and F1 averaged over yes and no, and accuracy, of the few decisions behind one answer.

    They are those of scikit-learn with ``zero_division=0``, which takes milliseconds where a benchmark has tens of
    thousands of answers.

    Args:
        truths: Of each item, such as an option.
        predictions: Of each item.
        weighted: Whether classes count by how often they are true; otherwise alike.
    """
    pairs = list(zip(truths, predictions, strict=True))
    totals = dict.fromkeys(("precision", "recall", "f1"), 0.0)
    classes = {*truths, *predictions}
    for each in classes:
        hits, true, said = pairs.count((each, each)), truths.count(each), predictions.count(each)
        weight = true / len(pairs) if weighted else 1 / len(classes)
        totals["precision"] += weight * hits / max(1, said)
        totals["recall"] += weight * hits / max(1, true)
        totals["f1"] += weight * 2 * hits / (true + said)
    return {**totals, "accuracy": sum(truth == said for truth, said in pairs) / len(pairs)}


def area_under_curve(truths: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Area under the ROC curve (AUC), or None where all records are of one kind.

    Args:
        truths: Which records are positive.
        scores: Higher where the model holds the record for positive.
    """
    if len(set(truths)) < 2:
        return None
    return float(require_scikit_learn().roc_auc_score(truths, scores))


def majority_label(truths: Sequence[Any]) -> Any:
    """The commonest label; of several, the one that occurs first."""
    return Counter(truths).most_common(1)[0][0]


def majority_presence(truths: Sequence[Presence]) -> frozenset[str]:
    """The labels that more than half of the faces annotated for them have."""
    labels = {label for truth in truths for label in truth}
    votes = {label: [truth[label] for truth in truths if label in truth] for label in labels}
    return frozenset(label for label, held in votes.items() if sum(held) * 2 > len(held))


def median_age(truths: Sequence[float]) -> float:
    """The median, which no constant beats in mean absolute error."""
    return float(statistics.median(truths))


def _by_label(
    truths: Sequence[Presence], predictions: Sequence[PresencePrediction]
) -> dict[str, tuple[list[bool], list[bool]]]:
    columns: dict[str, tuple[list[bool], list[bool]]] = {}
    for truth, prediction in zip(truths, predictions, strict=True):
        for label, present in truth.items():
            actual, predicted = columns.setdefault(label, ([], []))
            actual.append(present)
            predicted.append(named_by(prediction, label, present))
    return columns


def named_by(prediction: PresencePrediction, label: str, present: bool) -> bool:
    """Whether a prediction has a label; where it could not be read, the opposite of what is true."""
    answer = prediction.get(label) if isinstance(prediction, Mapping) else prediction
    if answer is None:
        return not present
    return answer if isinstance(answer, bool) else label in answer


def _mean(values: Any) -> float:
    collected = list(values)
    return statistics.fmean(collected) if collected else 0.0


def require_scikit_learn() -> Any:
    """Return scikit-learn's metrics; raises ``MissingExtraError`` where it is not installed."""
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MissingExtraError("evaluation needs scikit-learn; pip install 'facekit-mllm[eval]'") from error
    return metrics
