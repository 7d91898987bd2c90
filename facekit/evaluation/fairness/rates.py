"""Error rates by group: whose genuine pictures are called manipulated, whose attributes are missed, who is oversold.

A rate is an error, so the group with the higher one is the one that is harmed. The largest gap between groups is the
equalised-odds difference (Hardt et al. 2016); faces are compared among those of equal truth, so groups that differ in
how often something is true are no disparity by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from facekit.evaluation.metrics.intervals import Interval, draw_weights
from facekit.evaluation.metrics.weighted import Decisions
from facekit.evaluation.report.group_results import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    OVERCONFIDENCE,
    SMALLEST_GROUP,
    GroupScore,
    RateGap,
)


@dataclass(frozen=True, eq=False)
class RateColumns:
    """Rates as means over records: L of them.

    Args:
        names: Rate, label and words of each; see ``RateGap``.
        counted: Bool ``(n, L)``, the records that a rate is about.
        values: ``(n, L)``; their mean is the rate.
    """

    names: tuple[tuple[str, str, str], ...]
    counted: np.ndarray
    values: np.ndarray

    @classmethod
    def of_decisions(cls, decisions: Decisions) -> RateColumns:
        """False positive rates of all labels, then their false negative rates."""
        words = [decisions.words_for(label) for label in decisions.labels]
        names = [
            (FALSE_POSITIVE, label, each.false_positive) for label, each in zip(decisions.labels, words, strict=True)
        ]
        names += [
            (FALSE_NEGATIVE, label, each.false_negative) for label, each in zip(decisions.labels, words, strict=True)
        ]
        counted = [decisions.known & ~decisions.truths, decisions.known & decisions.truths]
        wrong = decisions.truths != decisions.predictions
        return cls(tuple(names), np.concatenate(counted, axis=1), np.concatenate([wrong, wrong], axis=1).astype(float))

    @classmethod
    def of_overconfidence(cls, overconfidences: Sequence[float]) -> RateColumns:
        """The one column of ``ScoredRows.overconfidences``."""
        values = np.array(overconfidences, dtype=float)[:, None]
        words = "answers about {people} are surer than right"
        return cls(((OVERCONFIDENCE, "", words),), np.ones(values.shape, dtype=bool), values)

    def deviations(self, kept: np.ndarray) -> np.ndarray:
        """What the kept records' values differ from their mean, ``(k, L)``; 0 where a rate is not about a record."""
        counted, values = self.counted[kept].astype(float), self.values[kept]
        means = (counted * values).sum(0) / np.maximum(counted.sum(0), 1)
        return counted * (values - means)

    def usable(self, kept: np.ndarray, codes: np.ndarray) -> np.ndarray:
        """Indices of the rates with ``SMALLEST_GROUP`` faces in two of the kept records' groups at least."""
        members = codes[kept] == np.unique(codes[kept])[:, None]
        return np.flatnonzero(((members.astype(float) @ self.counted[kept]) >= SMALLEST_GROUP).sum(0) >= 2)


def compare_rates(
    columns: RateColumns,
    names: Sequence[str],
    codes: np.ndarray,
    clusters: np.ndarray,
    *,
    chosen: np.ndarray,
    p_values: np.ndarray | None,
    resamples: int,
    seed: int,
) -> tuple[RateGap, ...]:
    """Rates of every group, and who has the highest and the lowest.

    Args:
        columns: The rates.
        names: The groups' names.
        codes: ``(n,)`` group of each record as an index of ``names``, -1 for none.
        clusters: ``(n,)`` subject of each record.
        chosen: Indices of the rates that are compared.
        p_values: Of the chosen rates; NaN where one does not vary; None where nothing was tested.
        resamples: Bootstrap replicates; 0 leaves intervals out.
        seed: Decides them.
    """
    counted, values = columns.counted[:, chosen].astype(float), columns.values[:, chosen]
    members = (codes == np.arange(len(names))[:, None]).astype(float)  # (G, n)
    counts = members @ counted
    rates = _ratio(members @ (counted * values), counts)
    replicates = np.zeros((0, len(names), len(chosen)))
    if resamples:
        blocks = draw_weights(clusters, resamples=resamples, seed=seed)
        replicates = np.concatenate(list(_replicate(blocks, members, counted, counted * values)))
    found = []
    for place, column in enumerate(chosen):
        large = np.flatnonzero(counts[:, place] >= SMALLEST_GROUP)
        worse, better = (int(large[pick(rates[large, place])]) for pick in (np.argmax, np.argmin))
        sizes = [
            len(np.unique(clusters[(codes == group) & counted[:, place].astype(bool)])) for group in range(len(names))
        ]
        ends = [
            Interval.of(replicates[:, group, place], subjects=size) if resamples else None
            for group, size in enumerate(sizes)
        ]
        difference = replicates[:, worse, place] - replicates[:, better, place]
        gap = Interval.of(difference, subjects=min(sizes[worse], sizes[better])) if resamples else None
        scores = tuple(
            GroupScore(name, int(counts[group, place]), float(rates[group, place]), *_ends(ends[group]))
            for group, name in enumerate(names)
            if counts[group, place] > 0
        )
        p_value = None if p_values is None or np.isnan(p_values[place]) else float(p_values[place])
        rate, label, words = columns.names[column]
        value = float(rates[worse, place] - rates[better, place])
        found.append(RateGap(rate, label, words, scores, names[worse], names[better], value, *_ends(gap), p_value))
    return tuple(found)


def _replicate(
    blocks: Iterator[np.ndarray], members: np.ndarray, counted: np.ndarray, errors: np.ndarray
) -> Iterator[np.ndarray]:
    """Rates ``(r, G, L)`` of every block of weightings."""
    for weights in blocks:
        held = [weights * group for group in members]
        yield np.stack([_ratio(each @ errors, each @ counted) for each in held], axis=1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)
