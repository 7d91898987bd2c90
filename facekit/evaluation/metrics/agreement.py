"""Inter-rater agreement: Krippendorff's alpha, and rank correlation and bias of each pair of judges.

Alpha is written here as sums over answers, so that a thousand bootstrap weightings of it are a few matrix products;
the packages that compute it take one table at a time, and have licences that facekit cannot include.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from facekit.evaluation.metrics.intervals import RESAMPLES, bootstrap_intervals
from facekit.evaluation.metrics.weighted import WeightedMetrics


@dataclass(frozen=True)
class Agreement:
    """How far judges agree about one criterion.

    Args:
        criterion: What they rated.
        count: Answers that at least two of them rated.
        alpha: Krippendorff's alpha for interval data: 1 for the same ratings, 0 for chance; None where all ratings are
            one number, which shows no agreement and no disagreement.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    criterion: str
    count: int
    alpha: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PairAgreement:
    """Two judges on one criterion.

    Args:
        criterion: What they rated.
        first: Name of the one judge.
        second: Name of the other.
        count: Answers that both rated.
        spearman: Rank correlation; None where one of them gives everything the same rating.
        difference: Mean rating of the first minus that of the second, on the same answers.
    """

    criterion: str
    first: str
    second: str
    count: int
    spearman: float | None
    difference: float


def krippendorff_alpha(ratings: np.ndarray) -> float | None:
    """Krippendorff's alpha for interval data, with missing ratings.

    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C with the interval difference.

    Args:
        ratings: ``(J, n)``, one row per judge; NaN where a judge gave none.

    Returns:
        At most 1; None where no answer has two ratings, or all ratings are one number.
    """
    alpha = float(weigh_alpha(ratings)(np.ones((1, ratings.shape[1])))["alpha"][0])
    return None if np.isnan(alpha) else alpha


def weigh_alpha(ratings: np.ndarray) -> WeightedMetrics:
    """The same as a function of answer weights, under the name ``alpha``.

    Args:
        ratings: ``(J, n)``, NaN where a judge gave none.
    """
    known = ~np.isnan(ratings)
    counts = known.sum(0).astype(float)
    pairable = counts >= 2
    filled = np.where(known & pairable, ratings, 0.0)
    counts = np.where(pairable, counts, 0.0)
    sums, squares = filled.sum(0), (filled**2).sum(0)
    disagreements = np.where(pairable, 2 * (counts * squares - sums**2) / np.maximum(counts - 1, 1), 0.0)
    columns = np.stack([counts, sums, squares, disagreements], axis=1)

    def metrics(weights: np.ndarray) -> dict[str, np.ndarray]:
        total, first, second, observed = (weights @ columns).T
        expected = 2 * (total * second - first**2)
        defined = expected > 1e-9 * np.maximum(total * second, 1.0)
        share = np.divide(observed * (total - 1), expected, out=np.full(len(weights), np.nan), where=defined)
        return {"alpha": 1 - share}

    return metrics


def measure_agreement(
    criterion: str, ratings: np.ndarray, clusters: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Agreement:
    """Alpha of all judges with its bootstrap interval.

    Args:
        criterion: What was rated.
        ratings: ``(J, n)``, NaN where a judge gave none.
        clusters: ``(n,)`` numbers from zero; answers about one subject are drawn together.
        resamples: Replicates; 0 leaves the interval out.
        seed: Decides them.
    """
    count, alpha = int(((~np.isnan(ratings)).sum(0) >= 2).sum()), krippendorff_alpha(ratings)
    if alpha is None or not resamples:
        return Agreement(criterion, count, alpha)
    interval = bootstrap_intervals(weigh_alpha(ratings), clusters, resamples=resamples, seed=seed).get("alpha")
    ends = (None, None) if interval is None else (interval.low, interval.high)
    return Agreement(criterion, count, alpha, *ends)


def compare_judges(criterion: str, ratings: Mapping[str, np.ndarray]) -> tuple[PairAgreement, ...]:
    """Every pair of judges on the answers that both rated; pairs without such answers are left out.

    Args:
        criterion: What was rated.
        ratings: Judge to ``(n,)`` ratings, NaN where it gave none.
    """
    from scipy.stats import spearmanr

    found = []
    for first, second in combinations(ratings, 2):
        both = ~np.isnan(ratings[first]) & ~np.isnan(ratings[second])
        if not both.any():
            continue
        left, right = ratings[first][both], ratings[second][both]
        varied = len(left) > 1 and np.ptp(left) > 0 and np.ptp(right) > 0
        correlation = float(spearmanr(left, right).statistic) if varied else None
        difference = float((left - right).mean())
        found.append(PairAgreement(criterion, first, second, int(both.sum()), correlation, difference))
    return tuple(found)
