"""Attack detection errors by ISO/IEC 30107-3: APCER of every kind of attack and the worst, BPCER, and trade-offs.

A presentation is called an attack where its score is at least the threshold. APCER is the share of attacks of one kind
(presentation attack instrument species) that are called genuine, BPCER the share of genuine ones that are called an
attack; the standard judges a system by its worst kind. Presentations without an answer are counted apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facekit.evaluation.metrics.roc import RocCurve

ALLOWED_APCER = (0.05, 0.1)


@dataclass(frozen=True)
class AttackErrors:
    """Errors at one threshold.

    Args:
        apcer: Attack presentation classification error rate by kind of attack.
        bpcer: Bona fide presentation classification error rate; NaN without genuine presentations.
    """

    apcer: dict[str, float]
    bpcer: float

    @property
    def worst_kind(self) -> str:
        """The kind of attack that passes most often; of several the first in alphabetical order."""
        return max(sorted(self.apcer), key=lambda kind: self.apcer[kind])

    @property
    def worst_apcer(self) -> float:
        """Its APCER, the one that the standard reports."""
        return self.apcer[self.worst_kind]

    @property
    def acer(self) -> float:
        """Average of the worst APCER and BPCER (in the standard until 2017, and still the field's usual number)."""
        return (self.worst_apcer + self.bpcer) / 2


def attack_errors(kinds: Sequence[str], called_attacks: Sequence[bool]) -> AttackErrors:
    """Count errors.

    Args:
        kinds: Kind of attack of each presentation; empty for a genuine one.
        called_attacks: What each is called.
    """
    names, called = np.array(kinds, dtype=object), np.asarray(called_attacks, dtype=bool)
    genuine = called[names == ""]
    return AttackErrors(
        {str(kind): float(1.0 - called[names == kind].mean()) for kind in sorted(set(kinds) - {""})},
        float(genuine.mean()) if len(genuine) else float("nan"),
    )


def bpcer_at(kinds: Sequence[str], scores: Sequence[float], apcer: float) -> tuple[float, float]:
    """The lowest BPCER where no kind of attack passes more often than allowed: BPCER20 at 5 %, BPCER10 at 10 %.

    Args:
        kinds: Kind of attack of each presentation; empty for a genuine one.
        scores: Higher for an attack.
        apcer: Greatest share of attacks of any kind that pass.

    Returns:
        BPCER and the threshold.
    """
    names, values = np.array(kinds, dtype=object), np.asarray(scores, dtype=float)
    threshold = min(_threshold_of(values[names == kind], apcer) for kind in set(kinds) - {""})
    return float((values[names == ""] >= threshold).mean()), threshold


def equal_error_rate(kinds: Sequence[str], scores: Sequence[float]) -> float:
    """Detection EER: where as many attacks of all kinds together pass as genuine presentations are called attacks."""
    return float(RocCurve.of([bool(kind) for kind in kinds], scores).equal_error_rate()[0])


def _threshold_of(attacks: np.ndarray, apcer: float) -> float:
    """The highest threshold below which at most this share of attacks lies."""
    return float(np.sort(attacks)[int(np.floor(apcer * len(attacks) + 1e-9))])
