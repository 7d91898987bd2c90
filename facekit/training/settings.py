"""What a training run is told: steps, rates, parts, seed. Plain data, so that a recipe file can hold it.

The settings that decide what is learned are compared when a run is resumed; the others may change in between.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from facekit.errors import ConfigurationError

PARTS = ("encoder", "connector", "language_model")
Part = Literal["encoder", "connector", "language_model"]

_MAY_CHANGE = frozenset({"save_every", "keep_checkpoints", "log_every", "threads", "cache_pictures"})


class TrainingSettings(BaseModel):
    """Settings of one training run.

    Attributes:
        steps: Optimiser steps; give either this or ``epochs``.
        epochs: Passes over the records.
        batch_size: Examples per device and step.
        accumulation: Batches whose gradients make one step.
        learning_rate: Peak rate of the connector and the language model.
        encoder_learning_rate: Peak rate of the encoder where it is trained; None for ``learning_rate``.
        weight_decay: Of AdamW, on matrices only.
        betas: Of AdamW.
        warmup: Share of the steps in which the rate rises; afterwards it falls on a cosine to zero.
        gradient_clipping: Largest gradient norm; 0 for none.
        parts: What is trained, of ``PARTS``; the rest stays as it is.
        precision: ``float32``, or ``bfloat16`` for automatic mixed precision.
        gradient_checkpointing: Trade time for memory.
        shuffle_turns: Reorder the questions of a conversation in every epoch.
        independent_turns: Let no question about an image see another's answer, as at inference; see
            ``facekit.data.packing``. Needs the ``sdpa`` attention of transformers.
        turns_per_example: Questions kept per example and epoch; None for all.
        landmark_noise: Standard deviation of noise on the landmarks, as a fraction of the picture.
        landmark_dropout: Share of examples whose landmarks are withheld.
        max_tokens: Longest sequence.
        cache_pictures: Keep prepared pictures in memory; None where they need less than 2 GiB.
        cache_features: Encode every picture once and train on the kept tokens; needs a frozen encoder and one
            process.
        save_every: Steps between checkpoints; None for a tenth of the run.
        keep_checkpoints: How many checkpoints stay on disk.
        log_every: Steps between entries of the loss history; None for about two hundred entries.
        threads: CPU threads; None for ``OMP_NUM_THREADS`` where it is set, else all cores.
        seed: Seed of all chance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0.0)
    batch_size: int = Field(default=32, ge=1)
    accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0, lt=1.0)
    encoder_learning_rate: float | None = Field(default=None, gt=0.0, lt=1.0)
    weight_decay: float = Field(default=0.01, ge=0.0, lt=1.0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = Field(default=0.03, ge=0.0, le=1.0)
    gradient_clipping: float = Field(default=1.0, ge=0.0)
    parts: tuple[Part, ...] = ("connector", "language_model")
    precision: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    shuffle_turns: bool = True
    independent_turns: bool = False
    turns_per_example: int | None = Field(default=None, ge=1)
    landmark_noise: float = Field(default=0.0, ge=0.0, lt=1.0)
    landmark_dropout: float = Field(default=0.0, ge=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=1)
    cache_pictures: bool | None = None
    cache_features: bool = False
    save_every: int | None = Field(default=None, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    log_every: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=1 << 32)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            message = problem["msg"].removeprefix("Value error, ")
            name = ".".join(str(place) for place in problem["loc"])
            where = f"training setting '{name}': {message} (got {problem['input']!r})" if name else message
            raise ConfigurationError(where) from error

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("training needs its length: give either steps or epochs")
        if not self.parts or len(set(self.parts)) != len(self.parts):
            raise ValueError(f"parts names at least one of {', '.join(PARTS)}, each once")
        if self.encoder_learning_rate is not None and "encoder" not in self.parts:
            raise ValueError("encoder_learning_rate is set but 'encoder' is not among the trained parts")
        if self.cache_features and "encoder" in self.parts:
            raise ValueError("cache_features needs a frozen encoder; leave 'encoder' out of the trained parts")
        return self

    def differences(self, other: dict[str, Any]) -> list[str]:
        """What a run with ``other`` settings, as ``model_dump(mode="json")`` has them, would have learned otherwise.

        Returns:
            Sentences such as ``"learning_rate was 0.001 and is 0.002"``; none where a run may go on.
        """
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        before = {**defaults, **other}
        return [
            f"{name} was {before[name]!r} and is {value!r}"
            for name, value in self.model_dump(mode="json").items()
            if name not in _MAY_CHANGE and before[name] != value
        ]
