"""Verifiable rewards: what an answer about a face is worth, by the record's own labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.training.rewards.columns import REWARDS, face_reward, format_reward, verification_reward
    from facekit.training.rewards.guards import find_hack
    from facekit.training.rewards.scoring import (
        score_age,
        score_answer,
        score_attributes,
        score_expression,
        score_format,
        score_manipulation,
        score_units,
        score_verification,
    )

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "columns": ["REWARDS", "face_reward", "format_reward", "verification_reward"],
        "guards": ["find_hack"],
        "scoring": [
            "score_age",
            "score_answer",
            "score_attributes",
            "score_expression",
            "score_format",
            "score_manipulation",
            "score_units",
            "score_verification",
        ],
    },
)
