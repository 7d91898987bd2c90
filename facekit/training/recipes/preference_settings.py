"""Settings of learning from rewards (GRPO) and from pairs (DPO), parts of ``TrainingSettings``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

RewardName = Literal["face", "verification", "format"]
RewardWeight = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


def _face_alone() -> dict[RewardName, float]:
    return {"face": 1.0}


def _without_zeros(rewards: dict[RewardName, float]) -> dict[RewardName, float]:
    """Leave out what counts nothing, as an override says it of a reward that a recipe names."""
    kept = {name: weight for name, weight in rewards.items() if weight > 0.0}
    if rewards and not kept:
        raise ValueError("at least one reward has a weight above 0")
    return kept


class GroupSettings(BaseModel):
    """Group-relative policy optimisation (GRPO, Shao et al. 2024, arXiv 2402.03300, section 4.1), by TRL's trainer.

    The model answers each question several times; answers are rewarded by the record's labels, and those above the
    mean of their group become likelier.

    Attributes:
        rewards: Names of ``facekit.training.rewards.REWARDS`` and their weights; 0 leaves one out.
        generations: Answers to each question; ``batch_size`` counts answers, and is a multiple of it over a step.
        longest_answer: In tokens.
        temperature: Of the answers that are drawn.
        top_p: Share of the likeliest tokens that are drawn from.
        iterations: Steps on the same answers.
        beta: Weight of the divergence from the model before; 0 for none, which needs no reference model.
        epsilon: Clips the ratio of likelihoods to 1 ± epsilon.
        loss: How losses of tokens are averaged; see TRL's ``loss_type``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rewards: Annotated[dict[RewardName, RewardWeight], AfterValidator(_without_zeros), Field(min_length=1)] = Field(
        default_factory=_face_alone
    )
    generations: int = Field(default=8, ge=2)
    longest_answer: int = Field(default=128, ge=1)
    temperature: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    iterations: int = Field(default=1, ge=1)
    beta: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    epsilon: float = Field(default=0.2, gt=0.0, lt=1.0)
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = "dapo"


class PairSettings(BaseModel):
    """Direct preference optimisation (DPO, Rafailov et al. 2023, arXiv 2305.18290, section 4), by TRL's trainer.

    Attributes:
        pairs: A file of pairs; see ``facekit.training.preferences.pairs``.
        generated: Instead, two or more folders of data generation about the same records; of each question the best
            kept answer is chosen and the worst is rejected.
        margin: By how many points of the judge's rating two kept answers differ at least to be a pair.
        beta: How closely the model stays to the one before.
        loss: ``sigmoid`` is DPO's; ``ipo`` and ``hinge`` as TRL has them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    pairs: Path | None = None
    generated: tuple[Path, ...] = ()
    margin: float = Field(default=1.0, gt=0.0, allow_inf_nan=False)
    beta: float = Field(default=0.1, gt=0.0, allow_inf_nan=False)
    loss: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"

    @model_validator(mode="after")
    def _at_most_one_origin(self) -> Self:
        if self.pairs is not None and self.generated:
            raise ValueError("name a file of 'pairs', or the folders of 'generated' answers, not both")
        return self
