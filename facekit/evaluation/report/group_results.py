"""Results by demographic group as plain data: scores, error rates, comparisons and the disparities among them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

SMALLEST_GROUP = 10
"""Groups of fewer faces are listed but not compared: their scores are mostly noise."""

FALSE_POSITIVE, FALSE_NEGATIVE, OVERCONFIDENCE = "false positive rate", "false negative rate", "overconfidence"
"""Rates that are compared between groups; the group with the higher one is the one that is harmed."""


@dataclass(frozen=True)
class GroupScore:
    """One number for one demographic group: a task's headline metric, or a rate.

    Args:
        group: The group's name, such as ``senior``.
        count: Faces of the group that it is about.
        value: The number.
        low: Lower end of its 95 % interval; None where none was computed.
        high: Upper end.
    """

    group: str
    count: int
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def is_small(self) -> bool:
        """Whether the group is too small to be compared."""
        return self.count < SMALLEST_GROUP


@dataclass(frozen=True)
class RateGap:
    """A rate of one label by group; of every rate more is worse.

    Args:
        rate: ``FALSE_POSITIVE``, the label is claimed where it is not so; ``FALSE_NEGATIVE``, it is missed where it is
            so; or ``OVERCONFIDENCE``, mean probability of the answers minus the share of them that is right.
        label: The label; empty for overconfidence.
        words: How it is said, with ``{people}`` for the group; see ``DecisionWords``.
        scores: The groups in alphabetical order.
        worse: The group with the highest rate, of those with ``SMALLEST_GROUP`` such faces: the one that is harmed.
        better: The group with the lowest rate.
        gap: Difference of the two, not negative.
        low: Lower end of the 95 % interval of the difference between these two; None where none was computed.
        high: Upper end.
        p_value: Probability of a difference as large, were groups irrelevant, adjusted for all rates that are compared
            beside it (largest statistic of each shuffle); None where it was not tested.
    """

    rate: str
    label: str
    words: str
    scores: tuple[GroupScore, ...]
    worse: str
    better: str
    gap: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None

    def value_of(self, group: str) -> float:
        """The rate of a group."""
        return next(score.value for score in self.scores if score.group == group)


@dataclass(frozen=True)
class GroupComparison:
    """One task's headline metric and error rates over the groups of one attribute.

    Args:
        attribute: What the groups differ in, such as ``age_group``.
        scores: The groups in alphabetical order.
        worst: Name of the group with the worst score, of those with ``SMALLEST_GROUP`` faces; None below two such.
        best: Name of the group with the best score.
        gap: Difference between the two, not negative.
        gap_low: Lower end of the 95 % interval of the difference between these two; None where none was computed.
        gap_high: Upper end.
        p_value: Probability of so large a spread between the groups, were they irrelevant.
        rates: False positive and false negative rates of every label with enough faces in two groups; empty where a
            task has no yes-or-no decisions.
        calibration: Overconfidence; None where answers have no probabilities.
        scheme: What the tests shuffled: groups ``among subjects``, ``within subjects``, or ``both``; empty where
            nothing was tested.
    """

    attribute: str
    scores: tuple[GroupScore, ...]
    worst: str | None
    best: str | None
    gap: float | None
    gap_low: float | None = None
    gap_high: float | None = None
    p_value: float | None = None
    rates: tuple[RateGap, ...] = ()
    calibration: RateGap | None = None
    scheme: str = ""

    @property
    def too_small(self) -> tuple[str, ...]:
        """Names of the groups that are listed but not compared."""
        return tuple(score.group for score in self.scores if score.is_small)

    @property
    def odds(self) -> RateGap | None:
        """The equalised-odds difference (Hardt et al. 2016): the largest gap of an error rate.

        A gap of true positive rates is that of false negative rates, which says who is harmed.
        """
        return max(self.rates, key=lambda rate: rate.gap, default=None)

    @classmethod
    def of(cls, attribute: str, scores: Sequence[GroupScore], *, higher_is_better: bool) -> Self:
        """Compare the groups that are large enough."""
        ordered = tuple(sorted(scores, key=lambda score: score.group))
        compared = sorted((score for score in ordered if score.count >= SMALLEST_GROUP), key=lambda score: score.value)
        if len(compared) < 2:
            return cls(attribute, ordered, None, None, None)
        low, high = compared[0], compared[-1]
        worst, best = (low, high) if higher_is_better else (high, low)
        return cls(attribute, ordered, worst.group, best.group, high.value - low.value)

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Self:
        """A comparison from its entry in ``metrics.json``."""
        values = {**entry, "scores": tuple(GroupScore(**score) for score in entry["scores"])}
        rates = [*entry.get("rates", ()), *_older_odds(values.pop("odds", None))]
        values["rates"] = tuple(map(_read_rate, rates))
        calibration = entry.get("calibration")
        return cls(**{**values, "calibration": None if calibration is None else _read_rate(calibration)})


def _read_rate(entry: dict[str, Any]) -> RateGap:
    return RateGap(**{**entry, "scores": tuple(GroupScore(**score) for score in entry["scores"])})


def _older_odds(entry: dict[str, Any] | None) -> list[dict[str, Any]]:
    """What facekit 0.1 kept of equalised odds, without the groups' rates: one rate of one label."""
    if entry is None:
        return []
    is_missed = entry["rate"] == "true positive rate"
    worse, better = (entry["lower"], entry["higher"]) if is_missed else (entry["higher"], entry["lower"])
    kept = {name: entry.get(name) for name in ("label", "low", "high", "p_value")}
    rate = FALSE_NEGATIVE if is_missed else FALSE_POSITIVE
    return [{**kept, "rate": rate, "words": "", "scores": (), "worse": worse, "better": better, "gap": entry["value"]}]


@dataclass(frozen=True)
class Disparity:
    """A significant difference between groups.

    Args:
        task: Name of the task.
        attribute: What the groups differ in.
        kind: ``metric``, ``odds`` for an error rate (equalised odds), or ``calibration``.
        value: The gap.
        low: Lower end of its 95 % interval.
        high: Upper end.
        worst: The group that fares worst: with the worst metric, or the higher error rate or overconfidence.
        best: The group that fares best.
        p_value: Adjusted for the number of tests (Holm).
        rate: Which rate, see ``RateGap``; empty for the metric.
        label: Of which label; empty for the metric and for calibration.
    """

    task: str
    attribute: str
    kind: str
    value: float
    low: float | None
    high: float | None
    worst: str
    best: str
    p_value: float
    rate: str = ""
    label: str = ""


def disparity_of_rate(task: str, attribute: str, kind: str, gap: RateGap, p_value: float) -> Disparity:
    """A gap of a rate as a disparity."""
    return Disparity(
        task, attribute, kind, gap.gap, gap.low, gap.high, gap.worse, gap.better, p_value, gap.rate, gap.label
    )


def disparity_of_metric(task: str, comparison: GroupComparison, p_value: float) -> Disparity:
    """A gap of the headline metric as a disparity."""
    return Disparity(
        task,
        comparison.attribute,
        "metric",
        comparison.gap or 0.0,
        comparison.gap_low,
        comparison.gap_high,
        comparison.worst or "",
        comparison.best or "",
        p_value,
    )
