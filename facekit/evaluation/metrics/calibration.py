"""Calibration: reliability bins and expected calibration error from option likelihoods.

The probability of an answer is the softmax of the options' log-likelihoods; answers are gathered in bins of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 10


@dataclass(frozen=True)
class CalibrationBin:
    """Answers of about the same probability.

    Args:
        low: Where the bin begins, between 0 and 1.
        high: Where it ends; it belongs to the bin.
        count: Answers in it, at least one.
        confidence: Their mean probability.
        accuracy: The share of them that is right.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How far probabilities are from shares of right answers.

    Args:
        count: Answers with scores.
        confidence: Their mean probability.
        accuracy: The share of them that is right.
        expected_error: Expected calibration error: the mean over answers of the difference between the confidence and
            the accuracy of their bin (Guo et al. 2017, equation 3).
        bins: Those with answers, in order.
    """

    count: int
    confidence: float
    accuracy: float
    expected_error: float
    bins: tuple[CalibrationBin, ...]


def measure_calibration(entries: Iterable[Mapping[str, Any]], bins: int = BINS) -> Calibration | None:
    """Measure the calibration of predictions with scores.

    Args:
        entries: Entries of ``predictions.jsonl``, with ``truth`` and ``prediction`` in words, and with ``scores``, the
            log-likelihood of each option; those without scores are left out.
        bins: Number of bins of equal width.

    Returns:
        None where no entry has scores.
    """
    scored = [entry for entry in entries if entry.get("scores")]
    if not scored:
        return None
    confidence = np.array([confidence_of(entry["scores"]) for entry in scored])
    right = np.array([entry["prediction"] == entry["truth"] for entry in scored], dtype=float)
    indices = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    found = tuple(
        CalibrationBin(
            low=int(index) / bins,
            high=(int(index) + 1) / bins,
            count=int((indices == index).sum()),
            confidence=float(confidence[indices == index].mean()),
            accuracy=float(right[indices == index].mean()),
        )
        for index in np.unique(indices)
    )
    error = sum(each.count * abs(each.confidence - each.accuracy) for each in found) / len(scored)
    return Calibration(len(scored), float(confidence.mean()), float(right.mean()), error, found)


def confidence_of(scores: Mapping[str, float]) -> float:
    """Probability of the most likely option: the softmax of log-likelihoods."""
    values = np.array(list(scores.values()), dtype=float)
    return float(1.0 / np.exp(values - values.max()).sum())
