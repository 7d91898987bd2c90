"""TRL's trainers over a facekit model: how the settings of a run become theirs, and their reference models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import PrinterCallback, TrainerCallback

from facekit.compat.peft import is_adapted
from facekit.compat.trl import (
    arguments_class,
    deprecations_ignored,
    dropout_restored,
    reference_given,
    require_trl,
    restore_forward,
    rows_to_dataset,
    trainer_class,
)
from facekit.compat.trl_resuming import restore_progress
from facekit.data.dataset import DatasetOptions, RecordSet, usable_questions
from facekit.data.records import FaceRecord
from facekit.data.skipping import RECORD_FAULTS
from facekit.errors import ConfigurationError, TrainingError, first_line
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor
from facekit.training.loop.arguments import trainer_arguments
from facekit.training.loop.distributed import count_processes
from facekit.training.loop.face_trainer import FaceTrainer
from facekit.training.preferences.pairs import paired_rows
from facekit.training.preferences.prompts import processor_of_rows, rewarded_rows
from facekit.training.preferences.repeated_pictures import encoded_once
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.rewards.columns import REWARDS


@dataclass(frozen=True)
class PreferenceRows:
    """What an epoch of a run learns from.

    Args:
        rows: The questions to be answered, or the pairs, as TRL takes them.
        examples: How many answers or pairs that are.
    """

    rows: list[dict[str, Any]]
    examples: int

    @classmethod
    def of(
        cls, records: RecordSet, settings: TrainingSettings, processor: FaceKitProcessor, options: DatasetOptions
    ) -> Self:
        """Make the rows of the settings' ``grpo`` or ``dpo``.

        Args:
            records: The records.
            settings: What to do.
            processor: The model's processor.
            options: How records become examples; pairs that are longer are left out.

        Raises:
            ConfigurationError: The batch does not hold whole groups of answers, or more of them than there are
                questions; or no pairs are named.
            RecordError: No record has anything to learn from.
        """
        if settings.grpo is not None:
            rows = rewarded_rows(records, settings.grpo.rewards)
            return cls(rows, _count_answers(len(rows), settings))
        assert settings.dpo is not None

        def find_fault(record: FaceRecord) -> str | None:
            try:
                usable_questions(record, processor, options, len(record.media_paths("")))
            except RECORD_FAULTS as error:
                return first_line(error)
            return None

        rows = paired_rows(records, settings.dpo, find_fault)
        return cls(rows, len(rows))


def train_preferences(
    model: FaceKitForConditionalGeneration,
    processor: FaceKitProcessor,
    records: RecordSet,
    rows: PreferenceRows,
    settings: TrainingSettings,
    folder: Path,
    callbacks: Sequence[TrainerCallback],
    checkpoint: Path | None,
) -> FaceTrainer:
    """Run TRL's trainer for the settings' ``grpo`` or ``dpo``.

    Args:
        model: The model with what is trainable chosen, adapters in their place.
        processor: Its processor.
        records: The records.
        rows: What is learned from about them.
        settings: What to do.
        folder: Where checkpoints go.
        callbacks: For the trainer.
        checkpoint: Where the run goes on from; None for a fresh start.

    Returns:
        The trainer, after the last step.

    Raises:
        TrainingError: The loss is not finite.
    """
    require_trl()
    common: dict[str, Any] = {
        "model": model, "processing_class": processor_of_rows(processor, records), "callbacks": list(callbacks),
        "settings": settings, "record_ids": [record.id for record in records.records],
    }  # fmt: skip
    reference = reference_of(model) if _needs_reference(settings) else None
    make = _group_trainer if settings.grpo is not None else _pair_trainer
    try:
        with deprecations_ignored(), dropout_restored(model):
            trainer = make(common, rows, settings, folder, reference)
            trainer.remove_callback(PrinterCallback)
            if checkpoint is not None:
                trainer.add_callback(Resumption(trainer, checkpoint))
            with finite_losses(trainer), encoded_once(model.encoder):
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        restore_forward(model)
    ended: FaceTrainer = trainer
    return ended


class Resumption(TrainerCallback):
    """Brings TRL's trainer to where a run was, before its first step; see ``restore_progress``.

    Args:
        trainer: The trainer.
        checkpoint: Where the run goes on from.
    """

    def __init__(self, trainer: Any, checkpoint: Path) -> None:
        self._trainer, self._checkpoint = trainer, checkpoint

    def on_train_begin(self, *given: Any, **named: Any) -> None:
        """Restore; the rest of the checkpoint is read by now."""
        restore_progress(self._trainer, self._checkpoint)


def _group_trainer(
    common: dict[str, Any], rows: PreferenceRows, settings: TrainingSettings, folder: Path, reference: nn.Module | None
) -> Any:
    group = settings.grpo
    assert group is not None
    arguments = trainer_arguments(
        folder,
        settings,
        rows.examples,
        arguments_class("GRPOConfig"),
        gradient_checkpointing=False,
        num_generations=group.generations,
        max_completion_length=group.longest_answer,
        temperature=group.temperature,
        top_p=group.top_p,
        num_iterations=group.iterations,
        beta=group.beta,
        epsilon=group.epsilon,
        loss_type=group.loss,
        reward_weights=list(group.rewards.values()),
    )
    with reference_given(reference):
        return trainer_class(FaceTrainer, "GRPOTrainer")(
            **common,
            reward_funcs=[
                _named(name, group.longest_answer, end_tokens(common["model"], common["processing_class"]))
                for name in group.rewards
            ],
            args=arguments,
            train_dataset=rows_to_dataset(rows.rows),
        )


def _count_answers(questions: int, settings: TrainingSettings) -> int:
    """How many answers an epoch learns from, each as often as there are steps on it; a last, short batch is none.

    Raises:
        ConfigurationError: A step has no whole number of questions, or asks more than there are.
    """
    group = settings.grpo
    assert group is not None
    answers = settings.batch_size * settings.accumulation * count_processes()
    told = f"a step has {answers} answers (batch_size x accumulation x processes)"
    if answers % group.generations:
        raise ConfigurationError(
            f"{told}, which is no multiple of grpo.generations={group.generations}; set batch_size to one"
        )
    asked = answers // group.generations
    if asked > questions:
        raise ConfigurationError(
            f"{told} to {asked} questions, but there are {questions} that can be rewarded; lower batch_size or "
            "accumulation, or raise grpo.generations"
        )
    return (questions - questions % asked) * group.generations * group.iterations


def _pair_trainer(
    common: dict[str, Any], rows: PreferenceRows, settings: TrainingSettings, folder: Path, reference: nn.Module | None
) -> Any:
    pairs = settings.dpo
    assert pairs is not None
    arguments = trainer_arguments(
        folder,
        settings,
        rows.examples,
        arguments_class("DPOConfig"),
        gradient_checkpointing=False,
        max_length=None,  # what is longer is not among the rows
        beta=pairs.beta,
        loss_type=[pairs.loss],
    )
    return trainer_class(FaceTrainer, "DPOTrainer")(
        **common, ref_model=reference, args=arguments, train_dataset=rows_to_dataset(rows.rows)
    )


def _needs_reference(settings: TrainingSettings) -> bool:
    return settings.dpo is not None or (settings.grpo is not None and settings.grpo.beta > 0.0)


def end_tokens(model: FaceKitForConditionalGeneration, processor: FaceKitProcessor) -> frozenset[int]:
    """The tokens with which a model's answers end."""
    known: Any = model.generation_config.eos_token_id
    ends = {*(known if isinstance(known, (list, tuple)) else (known,)), processor.tokenizer.eos_token_id}
    return frozenset(each for each in ends if each is not None)


def _named(name: str, longest: int, ends: frozenset[int]) -> Any:
    """A reward function under its name in recipes, which the logs then have; it is told which answers were cut off."""

    def reward(*given: Any, completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float | None]:
        cut = [len(each) >= longest and each[-1] not in ends for each in completion_ids]
        return REWARDS[name](*given, completion_ids=completion_ids, cut=cut, **columns)

    update_wrapper(reward, REWARDS[name])
    reward.__name__ = name
    return reward


@contextmanager
def finite_losses(trainer: Any) -> Iterator[None]:
    """Stop at a loss that is NaN or infinite inside the ``with`` block; raises ``TrainingError``."""
    compute = trainer.compute_loss

    def checked(*given: Any, **options: Any) -> Any:
        loss = compute(*given, **options)
        value: Tensor = loss[0] if isinstance(loss, tuple) else loss
        if not torch.isfinite(value.detach()).all():
            raise TrainingError(
                f"the loss is {float(value):g} in step {trainer.state.global_step + 1}; lower learning_rate or set "
                "gradient_clipping, and resume from the last checkpoint"
            )
        return loss

    trainer.compute_loss = checked
    try:
        yield
    finally:
        del trainer.compute_loss


def reference_of(model: FaceKitForConditionalGeneration) -> nn.Module:
    """The model as it is now, for comparison while it is trained.

    Where only new adapters learn, that is the model without them; otherwise a copy.
    """
    learns = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if learns and all("lora_" in name for name in learns) and _start_at_nothing(model):
        return WithoutAdapters(model)
    return deepcopy(model).requires_grad_(False).eval()


def _start_at_nothing(model: nn.Module) -> bool:
    """Whether adapters change nothing yet, so that the model without them is the model as it is."""
    layers: list[Any] = [module for module in model.modules() if is_adapted(module)]
    second = [weight for layer in layers for weight in getattr(layer, "lora_B", nn.ModuleDict()).parameters()]
    return bool(second) and all(not bool(weight.any()) for weight in second)


class WithoutAdapters(nn.Module):
    """A view of a model without its adapters; it has no weights of its own.

    Args:
        model: The model that is trained.
    """

    def __init__(self, model: FaceKitForConditionalGeneration) -> None:
        super().__init__()
        self.__dict__["model"] = model  # no submodule, so that nothing moves, shards or saves its weights twice
        self.config = model.config

    def forward(self, *given: Any, **options: Any) -> Any:
        """As the model's, without adapters."""
        with _switched_off(self.__dict__["model"]) as model:
            return model(*given, **options)

    @property
    def base_model(self) -> Any:
        """As the model's, without adapters."""

        def hidden_states(*given: Any, **options: Any) -> Any:
            with _switched_off(self.__dict__["model"]) as model, torch.no_grad():
                return model.base_model(*given, **options)

        return hidden_states

    def get_output_embeddings(self) -> nn.Module:
        """The model's head."""
        head: nn.Module = self.__dict__["model"].get_output_embeddings()
        return head


@contextmanager
def _switched_off(model: FaceKitForConditionalGeneration) -> Iterator[FaceKitForConditionalGeneration]:
    layers: list[Any] = [module for module in model.modules() if is_adapted(module)]
    learns = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield model
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter in learns:  # PEFT lets adapters that are switched off not be trained
            parameter.requires_grad_(True)
