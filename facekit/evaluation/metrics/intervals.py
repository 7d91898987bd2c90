"""Confidence intervals: percentile bootstrap over records or subjects, and paired differences.

Records of one subject are resampled together, because a second picture of the same person is not a second opinion.
All randomness comes from a seed, so an interval is the same in every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from facekit.evaluation.metrics.weighted import WeightedMetrics

LEVEL = 0.95
RESAMPLES = 1000
_LARGEST_BLOCK = 1 << 22
_FEWEST = 2
"""Subjects that an interval needs."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Args:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    @classmethod
    def of(cls, replicates: np.ndarray, level: float = LEVEL, *, subjects: int | None = None) -> Interval | None:
        """The percentiles of bootstrap replicates (Efron 1979); undefined ones are left out.

        None where all are undefined, and of a single subject, which says nothing of how subjects differ.

        Args:
            replicates: ``(r,)``.
            level: Share of repetitions in which an interval shall hold the true value.
            subjects: How many subjects were resampled, where they are few: percentiles are then taken farther out, as
                Student's t is wider than the normal distribution (Hesterberg 2015, expanded percentile interval).
        """
        known = replicates[~np.isnan(replicates)]
        if not len(known) or (subjects is not None and subjects < _FEWEST):
            return None
        tail = (1 - level) / 2 if subjects is None else _expanded_tail(level, subjects)
        low, high = np.quantile(known, [tail, 1 - tail])
        return cls(float(low), float(high))


def _expanded_tail(level: float, subjects: int) -> float:
    from scipy.stats import norm, t

    return float(norm.sf(t.ppf((1 + level) / 2, subjects - 1) * np.sqrt(subjects / (subjects - 1))))


def number_clusters(subjects: Sequence[str]) -> np.ndarray:
    """Number the subjects from zero in the order in which they occur, ``(n,)``."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(subject, len(numbers)) for subject in subjects], dtype=np.int64)


def draw_weights(clusters: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw bootstrap replicates: how often each record occurs in a sample, with replacement, of whole clusters.

    Args:
        clusters: ``(n,)`` numbers from zero; records of one cluster are drawn together.
        resamples: Number of replicates.
        seed: Decides them.

    Yields:
        Blocks ``(r, n)`` of weights, ``resamples`` rows in all; a block holds at most some megabytes.
    """
    rng = np.random.default_rng(seed)
    count = int(clusters.max()) + 1
    rows = max(1, _LARGEST_BLOCK // max(count, len(clusters)))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield weights[:, clusters].astype(float)


def replicate(weighted: WeightedMetrics, blocks: Iterator[np.ndarray] | Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Compute metrics of every weighting in blocks of them: name to ``(resamples,)``."""
    parts = [weighted(block) for block in blocks]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def bootstrap_intervals(
    weighted: WeightedMetrics, clusters: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> dict[str, Interval]:
    """Percentile intervals of all metrics.

    Args:
        weighted: The metrics.
        clusters: ``(n,)`` numbers from zero, see ``draw_weights``.
        resamples: Number of replicates.
        seed: Decides them.
        level: Share of repetitions in which an interval shall hold the true value.

    Returns:
        Metric name to interval; metrics that no replicate defines are left out, and all of them where there is but one
        cluster.
    """
    if clusters.max(initial=0) + 1 < _FEWEST:
        return {}
    replicates = replicate(weighted, draw_weights(clusters, resamples=resamples, seed=seed))
    found = {name: Interval.of(values, level) for name, values in replicates.items()}
    return {name: interval for name, interval in found.items() if interval is not None}


def holm_adjusted(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values of several tests so that the probability of any false alarm stays below the level (Holm 1979)."""
    adjusted, running = {}, 0.0
    for index, name in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        running = max(running, (len(p_values) - index) * p_values[name])
        adjusted[name] = min(1.0, running)
    return adjusted
