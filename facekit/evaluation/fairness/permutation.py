"""Permutation tests of group differences, for groups that are constant within a subject, vary within it, or both.

What is shuffled follows the design. Where every subject belongs to one group, groups are shuffled among subjects; where
groups vary within a subject, they are shuffled within it; where subjects differ in their shares of groups besides, the
shares are also shuffled among subjects with about as many records. The statistic is divided by its standard error
over subjects, so that pictures of one person, and groups of other sizes or variances, raise no false alarms (Janssen
1997; Chung and Romano 2013), and a p-value is never below the one that the F distribution gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PERMUTATIONS = 1999
ENOUGH = 50
"""Shuffles that reach the observed statistic before a test stops early (Besag and Clifford 1991)."""
_BLOCK = 1 << 21
_CLOSE = 1e-9


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """What a test of one or several scores came to.

    Args:
        p_values: ``(L,)``, one per score, adjusted for the largest of L statistics (Westfall and Young 1993); NaN where
            a score does not vary.
    """

    p_values: np.ndarray

    @property
    def p_value(self) -> float:
        """Probability of differences as large in any of the scores, were groups irrelevant."""
        known = self.p_values[~np.isnan(self.p_values)]
        return float(known.min()) if len(known) else 1.0


class GroupShuffle:
    """The shuffles of groups that a design allows.

    Args:
        codes: ``(n,)`` group of each record, numbers from zero.
        clusters: ``(n,)`` subject of each record, numbers from zero.

    Attributes:
        scheme: ``among subjects``, ``within subjects``, or ``both``.
    """

    def __init__(self, codes: np.ndarray, clusters: np.ndarray) -> None:
        self.order = np.argsort(clusters, kind="stable")
        self.codes, self.clusters = codes[self.order], clusters[self.order]
        self.sizes = np.bincount(self.clusters).astype(float)  # (C,)
        self.starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(int)
        one_hot = (self.codes[:, None] == np.arange(codes.max() + 1)).astype(float)  # (n, G)
        self.shares = np.add.reduceat(one_hot, self.starts) / self.sizes[:, None]  # (C, G)
        varies = (self.shares.max(1) < 1)[self.clusters]
        self.varying = np.flatnonzero(varies)  # records of subjects with several groups
        self.strata = self._strata(bool(len(self.varying)))
        self.is_among = any(len(np.unique(self.shares[each], axis=0)) > 1 for each in self.strata)
        names = {(True, False): "among subjects", (False, True): "within subjects"}
        self.scheme = names.get((self.is_among, bool(len(self.varying))), "both")
        self.spread = one_hot - self.shares[self.clusters]  # (n, G), within subjects

    def _strata(self, is_varying: bool) -> list[np.ndarray]:
        """Subjects among whom shares of groups are shuffled: all, or of one power of two of records."""
        if not is_varying:
            return [np.arange(len(self.sizes))]
        power = np.floor(np.log2(self.sizes))
        return [np.flatnonzero(power == each) for each in np.unique(power)]

    def center(self, totals: np.ndarray) -> np.ndarray:
        """Scores of subjects ``(C, L)`` without the mean of their stratum, which no shuffle moves."""
        centered = totals.copy()
        for members in self.strata:
            centered[members] -= totals[members].mean(0)
        return centered

    def variances(self, centered: np.ndarray, within: np.ndarray) -> np.ndarray:
        """Variances ``(G, L)`` of group sums under shuffling, of centred subjects and records within subjects."""
        total = np.zeros((self.shares.shape[1], centered.shape[1]))
        for members in self.strata:
            shares = self.shares[members] - self.shares[members].mean(0)
            scale = max(1, len(members) - 1)
            total += np.outer((shares**2).sum(0), (centered[members] ** 2).sum(0)) / scale
        if len(self.varying):
            squares = np.add.reduceat(self.spread**2, self.starts)  # (C, G)
            moved = np.add.reduceat(within**2, self.starts) / np.maximum(self.sizes - 1, 1)[:, None]  # (C, L)
            total += squares.T @ moved
        return total

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Draw shuffles: subjects ``(count, C)`` whose shares are taken, and codes of the varying records."""
        places = np.broadcast_to(np.arange(len(self.sizes)), (count, len(self.sizes))).copy()
        for members in self.strata:
            places[:, members] = rng.permuted(places[:, members], axis=1)
        if not len(self.varying):
            return places, None
        keys = self.clusters[self.varying] + rng.random((count, len(self.varying)))
        return places, self.codes[self.varying][keys.argsort(axis=1)]

    def identity(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The groups as they are, in the form of ``draw``."""
        codes = self.codes[self.varying][None] if len(self.varying) else None
        return np.arange(len(self.sizes))[None], codes


class _Statistic:
    """Squared group sums in units of their variance over subjects, ``(R, L)`` for R shuffles."""

    def __init__(self, shuffle: GroupShuffle, scores: np.ndarray, counted: np.ndarray) -> None:
        self.shuffle = shuffle
        scores, counted = scores[shuffle.order], counted[shuffle.order]
        totals = np.add.reduceat(scores, shuffle.starts)  # (C, L)
        self.within = scores - (totals / shuffle.sizes[:, None])[shuffle.clusters]
        self.centered = shuffle.center(totals)
        self.counts = np.add.reduceat(counted, shuffle.starts)  # (C, L)
        mean = shuffle.shares.mean(0)
        scale = np.maximum(mean * (1 - mean), 1e-12)[:, None]
        self.expected = shuffle.variances(self.centered, self.within) / scale  # (G, L)
        varying = shuffle.varying
        self.moved = self.within[varying]
        self.owners, self.first = np.unique(shuffle.clusters[varying], return_index=True)

    def __call__(self, places: np.ndarray, codes: np.ndarray | None) -> np.ndarray:
        """Their sum over groups, ``(R, L)``: Pearson's statistic where every record is a subject."""
        return sum(self.by_group(places, codes), np.zeros((len(places), self.centered.shape[1])))

    def by_group(self, places: np.ndarray, codes: np.ndarray | None) -> Iterator[np.ndarray]:
        """What every group adds to the statistic."""
        size = np.maximum(self.counts.sum(0), 1)
        for group in range(self.shuffle.shares.shape[1]):
            shares = self.shuffle.shares[places, group]  # (R, C)
            part = shares @ self.counts / size  # (R, L), the group's share of the counted records
            sums = shares @ self.centered
            if codes is None:
                squares = self.centered**2
                variance = shares**2 @ squares - 2 * part * (shares @ squares) + part**2 * squares.sum(0)
            else:
                members = (codes == group)[:, :, None] * self.moved
                inner = np.add.reduceat(members, self.first, axis=1)  # (R, owners, L)
                subjects = (shares[:, :, None] - part[:, None, :]) * self.centered
                subjects[:, self.owners] += inner
                sums = sums + inner.sum(1)
                variance = (subjects**2).sum(1)
            variance = np.maximum(variance, self.expected[group] * part * (1 - part))
            yield np.divide((1 - part) * sums**2, variance, out=np.zeros_like(sums), where=variance > _CLOSE)

    def approximate_p_values(self) -> np.ndarray:
        """P-values ``(L,)`` by the F distribution, with as many subjects as carry the clearest group.

        Shuffles that mix subjects of very different weight understate the tails; this does not.
        """
        from scipy.stats import f

        parts = np.stack([part[0] for part in self.by_group(*self.shuffle.identity())])  # (G, L)
        shares, size = self.shuffle.shares, np.maximum(self.counts.sum(0), 1)
        weights = self.counts * (shares.T[:, :, None] - (shares.T @ self.counts / size)[:, None])  # (G, C, L)
        subjects = (weights**2).sum(1) ** 2 / np.maximum((weights**4).sum(1), _CLOSE)
        carried = np.take_along_axis(subjects, parts.argmax(0)[None], axis=0)[0]
        carried = np.maximum(carried, len(self.owners))
        between = max(1, len(parts) - 1)
        free, total = np.maximum(carried - 1 - between, 1), parts.sum(0)
        ratio = total / between * free / np.maximum(carried - 1 - total, _CLOSE)
        return f.sf(ratio, between, free)


def permutation_test(
    scores: np.ndarray,
    codes: np.ndarray,
    clusters: np.ndarray,
    *,
    counted: np.ndarray | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> PermutationTest:
    """Test whether scores differ between groups.

    Args:
        scores: ``(n, L)``; each column sums to zero.
        codes: ``(n,)`` group of each record, numbers from zero without gaps.
        clusters: ``(n,)`` subject of each record, numbers from zero without gaps. Records of a subject are taken to be
            exchangeable where groups vary within it.
        counted: Bool ``(n, L)``, the records that a score is about; all by default. A group's share of them is taken
            into account, so groups may differ in how many they have.
        permutations: Most shuffles; fewer where ``ENOUGH`` of them have reached the observed statistic.
        seed: Decides them.
    """
    shuffle = GroupShuffle(codes, clusters)
    counted = np.ones(scores.shape) if counted is None else counted.astype(float)
    statistic = _Statistic(shuffle, scores, counted)
    observed = statistic(*shuffle.identity())[0]
    varies = np.abs(scores).max(0, initial=0.0) > _CLOSE
    if not varies.any() or not permutations:
        return PermutationTest(np.where(varies, 1.0, np.nan))
    rng = np.random.default_rng((seed, 1))
    reached, done = np.zeros(len(observed), dtype=int), 0
    widest = max(len(codes), scores.shape[1] * (len(shuffle.varying) + len(shuffle.sizes)))
    rows = min(max(1, _BLOCK // widest), 2 * ENOUGH)
    while done < permutations and reached[varies].min() < ENOUGH:
        size = min(rows, permutations - done)
        largest = statistic(*shuffle.draw(rng, size))[:, varies].max(1)
        reached += (largest[:, None] >= observed * (1 - _CLOSE) - _CLOSE).sum(0)
        done += size
    shuffled = np.maximum((reached + 1) / (done + 1), statistic.approximate_p_values())
    return PermutationTest(np.where(varies, shuffled, np.nan))
