"""Fairness: metrics and error rates by demographic group, gaps with intervals, and permutation tests.

A gap between groups is never zero in a sample, so it is reported as a disparity only if shuffling the groups rarely
makes one as large (a permutation test, see ``permutation``), after correction for the number of tests in the report.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from facekit.evaluation.fairness.groups import (
    ScoredRows,
    attributes_of,
    crossed_attributes,
    group_codes,
    subject_of,
)
from facekit.evaluation.fairness.permutation import PERMUTATIONS, GroupShuffle, PermutationTest, permutation_test
from facekit.evaluation.fairness.rates import RateColumns, compare_rates
from facekit.evaluation.metrics.intervals import RESAMPLES, Interval, draw_weights, number_clusters
from facekit.evaluation.metrics.weighted import WeightedMetrics, influence_of
from facekit.evaluation.report.group_results import SMALLEST_GROUP, GroupComparison, GroupScore, RateGap
from facekit.evaluation.tasks.definitions import Task

__all__ = ["PERMUTATIONS", "ScoredRows", "compare_groups", "compare_intersections", "group_codes", "subject_of"]


def compare_groups(
    task: Task,
    rows: ScoredRows,
    *,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> tuple[GroupComparison, ...]:
    """Compare a task's headline metric and error rates between the groups of every attribute of the records.

    Args:
        task: The task.
        rows: Its answers.
        resamples: Bootstrap replicates; 0 leaves intervals out.
        permutations: Most shuffles of the groups; 0 leaves the tests out.
        seed: Decides both.

    Returns:
        One comparison per attribute, in alphabetical order.
    """
    return tuple(
        _Comparing(task, rows, attribute, resamples, permutations, seed).compare()
        for attribute in attributes_of(rows.records)
    )


def compare_intersections(
    task: Task, rows: ScoredRows, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[GroupComparison, ...]:
    """Compare the groups in which two attributes cross; described with intervals, not tested.

    Args:
        task: The task.
        rows: Its answers.
        resamples: Bootstrap replicates; 0 leaves intervals out.
        seed: Decides them.
    """
    return tuple(
        _Comparing(task, rows, attribute, resamples, 0, seed).compare()
        for attribute in crossed_attributes(rows.records)
    )


class _Comparing:
    """One task over the groups of one attribute."""

    def __init__(
        self, task: Task, rows: ScoredRows, attribute: str, resamples: int, permutations: int, seed: int
    ) -> None:
        self.task, self.rows, self.attribute = task, rows, attribute
        self.resamples, self.permutations, self.seed = resamples, permutations, seed
        self.names, self.codes = group_codes(rows.records, attribute)
        self.clusters = number_clusters([subject_of(record) for record in rows.records])
        large = np.flatnonzero(np.bincount(self.codes[self.codes >= 0], minlength=len(self.names)) >= SMALLEST_GROUP)
        self.kept = np.flatnonzero(np.isin(self.codes, large))

    def compare(self) -> GroupComparison:
        """The metric of every group, the gap, and the rates behind it."""
        replicates = self._replicates()
        scores = []
        for code, name in enumerate(self.names):
            part = self._parts[code]
            if not self._is_defined(code):
                continue
            value = self.task.score(part.truths, part.predictions)[self.task.headline]
            interval = Interval.of(replicates[code], subjects=self._subjects(name)) if self.resamples else None
            low, high = (interval.low, interval.high) if interval else (None, None)
            scores.append(GroupScore(name, len(part), value, low, high))
        comparison = GroupComparison.of(self.attribute, scores, higher_is_better=self.task.higher_is_better)
        if comparison.gap is not None:
            comparison = self._measure_gap(comparison, replicates)
        calibration = None
        if self.rows.overconfidences is not None:
            calibration = self._compare_rates(RateColumns.of_overconfidence(self.rows.overconfidences))
        rates: tuple[RateGap, ...] = ()
        if self.task.decide is not None:
            rates = self._compare_rates(
                RateColumns.of_decisions(self.task.decide(self.rows.truths, self.rows.predictions))
            )
        return replace(comparison, rates=rates, calibration=calibration[0] if calibration else None)

    @cached_property
    def _parts(self) -> list[ScoredRows]:
        return [self.rows.select(np.flatnonzero(self.codes == code)) for code in range(len(self.names))]

    @cached_property
    def _weighted(self) -> list[WeightedMetrics]:
        return [self.task.weighted(part.truths, part.predictions) for part in self._parts]

    def _is_defined(self, code: int) -> bool:
        """Whether a group has what the metric is about: of action units, a face on which one is active."""
        once = np.ones((1, len(self._parts[code])))
        return not np.isnan(self._weighted[code](once)[self.task.headline][0])

    def _measure_gap(self, comparison: GroupComparison, replicates: list[np.ndarray]) -> GroupComparison:
        """The comparison with the interval of its gap, and its test."""
        if self.resamples:
            ends = [replicates[self.names.index(name or "")] for name in (comparison.best, comparison.worst)]
            interval = Interval.of(
                ends[0] - ends[1] if self.task.higher_is_better else ends[1] - ends[0],
                subjects=min(self._subjects(name or "") for name in (comparison.best, comparison.worst)),
            )
            if interval is not None:
                comparison = replace(comparison, gap_low=interval.low, gap_high=interval.high)
        if self.permutations:
            compared = [self.names.index(score.group) for score in comparison.scores]
            kept = self.kept[np.isin(self.codes[self.kept], compared)]
            scheme = GroupShuffle(_renumbered(self.codes[kept]), _renumbered(self.clusters[kept])).scheme
            comparison = replace(comparison, p_value=self._metric_p_value(kept), scheme=scheme)
        return comparison

    def _replicates(self) -> list[np.ndarray]:
        """Bootstrap replicates of the headline metric per group, all from the same resampled subjects."""
        members = [np.flatnonzero(self.codes == code) for code in range(len(self.names))]
        collected: list[list[np.ndarray]] = [[] for _ in members]
        if self.resamples:
            for block in draw_weights(self.clusters, resamples=self.resamples, seed=self.seed):
                for group, chosen in enumerate(members):
                    collected[group].append(self._weighted[group](block[:, chosen])[self.task.headline])
        return [np.concatenate(values) if values else np.array([]) for values in collected]

    def _subjects(self, name: str) -> int:
        return len(np.unique(self.clusters[self.codes == self.names.index(name)]))

    def _metric_p_value(self, kept: np.ndarray) -> float:
        part = self.rows.select(kept)
        weighted = self.task.weighted(part.truths, part.predictions)
        scores = influence_of(weighted, self.task.headline, len(part))
        return self._test(scores[:, None], None, kept).p_value

    def _compare_rates(self, columns: RateColumns) -> tuple[RateGap, ...]:
        chosen = columns.usable(self.kept, self.codes)
        if not len(chosen):
            return ()
        p_values = None
        if self.permutations:
            scores, counted = columns.deviations(self.kept)[:, chosen], columns.counted[self.kept][:, chosen]
            p_values = self._test(scores, counted, self.kept).p_values
        codes = np.where(np.isin(np.arange(len(self.codes)), self.kept), self.codes, -1)
        names = self.names
        return compare_rates(
            columns, names, codes, self.clusters, chosen=chosen, p_values=p_values, resamples=self.resamples,
            seed=self.seed,
        )  # fmt: skip

    def _test(self, scores: np.ndarray, counted: np.ndarray | None, kept: np.ndarray) -> PermutationTest:
        return permutation_test(
            scores,
            _renumbered(self.codes[kept]),
            _renumbered(self.clusters[kept]),
            counted=counted,
            permutations=self.permutations,
            seed=self.seed,
        )


def _renumbered(numbers: np.ndarray) -> np.ndarray:
    """The same numbers from zero without gaps."""
    return np.unique(numbers, return_inverse=True)[1]
