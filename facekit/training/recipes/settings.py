"""Training settings: steps, rates, parts and seed, as plain data that a recipe file can hold.

The settings that decide what is learned are compared when a run is resumed; the others may change in between.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from facekit.data.identity import list_differences
from facekit.errors import ConfigurationError
from facekit.training.recipes.preference_settings import GroupSettings, PairSettings

Part = Literal[
    "encoder", "connector", "language_model", "connector.projector", "connector.region", "language_model.lora"
]
TRAINABLE: tuple[str, ...] = get_args(Part)
"""What can be named to be trained: whole parts, the connector's projector, FRLP and FRGCA (``connector.region``), or
adapters of the language model (``language_model.lora``); ``llm`` is short for ``language_model``."""

Schedule = Literal[
    "cosine", "linear", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt", "cosine_with_restarts",
    "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay",
]  # fmt: skip
"""Those of transformers that need nothing but the number of steps."""

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]

_MAY_CHANGE = frozenset(
    {
        "save_every", "keep_checkpoints", "log_every", "report_to", "threads", "workers", "cache_pictures",
        "skip_limit",
        "gradient_checkpointing", "torch_compile", "device", "logits", "fused_loss", "feature_cache",
        "feature_cache_bytes",
    }
)  # fmt: skip


class LoraSettings(BaseModel):
    """Low-rank adapters of the language model (Hu et al. 2021, section 4); the defaults are FaceLLM's.

    Attributes:
        rank: Of the two factors.
        alpha: Their product is scaled by ``alpha / rank``.
        dropout: Of the adapter's input.
        targets: Names of the adapted modules, or ``all-linear``: those of attention and MLP in every layer. Only
            modules of the language model are adapted, whatever the encoder and the connector name theirs.
        rslora: Scale by ``alpha / sqrt(rank)`` (Kalajdzievski 2023, arXiv 2312.03732), for high ranks.
        dora: Train the length of every column by itself (DoRA, Liu et al. 2024, arXiv 2402.09353).
        init: First weights: ``default``, where the adapters change nothing; or ``pissa``, the largest singular values
            of the weights (Meng et al. 2024, arXiv 2404.02948), or ``pissa_niter_N`` for a fast SVD of N iterations.
            What is saved after ``pissa`` are ordinary adapters of twice the rank, on the weights as they were.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    rank: int = Field(default=16, ge=1)
    alpha: int = Field(default=32, ge=1)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    targets: Literal["all-linear"] | tuple[str, ...] = "all-linear"
    rslora: bool = False
    dora: bool = False
    init: Annotated[str, Field(pattern=r"^(default|pissa|pissa_niter_[1-9]\d*)$")] = "default"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dora and self.init != "default":
            raise ValueError("dora and init='pissa' both decompose the weights; choose one")
        return self

    @model_serializer(mode="wrap")
    def _without_new_defaults(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Write as before what says nothing new, so that runs of earlier versions can be resumed."""
        new = {"rslora": False, "dora": False, "init": "default"}
        return {name: value for name, value in serialize(self).items() if name not in new or value != new[name]}


class TrainingSettings(BaseModel):
    """Settings of one training run.

    Attributes:
        steps: Optimiser steps; give either this or ``epochs``.
        epochs: Passes over the records.
        batch_size: Examples per device and step.
        accumulation: Batches whose gradients make one step.
        learning_rate: Peak rate of the connector and the language model.
        encoder_learning_rate: Peak rate of the encoder where it is trained; None for ``learning_rate``.
        learning_rates: Peak rates of parts that have one of their own, by names of ``TRAINABLE``; of two names that a
            parameter goes by the finer one counts.
        weight_decay: Of AdamW, on matrices only.
        betas: Of AdamW.
        optimizer: ``adamw``; ``muon`` for matrices, with AdamW for the rest; or the name of one that transformers'
            trainer knows, such as ``adamw_8bit``, ``paged_adamw_8bit`` (bitsandbytes) or ``adafactor``.
        schedule: How the rate goes on after the warm-up, by the names of transformers' ``lr_scheduler_type``; by
            default it falls on a cosine to zero.
        schedule_options: What the schedule takes beside, such as ``min_lr_rate`` of ``cosine_with_min_lr``.
        warmup: Share of the steps, rounded down to whole ones, in which the rate rises.
        gradient_clipping: Largest gradient norm; 0 for none.
        parts: What is trained, of ``TRAINABLE``; the rest stays as it is.
        grpo: Learn from rewards for the model's own answers instead of from the records' answers.
        dpo: Learn from pairs of answers instead.
        lora: The adapters, where ``language_model.lora`` is trained. They are merged into the saved model, and saved
            in the layout of PEFT beside it.
        precision: ``float32``, or ``bfloat16`` for automatic mixed precision.
        gradient_checkpointing: Compute activations again in the backward pass: about a third more time, and only one
            layer's activations in memory.
        torch_compile: Compile the layers of the language model by ``torch.compile``; ``true`` for its default backend,
            or the name of another. The loss is the same but for rounding. Needs a C++ compiler on the CPU and Triton on
            a GPU; not for sharded or packed weights.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or another; None for an accelerator where there is one. In a run
            of several processes each has its own.
        loss_average: ``token``: the mean over the labelled tokens of a step, so that long answers weigh more.
            ``sample``: the mean over its samples of the mean over each one's tokens. A sample is a conversation, or a
            question where ``independent_turns`` is set.
        logits: ``labelled``: compute the logits of the tokens that have a label only; the loss is the same. ``all``:
            of every token, as the language model does by itself.
        fused_loss: Never hold the logits, by Liger's fused linear cross-entropy; needs a GPU and ``liger-kernel``.
        shuffle_turns: Reorder the questions of a record in every epoch, where the record says that they stand alone
            (``independent_questions``); a dialogue keeps its order.
        independent_turns: Let no question about an image see another's answer, as at inference, where the record says
            that they stand alone; a dialogue keeps its context. See ``facekit.data.packing``. Needs attention of the
            kind ``sdpa``, ``flex_attention`` or ``eager``.
        row_tokens: Put several examples of a batch into one row of up to so many tokens, none of which sees another;
            None for one example a row, padded to the longest.
        group_batches: Put examples with as many frames and of similar length into a batch; other batches are
            drawn at random.
        turns_per_example: Questions kept per example and epoch, of a dialogue the first ones; None for all.
        landmark_noise: Standard deviation of noise on the landmarks, as a fraction of the picture.
        landmark_dropout: Share of examples whose landmarks are withheld.
        max_tokens: Longest sequence; None for the language model's context. Questions that do not fit are left out,
            the same ones in every epoch, counted and listed.
        cache_pictures: Keep prepared pictures in memory; None where they need less than 2 GiB.
        cache_features: Encode every picture once and train on the kept tokens; needs a frozen encoder and one
            process.
        feature_cache: Folder in which the tokens of frozen encoders are kept, of pictures and of clips of any length,
            for this run and others; see ``facekit preprocess --features``. Those that are not there are computed when
            they are first needed.
        feature_cache_bytes: Most bytes of it. Where there is no room, tokens of encoders that this run does not use go
            first; then no more are kept.
        feature_cache_dtype: Floating type of tokens on disk; None for that of the encoder.
        check_media: Open every picture and clip before the first step, as it is done with every text, so that what
            cannot be used is known by then. Otherwise a damaged one is found, skipped and replaced by the next record
            when it is first needed, which is not done with ``grpo`` and ``dpo``.
        skip_limit: Largest share of the records that may be skipped because they cannot be used, before the run is
            given up; 0 for none.
        save_every: Steps between checkpoints; None for a tenth of the run.
        keep_checkpoints: How many checkpoints stay on disk. Where the language model itself does not learn, they hold
            trainable weights only, and a run goes on from them on top of the same weights.
        log_every: Steps between entries of the loss history; None for about two hundred entries.
        report_to: Names of reporters that transformers knows, such as ``wandb``, ``tensorboard`` or ``mlflow``, which
            get the losses and the metrics of validation. None is TensorBoard for recipes, where it is installed.
        threads: CPU threads; None for ``OMP_NUM_THREADS`` where it is set, else all cores.
        workers: Processes that load examples, for each training process; what is learned does not depend on them. None
            for as many as suit the machine, and 0, the training process itself, where nothing is gained by more.
        seed: Seed of all randomness.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: int | None = Field(default=None, ge=1, le=10**9)
    epochs: float | None = Field(default=None, gt=0.0, le=10**6)
    batch_size: int = Field(default=32, ge=1)
    accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0.0, lt=1.0)
    encoder_learning_rate: float | None = Field(default=None, gt=0.0, lt=1.0)
    learning_rates: dict[Part, Annotated[float, Field(gt=0.0, lt=1.0)]] = Field(default_factory=dict)
    weight_decay: float = Field(default=0.01, ge=0.0, lt=1.0)
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    optimizer: str = "adamw"
    schedule: Schedule = "cosine"
    schedule_options: dict[str, float | int | str] = Field(default_factory=dict)
    warmup: float = Field(default=0.03, ge=0.0, le=1.0)
    gradient_clipping: float = Field(default=1.0, ge=0.0)
    parts: tuple[Part, ...] = ("connector", "language_model")
    grpo: GroupSettings | None = None
    dpo: PairSettings | None = None
    lora: LoraSettings = LoraSettings()
    precision: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    torch_compile: bool | str = False
    device: str | None = None
    loss_average: Literal["token", "sample"] = "token"
    logits: Literal["labelled", "all"] = "labelled"
    fused_loss: bool = False
    shuffle_turns: bool = True
    independent_turns: bool = False
    row_tokens: int | None = Field(default=None, ge=1)
    group_batches: bool = False
    turns_per_example: int | None = Field(default=None, ge=1)
    landmark_noise: float = Field(default=0.0, ge=0.0, lt=1.0)
    landmark_dropout: float = Field(default=0.0, ge=0.0, le=1.0)
    max_tokens: int | None = Field(default=None, ge=1)
    cache_pictures: bool | None = None
    cache_features: bool = False
    feature_cache: Path | None = None
    feature_cache_bytes: int = Field(default=50 << 30, ge=1)
    feature_cache_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    check_media: bool = True
    skip_limit: float = Field(default=0.01, ge=0.0, le=1.0)
    save_every: int | None = Field(default=None, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    log_every: int | None = Field(default=None, ge=1)
    report_to: tuple[str, ...] | None = None
    threads: int | None = Field(default=None, ge=1, le=1024)
    workers: int | None = Field(default=None, ge=0, le=256)
    seed: int = Field(default=0, ge=0, lt=1 << 32)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            message = problem["msg"].removeprefix("Value error, ")
            name = ".".join(str(part) for part in problem["loc"])
            where = f"training setting '{name}': {message} (got {problem['input']!r})" if name else message
            raise ConfigurationError(where) from error

    @field_validator("parts", mode="before")
    @classmethod
    def _spell_out_parts(cls, parts: Any) -> Any:
        if not isinstance(parts, (list, tuple)):
            return parts
        return tuple(_spell_out(part) for part in parts)

    @field_validator("learning_rates", mode="before")
    @classmethod
    def _spell_out_rates(cls, rates: Any) -> Any:
        return {_spell_out(part): rate for part, rate in rates.items()} if isinstance(rates, dict) else rates

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("training needs its length: give either steps or epochs")
        if not self.parts or len(set(self.parts)) != len(self.parts):
            raise ValueError(f"parts names at least one of {', '.join(TRAINABLE)}, each once")
        if {"language_model", "language_model.lora"} <= set(self.parts):
            raise ValueError("parts names the language model and its adapters; train one of them")
        if self.encoder_learning_rate is not None and "encoder" not in self.parts:
            raise ValueError("encoder_learning_rate is set but 'encoder' is not among the trained parts")
        unused = [part for part in self.learning_rates if not any(_overlap(part, trained) for trained in self.parts)]
        if unused:
            raise ValueError(f"learning_rates names '{unused[0]}', which is not among the trained parts")
        if self.cache_features and "encoder" in self.parts:
            raise ValueError("cache_features needs a frozen encoder; leave 'encoder' out of the trained parts")
        if self.feature_cache is not None and ("encoder" in self.parts or self.cache_features):
            raise ValueError(
                "feature_cache keeps the tokens of a frozen encoder on disk; leave 'encoder' out of the trained parts "
                "and cache_features, which keeps them in memory, false"
            )
        if self.feature_cache is None and self.feature_cache_dtype is not None:
            raise ValueError("feature_cache_dtype is of tokens on disk; name their folder with feature_cache")
        if self.logits == "all" and (self.loss_average == "sample" or self.fused_loss):
            raise ValueError("loss_average='sample' and fused_loss need logits='labelled'")
        if self.fused_loss and self.loss_average == "sample":
            raise ValueError("fused_loss adds the losses of all tokens up, so it needs loss_average='token'")
        if self.grpo is not None and self.dpo is not None:
            raise ValueError("grpo and dpo are two ways to learn; choose one for a stage")
        if self.is_preference:
            self._check_preference()
        if self.row_tokens is not None and self.max_tokens is not None and self.row_tokens < self.max_tokens:
            raise ValueError("row_tokens is the length of whole rows, so it is at least max_tokens")
        return self

    @property
    def is_preference(self) -> bool:
        """Whether the run learns from rewards or pairs, on TRL's trainers, and not from the records' answers."""
        return self.grpo is not None or self.dpo is not None

    def _check_preference(self) -> None:
        without = {
            "cache_features": self.cache_features, "feature_cache": self.feature_cache is not None,
            "row_tokens": self.row_tokens is not None, "independent_turns": self.independent_turns,
            "fused_loss": self.fused_loss, "group_batches": self.group_batches,
            "loss_average": self.loss_average != "token", "logits": self.logits != "labelled",
            "turns_per_example": self.turns_per_example is not None, "torch_compile": bool(self.torch_compile),
            "check_media=false": not self.check_media,
            "landmark_noise": self.landmark_noise > 0.0, "landmark_dropout": self.landmark_dropout > 0.0,
        }  # fmt: skip
        given = next((name for name, is_given in without.items() if is_given), None)
        if given is not None:
            raise ValueError(f"{given} goes with training on the records' own answers; leave it out with grpo and dpo")
        if self.dpo is not None and self.lora.dropout > 0.0 and "language_model.lora" in self.parts:
            raise ValueError("dpo compares likelihoods without dropout; set lora.dropout to 0")

    def rate_of(self, part: str) -> float:
        """The peak learning rate of one of ``TRAINABLE``."""
        coarse = part.partition(".")[0]
        named: dict[Any, float] = dict(self.learning_rates)
        rate = named.get(part, named.get(coarse, self.encoder_learning_rate if coarse == "encoder" else None))
        return self.learning_rate if rate is None else rate

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """All values of settings that say nothing, as JSON has them."""
        return {**cls(steps=1).model_dump(mode="json"), "steps": None}

    def decisive(self) -> dict[str, Any]:
        """The values that decide what is learned, as JSON has them; a run is resumed with the same ones only."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name not in _MAY_CHANGE}

    def differences(self, other: dict[str, Any]) -> list[str]:
        """What a run with ``other`` settings, as ``model_dump(mode="json")`` has them, would have learned otherwise.

        Returns:
            Sentences such as ``"learning_rate was 0.001 and is 0.002"``; none where a run may go on.
        """
        return list_differences({**self.defaults(), **other}, self.decisive())


def _spell_out(part: Any) -> Any:
    return re.sub(r"^llm\b", "language_model", part) if isinstance(part, str) else part


def _overlap(part: str, other: str) -> bool:
    """Whether one of two parts is the other or lies in it."""
    return part == other or part.startswith(f"{other}.") or other.startswith(f"{part}.")
