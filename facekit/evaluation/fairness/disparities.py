"""Fairness: metrics by demographic group, gaps with intervals and permutation tests, equalised odds.

A gap between groups is never zero in a sample, so it is reported as a disparity only if shuffling the groups among the
subjects rarely makes one as large (a permutation test), after correction for the number of tests in the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from facekit.data.records import FaceRecord
from facekit.evaluation.metrics.intervals import RESAMPLES, Interval, draw_weights, number_clusters, replicate
from facekit.evaluation.metrics.weighted import Decisions
from facekit.evaluation.report.results import SMALLEST_GROUP, GroupComparison, GroupScore, OddsDifference
from facekit.evaluation.tasks.definitions import Task

PERMUTATIONS = 1999
SUBJECT_KEYS = ("subject", "person", "actor")
"""Entries of a record's ``source`` that say who is in the picture."""

_BLOCK = 1 << 21
_JOINT = " × "


@dataclass(frozen=True, eq=False)
class ScoredRows:
    """A task's answers to the records that have its label.

    Args:
        records: The records.
        truths: Their labels.
        predictions: What was read from the answers.
    """

    records: Sequence[FaceRecord]
    truths: Sequence[Any]
    predictions: Sequence[Any]

    def __len__(self) -> int:
        return len(self.records)

    def select(self, indices: np.ndarray) -> ScoredRows:
        """The rows at these indices."""
        return ScoredRows(*([column[i] for i in indices] for column in (self.records, self.truths, self.predictions)))


def subject_of(record: FaceRecord) -> str:
    """Who is in the picture, where the record's source says so (``SUBJECT_KEYS``), else the record by itself."""
    source = record.source if isinstance(record.source, dict) else {}
    subject = next((source[key] for key in SUBJECT_KEYS if source.get(key) is not None), None)
    return record.id if subject is None else f"{source.get('dataset', '')}/{subject}"


def group_codes(records: Sequence[FaceRecord], attribute: str) -> tuple[list[str], np.ndarray]:
    """Names of an attribute's groups in alphabetical order, and each record's group as their index, -1 for none.

    Args:
        records: The records.
        attribute: A key of their ``groups``, or several joined by `` × `` for the groups where they cross.
    """
    keys = attribute.split(_JOINT)
    held = [
        ", ".join(record.groups[key] for key in keys) if all(key in record.groups for key in keys) else None
        for record in records
    ]
    names = sorted({name for name in held if name is not None})
    codes = {name: index for index, name in enumerate(names)}
    return names, np.array([-1 if name is None else codes[name] for name in held])


def compare_groups(
    task: Task,
    rows: ScoredRows,
    *,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> tuple[GroupComparison, ...]:
    """Compare a task's headline metric between the groups of every attribute of the records.

    Args:
        task: The task.
        rows: Its answers.
        resamples: Bootstrap replicates; 0 leaves intervals out.
        permutations: Shuffles of the groups; 0 leaves the tests out.
        seed: Decides both.

    Returns:
        One comparison per attribute, in alphabetical order.
    """
    attributes = sorted({name for record in rows.records for name in record.groups})
    return tuple(
        _compare(task, rows, attribute, resamples=resamples, permutations=permutations, seed=seed)
        for attribute in attributes
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
    attributes = sorted({name for record in rows.records for name in record.groups})
    return tuple(
        _compare(task, rows, _JOINT.join(pair), resamples=resamples, permutations=0, seed=seed)
        for pair in combinations(attributes, 2)
    )


def _compare(
    task: Task, rows: ScoredRows, attribute: str, *, resamples: int, permutations: int, seed: int
) -> GroupComparison:
    names, codes = group_codes(rows.records, attribute)
    clusters = number_clusters([subject_of(record) for record in rows.records])
    replicates = _replicate_groups(task, rows, len(names), codes, clusters, resamples, seed)
    scores = []
    for code, name in enumerate(names):
        part = rows.select(np.flatnonzero(codes == code))
        value = task.score(part.truths, part.predictions)[task.headline]
        interval = Interval.of(replicates[code]) if resamples else None
        low, high = (interval.low, interval.high) if interval else (None, None)
        scores.append(GroupScore(name, len(part), value, low, high))
    comparison = GroupComparison.of(attribute, scores, higher_is_better=task.higher_is_better)
    if comparison.gap is None:
        return comparison
    if resamples:
        ends = [replicates[names.index(name or "")] for name in (comparison.best, comparison.worst)]
        difference = ends[0] - ends[1] if task.higher_is_better else ends[1] - ends[0]
        interval = Interval.of(difference)
        if interval is not None:
            comparison = replace(comparison, gap_low=interval.low, gap_high=interval.high)
    compared = np.flatnonzero([score.count >= SMALLEST_GROUP for score in scores])
    if permutations:
        p_value = _permutation_p_value(task, rows, codes, compared, clusters, permutations, seed)
        comparison = replace(comparison, p_value=p_value)
    if task.decide is not None:
        decisions = task.decide(rows.truths, rows.predictions)
        odds = _compare_odds(decisions, names, codes, compared, clusters, resamples, permutations, seed)
        comparison = replace(comparison, odds=odds)
    return comparison


def _replicate_groups(
    task: Task, rows: ScoredRows, groups: int, codes: np.ndarray, clusters: np.ndarray, resamples: int, seed: int
) -> list[np.ndarray]:
    """Bootstrap replicates of the headline metric per group, all from the same resampled subjects."""
    members = [np.flatnonzero(codes == code) for code in range(groups)]
    parts = [rows.select(chosen) for chosen in members]
    weighted = [task.weighted(part.truths, part.predictions) for part in parts]
    collected: list[list[np.ndarray]] = [[] for _ in range(groups)]
    if resamples:
        for block in draw_weights(clusters, resamples=resamples, seed=seed):
            for group, chosen in enumerate(members):
                collected[group].append(weighted[group](block[:, chosen])[task.headline])
    return [np.concatenate(values) if values else np.array([]) for values in collected]


def _shuffled_codes(codes: np.ndarray, clusters: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Groups shuffled among subjects, ``(count, n)``; a subject keeps its records together."""
    of_cluster = np.zeros(int(clusters.max()) + 1, dtype=codes.dtype)
    of_cluster[clusters] = codes
    rng = np.random.default_rng((seed, 1))
    shuffled = rng.permuted(np.broadcast_to(of_cluster, (count, len(of_cluster))), axis=1)
    return shuffled[:, clusters]


def _permutation_p_value(
    task: Task,
    rows: ScoredRows,
    codes: np.ndarray,
    compared: np.ndarray,
    clusters: np.ndarray,
    permutations: int,
    seed: int,
) -> float:
    """Probability of a spread between groups, in squares weighed by group size, as large as the observed one."""
    chosen = np.flatnonzero(np.isin(codes, compared))
    part, codes, clusters = rows.select(chosen), codes[chosen], _renumber(clusters[chosen])
    weighted = task.weighted(part.truths, part.predictions)
    overall = weighted(np.ones((1, len(part))))[task.headline]

    def spread(shuffled: np.ndarray) -> np.ndarray:
        total = np.zeros(len(shuffled))
        for code in compared:
            members = (shuffled == code).astype(float)
            values = weighted(members)[task.headline]
            total += np.nan_to_num(members.sum(1) * (values - overall) ** 2)
        return total

    return _chance_of(spread, codes, clusters, permutations, seed)


def _compare_odds(
    decisions: Decisions,
    names: Sequence[str],
    codes: np.ndarray,
    compared: np.ndarray,
    clusters: np.ndarray,
    resamples: int,
    permutations: int,
    seed: int,
) -> OddsDifference | None:
    """Equalised-odds difference (Hardt et al. 2016): the largest gap of a true or false positive rate."""
    strata = np.concatenate(
        [decisions.known & decisions.truths, decisions.known & ~decisions.truths], axis=1
    )  # (n, 2 L): true, then false
    chosen = np.concatenate([decisions.predictions, decisions.predictions], axis=1)
    members = np.stack([codes == code for code in compared]).astype(float)  # (G, n)
    counts = members @ strata
    rates = np.divide(members @ (strata & chosen), counts, out=np.full(counts.shape, np.nan), where=counts > 0)
    rates[counts < SMALLEST_GROUP] = np.nan
    usable = (~np.isnan(rates)).sum(0) >= 2
    if not usable.any():
        return None
    gaps = np.where(usable, np.nanmax(rates, 0, initial=0.0) - np.nanmin(rates, 0, initial=1.0), -1.0)
    column = int(gaps.argmax())
    high, low = int(np.nanargmax(rates[:, column])), int(np.nanargmin(rates[:, column]))
    kind = "true positive rate" if column < len(decisions.labels) else "false positive rate"
    label = decisions.labels[column % len(decisions.labels)]
    odds = OddsDifference(float(gaps[column]), label, kind, names[compared[high]], names[compared[low]])
    stratum, right = strata[:, column].astype(float), chosen[:, column] & strata[:, column]
    if resamples:

        def difference(weights: np.ndarray) -> dict[str, np.ndarray]:
            ends = []
            for group in (high, low):
                held = weights * members[group]
                size = held @ stratum
                ends.append(np.divide(held @ right, size, out=np.full(len(held), np.nan), where=size > 0))
            return {"difference": ends[0] - ends[1]}

        interval = Interval.of(
            replicate(difference, draw_weights(clusters, resamples=resamples, seed=seed))["difference"]
        )
        if interval is not None:
            odds = replace(odds, low=interval.low, high=interval.high)
    if permutations:
        p_value = _odds_p_value(strata[:, usable], chosen[:, usable], codes, compared, clusters, permutations, seed)
        odds = replace(odds, p_value=p_value)
    return odds


def _odds_p_value(
    strata: np.ndarray,
    chosen: np.ndarray,
    codes: np.ndarray,
    compared: np.ndarray,
    clusters: np.ndarray,
    permutations: int,
    seed: int,
) -> float:
    """Probability of decisions that differ as much between groups among records of equal truth.

    The statistic adds, over decisions, truths and groups, the squared sum of what the decisions deviate from their mean
    among the records of that truth, divided by its variance, as in a chi-square test of homogeneity.
    """
    kept = np.flatnonzero(np.isin(codes, compared))
    strata, chosen, codes, clusters = strata[kept].astype(float), chosen[kept], codes[kept], _renumber(clusters[kept])
    means = (strata * chosen).sum(0) / np.maximum(strata.sum(0), 1)
    deviations = strata * (chosen - means)
    variances = means * (1 - means)
    varying = variances > 0
    deviations, strata, variances = deviations[:, varying], strata[:, varying], variances[varying]

    def spread(shuffled: np.ndarray) -> np.ndarray:
        total = np.zeros(len(shuffled))
        for code in compared:
            members = (shuffled == code).astype(float)
            total += ((members @ deviations) ** 2 / np.maximum(members @ strata, 1.0) / variances).sum(1)
        return total

    return _chance_of(spread, codes, clusters, permutations, seed)


def _chance_of(spread: Any, codes: np.ndarray, clusters: np.ndarray, permutations: int, seed: int) -> float:
    """Share of shuffles, the observed assignment among them, whose spread is at least the observed one."""
    observed = spread(codes[None])[0]
    reached, done = 1, 0
    rows = max(1, _BLOCK // len(codes))
    while done < permutations:
        size = min(rows, permutations - done)
        reached += int((spread(_shuffled_codes(codes, clusters, size, seed + done)) >= observed - 1e-12).sum())
        done += size
    return reached / (permutations + 1)


def _renumber(clusters: np.ndarray) -> np.ndarray:
    return np.unique(clusters, return_inverse=True)[1]
