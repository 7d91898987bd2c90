"""Metrics as functions of record weights, for many weightings at once.

A bootstrap replicate, a demographic group and a shuffled assignment of groups are all weightings of the same records.
Written as sums over records, a metric of a thousand weightings is one matrix product, which is what makes intervals
and permutation tests cheap. With all weights one, each function gives what ``facekit.evaluation.metrics.scores`` gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from facekit.evaluation.metrics.scores import Presence, PresencePrediction, age_errors, named_by
from facekit.reports import in_words

WeightedMetrics = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Weights ``(R, n)`` to metrics by name, each ``(R,)``; NaN where a weighting leaves a metric undefined."""

_STEP = 1e-4
_LARGEST_BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class SumMetrics:
    """Metrics that depend on the records through weighted sums alone.

    Args:
        columns: ``(n, K)``, what is summed.
        combine: Sums ``(R, K)`` to metrics by name, each ``(R,)``.
    """

    columns: np.ndarray
    combine: WeightedMetrics

    def __call__(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The metrics of every weighting, see ``WeightedMetrics``."""
        return self.combine(weights @ self.columns)

    def influence(self, name: str) -> np.ndarray:
        """First-order change of a metric with the weight of each record, ``(n,)``, times n; it sums to zero."""
        totals = self.columns.sum(0)
        steps = _STEP * np.maximum(np.abs(totals), 1.0)
        shifted = np.concatenate([totals + np.diag(steps), totals - np.diag(steps)])
        above, below = np.split(self.combine(shifted)[name], 2)
        gradient = np.nan_to_num((above - below) / (2 * steps))
        found = self.columns @ gradient * len(self.columns)
        return found - found.mean()


def influence_of(weighted: WeightedMetrics, name: str, count: int) -> np.ndarray:
    """First-order change of a metric with the weight of each of ``count`` records, ``(n,)``; it sums to zero.

    Metrics that are no ``SumMetrics`` are computed once for each record, with that record counted twice.
    """
    if isinstance(weighted, SumMetrics):
        return weighted.influence(name)
    rows = max(1, _LARGEST_BLOCK // max(1, count))
    blocks = (np.arange(start, min(start + rows, count)) for start in range(0, count, rows))
    doubled = [weighted(1.0 + (np.arange(count) == block[:, None]))[name] for block in blocks]
    changes = np.nan_to_num((np.concatenate(doubled) - weighted(np.ones((1, count)))[name]) * (count + 1))
    return changes - changes.mean()


@dataclass(frozen=True)
class DecisionWords:
    """How errors of a yes-or-no decision are said of people, who stand for ``{people}``.

    Args:
        false_positive: Said of a yes where the truth is no, up to how often that happens.
        false_negative: Said of a no where the truth is yes.
    """

    false_positive: str
    false_negative: str


@dataclass(frozen=True, eq=False)
class Decisions:
    """The yes-or-no decisions behind a task's answers, for rates per group.

    Args:
        labels: What is decided, L names.
        truths: Bool ``(n, L)``.
        predictions: Bool ``(n, L)``; an unreadable answer is the opposite of the truth.
        known: Bool ``(n, L)``, where the truth is annotated.
        words: How the errors are said, by label; labels without words have them said by their name.
    """

    labels: tuple[str, ...]
    truths: np.ndarray
    predictions: np.ndarray
    known: np.ndarray
    words: Mapping[str, DecisionWords] = field(default_factory=dict)

    def words_for(self, label: str) -> DecisionWords:
        """How the errors of one decision are said."""
        name = in_words(label)
        return self.words.get(label) or DecisionWords(
            f"“{name}” is said of {{people}} where it is not so",
            f"“{name}” is missed for {{people}} where it is so",
        )


def weigh_expressions(truths: Sequence[str], predictions: Sequence[str | None]) -> WeightedMetrics:
    """Accuracy, UAR and WAR; see ``metrics.expression_metrics``."""
    classes = sorted(set(truths))
    members = np.array([[truth == name for name in classes] for truth in truths], dtype=float)
    right = np.array([truth == prediction for truth, prediction in zip(truths, predictions, strict=True)], dtype=float)
    columns = np.concatenate([members, members * right[:, None]], axis=1)

    def metrics(sums: np.ndarray) -> dict[str, np.ndarray]:
        present, hits = np.split(sums, 2, axis=1)
        accuracy = _ratio(hits.sum(1), present.sum(1))
        return {"accuracy": accuracy, "uar": _mean_of_known(_ratio(hits, present)), "war": accuracy}

    return SumMetrics(columns, metrics)


def weigh_action_units(truths: Sequence[Presence], predictions: Sequence[PresencePrediction]) -> WeightedMetrics:
    """F1 per unit and their mean; see ``metrics.action_unit_metrics``."""
    made = decide_presence(truths, predictions)
    hits = made.known & made.truths & made.predictions
    mistakes = made.known & (made.truths != made.predictions)
    columns = np.concatenate([made.known & made.truths, hits, mistakes], axis=1).astype(float)

    def metrics(sums: np.ndarray) -> dict[str, np.ndarray]:
        actual, hit, mistaken = np.split(sums, 3, axis=1)
        scores = np.where(actual > 0, _ratio(2 * hit, 2 * hit + mistaken), np.nan)
        names = [f"f1_{label}" for label in made.labels]
        return {"mean_f1": _mean_of_known(scores), **dict(zip(names, scores.T, strict=True))}

    return SumMetrics(columns, metrics)


def weigh_attributes(truths: Sequence[Presence], predictions: Sequence[PresencePrediction]) -> WeightedMetrics:
    """Accuracy per attribute and their mean; see ``metrics.attribute_metrics``."""
    made = decide_presence(truths, predictions)
    columns = np.concatenate([made.known, made.known & (made.truths == made.predictions)], axis=1).astype(float)

    def metrics(sums: np.ndarray) -> dict[str, np.ndarray]:
        known, right = np.split(sums, 2, axis=1)
        scores = _ratio(right, known)
        names = [f"accuracy_{label}" for label in made.labels]
        return {"mean_accuracy": _mean_of_known(scores), **dict(zip(names, scores.T, strict=True))}

    return SumMetrics(columns, metrics)


def weigh_ages(truths: Sequence[float], predictions: Sequence[float | None]) -> WeightedMetrics:
    """Mean absolute error in years; see ``metrics.age_metrics``."""
    return _weighted_mean("mean_absolute_error", np.abs(age_errors(truths, predictions)))


def weigh_manipulation(truths: Sequence[bool], predictions: Sequence[bool | None]) -> WeightedMetrics:
    """Accuracy; see ``metrics.manipulation_metrics``."""
    right = np.array([truth == prediction for truth, prediction in zip(truths, predictions, strict=True)], dtype=float)
    return _weighted_mean("accuracy", right)


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


def weigh_mean_auc(truths: Sequence[Presence], scores: Sequence[Mapping[str, float]]) -> WeightedMetrics:
    """Area under the ROC curve of each label, and their mean over the labels that some records have and others lack.

    Args:
        truths: Which labels each record has, of those that it is annotated for.
        scores: For the same labels, higher where the model holds the label for present.
    """
    parts: dict[str, tuple[list[int], WeightedMetrics]] = {}
    for label in dict.fromkeys(label for truth in truths for label in truth):
        rows = [row for row, truth in enumerate(truths) if label in truth]
        present = [truths[row][label] for row in rows]
        if len(set(present)) == 2:
            parts[label] = (rows, weigh_auc(present, [scores[row][label] for row in rows]))

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        areas = {f"auc_{label}": part(weights[:, rows])["auc"] for label, (rows, part) in parts.items()}
        if not areas:
            return {}
        return {"auc": _mean_of_known(np.stack(list(areas.values()), axis=1)), **areas}

    return metrics


def decide_expressions(truths: Sequence[str], predictions: Sequence[str | None]) -> Decisions:
    """One decision per expression that occurs: this one, or another."""
    classes = tuple(sorted(set(truths)))
    actual = np.array([[truth == name for name in classes] for truth in truths], dtype=bool)
    chosen = np.array([[prediction == name for name in classes] for prediction in predictions], dtype=bool)
    words = {
        name: DecisionWords(
            f"faces of {{people}} with another expression are called “{name}”",
            f"faces of {{people}} with the expression “{name}” are called something else",
        )
        for name in classes
    }
    return Decisions(classes, actual, chosen, np.ones_like(actual), words)


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
    words = {
        name: DecisionWords(
            f"“{in_words(name)}” is claimed of faces of {{people}} without it",
            f"“{in_words(name)}” is missed on faces of {{people}} that have it",
        )
        for name in labels
    }
    return Decisions(labels, actual, chosen, known, words)


def decide_manipulation(truths: Sequence[bool], predictions: Sequence[bool | None]) -> Decisions:
    """The one decision: manipulated or not."""
    actual = np.array(truths, dtype=bool)[:, None]
    pairs = zip(truths, predictions, strict=True)
    chosen = np.array([not truth if prediction is None else prediction for truth, prediction in pairs], dtype=bool)
    words = DecisionWords(
        "genuine pictures of {people} are called manipulated", "manipulated pictures of {people} are called genuine"
    )
    return Decisions(("manipulated",), actual, chosen[:, None], np.ones_like(actual), {"manipulated": words})


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


def _weighted_mean(name: str, values: np.ndarray) -> SumMetrics:
    columns = np.stack([values, np.ones(len(values))], axis=1)
    return SumMetrics(columns, lambda sums: {name: _ratio(sums[:, 0], sums[:, 1])})


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(1), known.sum(1).astype(float))
