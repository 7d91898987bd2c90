"""Detection error trade-off from scores: rates at a threshold or at a fixed error, equal error rate, by weight.

A trial is positive or negative and is accepted at a threshold where its score is at least that. Rates of many
weightings of the trials, such as bootstrap replicates, are computed at once; ``R`` is their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Shares of positives and negatives that are accepted, from accepting nothing to accepting everything.

    Args:
        thresholds: ``(K + 1,)`` falling; the first is infinite, the others are the distinct scores.
        positive_rates: ``(R, K + 1)``, accepted positives.
        negative_rates: ``(R, K + 1)``, accepted negatives.
    """

    thresholds: np.ndarray
    positive_rates: np.ndarray
    negative_rates: np.ndarray

    @classmethod
    def of(cls, truths: Sequence[bool], scores: Sequence[float], weights: np.ndarray | None = None) -> RocCurve:
        """Rates of every weighting ``(R, n)``, of one with all weights one by default; NaN without such trials."""
        values, positive = np.asarray(scores, dtype=float), np.asarray(truths, dtype=bool)
        weights = np.ones((1, len(values))) if weights is None else weights
        order = np.argsort(-values, kind="stable")
        last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
        rates = []
        for kind in (positive, ~positive):
            accepted = (weights * kind)[:, order].cumsum(1)
            total = accepted[:, -1:]
            rate = np.divide(accepted[:, last], total, out=np.full((len(weights), len(last)), np.nan), where=total > 0)
            rates.append(np.concatenate([0.0 * rate[:, :1], rate], axis=1))
        return cls(np.concatenate([[np.inf], values[order][last]]), rates[0], rates[1])

    def positives_at(self, negative_rate: float) -> np.ndarray:
        """Most positives accepted where at most this share of negatives is, ``(R,)``: TAR at a FAR, by steps."""
        allowed = self.negative_rates <= negative_rate + 1e-12
        best = np.where(allowed, self.positive_rates, 0.0).max(1)
        return np.where(np.isnan(self.positive_rates[:, 0] + self.negative_rates[:, 0]), np.nan, best)

    def threshold_at(self, negative_rate: float) -> float:
        """The lowest threshold of the first weighting that accepts at most this share of negatives."""
        return float(self.thresholds[np.flatnonzero(self.negative_rates[0] <= negative_rate + 1e-12)[-1]])

    def equal_error_rate(self) -> np.ndarray:
        """Where as many positives are rejected as negatives accepted, ``(R,)``, interpolated between two thresholds."""
        gap = self.negative_rates - (1.0 - self.positive_rates)  # rises from -1 to 1
        after = np.clip((gap >= 0).argmax(1), 1, None)
        rows = np.arange(len(gap))
        low, high = gap[rows, after - 1], gap[rows, after]
        share = np.divide(-low, high - low, out=np.zeros(len(gap)), where=high > low)
        ends = self.negative_rates[rows, after - 1], self.negative_rates[rows, after]
        return np.where(np.isnan(gap[:, 0]), np.nan, ends[0] + share * (ends[1] - ends[0]))

    def area(self) -> np.ndarray:
        """Area under the curve, ``(R,)``."""
        return np.trapezoid(self.positive_rates, self.negative_rates, axis=1)


def best_threshold(truths: np.ndarray, scores: np.ndarray) -> float:
    """The threshold that is right about most trials; of several the middle of the highest run of scores."""
    values, positive = np.asarray(scores, dtype=float), np.asarray(truths, dtype=bool)
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    right = np.concatenate([[0], (2 * positive[order].astype(int) - 1).cumsum()[last]])
    best, distinct = int(right.argmax()), values[order][last]
    if best == 0:
        return float(np.nextafter(distinct[0], np.inf))
    return float(distinct[best - 1] if best == len(distinct) else (distinct[best - 1] + distinct[best]) / 2)


def decide_by_folds(truths: Sequence[bool], scores: Sequence[float], folds: Sequence[int]) -> np.ndarray:
    """Decisions ``(n,)`` about every fold at the threshold that is best on all the others, as LFW defines accuracy.

    Args:
        truths: Per trial.
        scores: Per trial.
        folds: Per trial; where there is one alone, it is decided at its own best threshold.
    """
    positive, values, fold = np.asarray(truths, dtype=bool), np.asarray(scores, dtype=float), np.asarray(folds)
    decisions = np.zeros(len(values), dtype=bool)
    for each in np.unique(fold):
        held = fold == each
        others = ~held if (~held).any() else held
        decisions[held] = values[held] >= best_threshold(positive[others], values[others])
    return decisions


def accuracy_by_folds(truths: Sequence[bool], decisions: Sequence[bool], folds: Sequence[int]) -> list[float]:
    """Share of right decisions in every fold."""
    right, fold = np.asarray(truths) == np.asarray(decisions), np.asarray(folds)
    return [float(right[fold == each].mean()) for each in np.unique(fold)]
