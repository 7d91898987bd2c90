"""Metrics as functions of record weights, for many weightings at once.

A bootstrap replicate, a demographic group and a shuffled assignment of groups are all weightings of the same records.
Written as sums over records, a metric of a thousand weightings is one matrix product, which is what makes intervals
and permutation tests cheap. With all weights one, each function gives what ``facekit.evaluation.metrics.scores`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from facekit.evaluation.metrics.scores import Presence, PresencePrediction, age_errors, named_by

WeightedMetrics = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Weights ``(R, n)`` to metrics by name, each ``(R,)``; NaN where a weighting leaves a metric undefined."""


@dataclass(frozen=True, eq=False)
class Decisions:
    """The yes-or-no decisions behind a task's answers, for rates per group.

    Args:
        labels: What is decided, L names.
        truths: Bool ``(n, L)``.
        predictions: Bool ``(n, L)``; an unreadable answer is the opposite of the truth.
        known: Bool ``(n, L)``, where the truth is annotated.
    """

    labels: tuple[str, ...]
    truths: np.ndarray
    predictions: np.ndarray
    known: np.ndarray


def weigh_expressions(truths: Sequence[str], predictions: Sequence[str | None]) -> WeightedMetrics:
    """Accuracy, UAR and WAR; see ``metrics.expression_metrics``."""
    classes = sorted(set(truths))
    members = np.array([[truth == name for name in classes] for truth in truths], dtype=float)
    right = np.array([truth == prediction for truth, prediction in zip(truths, predictions, strict=True)], dtype=float)
    columns = np.concatenate([members, members * right[:, None]], axis=1)

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        present, hits = np.split(weights @ columns, 2, axis=1)
        accuracy = _ratio(hits.sum(1), present.sum(1))
        return {"accuracy": accuracy, "uar": _mean_of_known(_ratio(hits, present)), "war": accuracy}

    return metrics


def weigh_action_units(truths: Sequence[Presence], predictions: Sequence[PresencePrediction]) -> WeightedMetrics:
    """F1 per unit and their mean; see ``metrics.action_unit_metrics``."""
    made = decide_presence(truths, predictions)
    hits = made.known & made.truths & made.predictions
    mistakes = made.known & (made.truths != made.predictions)
    columns = np.concatenate([made.known & made.truths, hits, mistakes], axis=1).astype(float)

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        actual, hit, mistaken = np.split(weights @ columns, 3, axis=1)
        scores = np.where(actual > 0, _ratio(2 * hit, 2 * hit + mistaken), np.nan)
        names = [f"f1_{label}" for label in made.labels]
        return {"mean_f1": _mean_of_known(scores), **dict(zip(names, scores.T, strict=True))}

    return metrics


def weigh_attributes(truths: Sequence[Presence], predictions: Sequence[PresencePrediction]) -> WeightedMetrics:
    """Accuracy per attribute and their mean; see ``metrics.attribute_metrics``."""
    made = decide_presence(truths, predictions)
    columns = np.concatenate([made.known, made.known & (made.truths == made.predictions)], axis=1).astype(float)

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        known, right = np.split(weights @ columns, 2, axis=1)
        scores = _ratio(right, known)
        names = [f"accuracy_{label}" for label in made.labels]
        return {"mean_accuracy": _mean_of_known(scores), **dict(zip(names, scores.T, strict=True))}

    return metrics


def weigh_ages(truths: Sequence[float], predictions: Sequence[float | None]) -> WeightedMetrics:
    """Mean absolute error in years; see ``metrics.age_metrics``."""
    errors = np.abs(age_errors(truths, predictions))
    return lambda weights: {"mean_absolute_error": _ratio(weights @ errors, weights.sum(1))}


def weigh_manipulation(truths: Sequence[bool], predictions: Sequence[bool | None]) -> WeightedMetrics:
    """Accuracy; see ``metrics.manipulation_metrics``."""
    right = np.array([truth == prediction for truth, prediction in zip(truths, predictions, strict=True)], dtype=float)
    return lambda weights: {"accuracy": _ratio(weights @ right, weights.sum(1))}


def weigh_auc(truths: Sequence[bool], scores: Sequence[float]) -> WeightedMetrics:
    """Area under the ROC curve: the probability that a positive record scores above a negative one, ties half.

    Args:
        truths: Which records are positive.
        scores: Higher where the model holds the record for positive.
    """
    order = np.argsort(scores, kind="stable")
    _, starts = np.unique(np.asarray(scores, dtype=float)[order], return_index=True)
    positive = np.asarray(truths, dtype=bool)[order]

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        ordered = weights[:, order].astype(float)
        positives = np.add.reduceat(ordered * positive, starts, axis=1)
        negatives = np.add.reduceat(ordered * ~positive, starts, axis=1)
        below = negatives.cumsum(1) - negatives / 2
        return {"auc": _ratio((positives * below).sum(1), positives.sum(1) * negatives.sum(1))}

    return metrics


def decide_expressions(truths: Sequence[str], predictions: Sequence[str | None]) -> Decisions:
    """One decision per expression that occurs: this one, or another."""
    classes = tuple(sorted(set(truths)))
    actual = np.array([[truth == name for name in classes] for truth in truths], dtype=bool)
    chosen = np.array([[prediction == name for name in classes] for prediction in predictions], dtype=bool)
    return Decisions(classes, actual, chosen, np.ones_like(actual))


def decide_presence(truths: Sequence[Presence], predictions: Sequence[PresencePrediction]) -> Decisions:
    """One decision per action unit or attribute, in the order in which they first occur."""
    labels = tuple(dict.fromkeys(label for truth in truths for label in truth))
    column_of = {label: index for index, label in enumerate(labels)}
    shape = (len(truths), len(labels))
    actual, chosen, known = (np.zeros(shape, dtype=bool) for _ in range(3))
    for row, (truth, prediction) in enumerate(zip(truths, predictions, strict=True)):
        for label, present in truth.items():
            column = column_of[label]
            actual[row, column], known[row, column] = present, True
            chosen[row, column] = named_by(prediction, label, present)
    return Decisions(labels, actual, chosen, known)


def decide_manipulation(truths: Sequence[bool], predictions: Sequence[bool | None]) -> Decisions:
    """The one decision: manipulated or not."""
    actual = np.array(truths, dtype=bool)[:, None]
    pairs = zip(truths, predictions, strict=True)
    chosen = np.array([not truth if prediction is None else prediction for truth, prediction in pairs], dtype=bool)
    return Decisions(("manipulated",), actual, chosen[:, None], np.ones_like(actual))


def weigh_scores(
    score: Callable[[Any, Any], dict[str, float]], truths: Sequence[Any], predictions: Sequence[Any]
) -> WeightedMetrics:
    """Weighted form of any metric, by repeating records: slow, for tasks that bring no form of their own.

    Args:
        score: Metrics from truths and predictions.
        truths: Per record.
        predictions: Per record.
    """

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        rows = []
        for weighting in weights.astype(int):
            indices = np.repeat(np.arange(len(truths)), weighting).tolist()
            rows.append(score([truths[i] for i in indices], [predictions[i] for i in indices]) if len(indices) else {})
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: np.array([row.get(name, np.nan) for row in rows]) for name in names}

    return metrics


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(1), known.sum(1).astype(float))
