"""Settings of a run translated into options of the data set and arguments of the Hugging Face trainer."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.integrations import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

from facekit.backbones.base import read_device
from facekit.compat.transformers_model import attention_implementation
from facekit.compat.transformers_trainer import place_arguments
from facekit.data.attention import check_attention
from facekit.data.dataset import DatasetOptions
from facekit.errors import ConfigurationError, MissingExtraError
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.inputs import can_continue
from facekit.models.native.modeling import NativeModel, is_native
from facekit.spec import closest_match_hint
from facekit.training.loop.compiled import require_backend
from facekit.training.loop.distributed import count_processes, shards_weights
from facekit.training.loop.optimizers import OWN, require_optimizer
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.quantized import is_quantized

_CHECKPOINTS_PER_RUN = 10
_LOG_ENTRIES_PER_RUN = 200


def dataset_options(settings: TrainingSettings, context: int | None = None) -> DatasetOptions:
    """How the records of a run become examples.

    Args:
        settings: The run's settings.
        context: The longest sequence that the language model reads, where that is known.
    """
    pictures = settings.cache_pictures
    if pictures is None and settings.feature_cache is not None:
        pictures = False
    return DatasetOptions(
        shuffle_turns=settings.shuffle_turns,
        independent_turns=settings.independent_turns,
        turns_per_example=settings.turns_per_example,
        landmark_noise=settings.landmark_noise,
        landmark_dropout=settings.landmark_dropout,
        max_tokens=settings.max_tokens,
        context=context,
        cache_pictures=pictures,
        seed=settings.seed,
    )


def trainer_arguments(
    folder: Path,
    settings: TrainingSettings,
    examples: int,
    kind: Callable[..., TrainingArguments] = TrainingArguments,
    **others: Any,
) -> TrainingArguments:
    """Arguments of the trainer.

    Args:
        folder: Where checkpoints go.
        settings: The run's settings.
        examples: How many examples an epoch has.
        kind: ``TrainingArguments`` or a subclass of it.
        **others: What the subclass takes beside.

    Raises:
        ConfigurationError: The device is not here.
    """
    batches = -(-examples // (settings.batch_size * count_processes()))
    steps_of_epoch = max(1, -(-batches // settings.accumulation))
    steps = settings.steps or ceil((settings.epochs or 0) * steps_of_epoch)
    device = read_device(settings.device)
    is_on_cpu = not torch.accelerator.is_available() if device is None else device.type == "cpu"
    arguments = kind(
        output_dir=str(folder),
        max_steps=settings.steps or -1,
        num_train_epochs=settings.epochs or 1.0,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        lr_scheduler_kwargs=dict(settings.schedule_options) or None,
        optim="adamw_torch_fused" if settings.optimizer in OWN else settings.optimizer,
        adam_beta1=settings.betas[0],
        adam_beta2=settings.betas[1],
        warmup_steps=int(settings.warmup * steps),
        max_grad_norm=settings.gradient_clipping,
        bf16=settings.precision == "bfloat16",
        logging_steps=settings.log_every or max(1, steps // _LOG_ENTRIES_PER_RUN),
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.save_every or max(1, steps // _CHECKPOINTS_PER_RUN),
        seed=settings.seed,
        data_seed=settings.seed,
        remove_unused_columns=False,
        use_cpu=is_on_cpu,
        dataloader_pin_memory=torch.cuda.is_available() and not is_on_cpu,
        disable_tqdm=True,
        report_to=[name for name in settings.report_to or () if name != "none"],
        **others,
    )
    if device is not None and not is_on_cpu:
        place_arguments(arguments, device)
    return arguments


def check_names(settings: TrainingSettings) -> None:
    """Make sure that there is what settings name, before anything is loaded.

    Raises:
        ConfigurationError: There is no such optimizer, device, backend or reporter.
        MissingExtraError: A reporter is not installed.
    """
    require_optimizer(settings.optimizer)
    require_backend(settings)
    device, processes = read_device(settings.device), count_processes()
    if device is not None and device.type != "cpu" and processes > 1:
        raise ConfigurationError(
            f"device '{settings.device}' is one, and the run has {processes} processes, each of which has its own; "
            "leave it out"
        )
    known, installed = ("none", *INTEGRATION_TO_CALLBACK), get_available_reporting_integrations()
    for name in settings.report_to or ():
        if name not in known:
            raise ConfigurationError(f"report_to: there is no reporter '{name}'{closest_match_hint(name, known)}")
        if name != "none" and name not in installed:
            raise MissingExtraError(f"report_to: '{name}' is not installed; pip install it, or leave it out")


def check_settings(
    model: FaceKitForConditionalGeneration, settings: TrainingSettings, arguments: TrainingArguments
) -> None:
    """Make sure that settings fit the model and the devices.

    Raises:
        ConfigurationError: They do not.
    """
    if is_native(model):
        _check_native(model, settings)
    check_landmarks(model, settings)
    if settings.optimizer == "muon" and shards_weights():
        raise ConfigurationError("optimizer 'muon' needs whole matrices in every process; use 'adamw', or DDP")
    if "language_model" in settings.parts and is_quantized(model):
        raise ConfigurationError(
            "the language model is packed in 4 or 8 bits (load_in), which learns by adapters only; train "
            "'language_model.lora' or leave 'language_model' out of parts, or open the model without load_in"
        )
    if settings.torch_compile and (shards_weights() or is_quantized(model)):
        kind = "sharded" if shards_weights() else "packed (load_in)"
        raise ConfigurationError(f"torch_compile is for whole weights, and here they are {kind}; set it to false")
    if settings.cache_features and arguments.world_size > 1:
        raise ConfigurationError("cache_features works in one process only; set it to false for distributed training")
    if settings.feature_cache is not None and shards_weights():
        raise ConfigurationError("feature_cache needs a whole connector in every process; leave it out, or use DDP")
    if arguments.n_gpu > 1:
        raise ConfigurationError(
            f"there are {arguments.n_gpu} GPUs but one process; start one process a GPU with torchrun, or choose a "
            "GPU with device, such as cuda:0"
        )
    if settings.fused_loss and arguments.device.type != "cuda":
        raise ConfigurationError("fused_loss needs a GPU; set it to false, the loss is the same")
    if settings.fused_loss and shards_weights():
        raise ConfigurationError("fused_loss needs the whole head in every process; set it to false, or use DDP")
    if attention_implementation(model.config.get_text_config()) == "flex_attention" and arguments.device.type == "cpu":
        raise ConfigurationError(
            "flex_attention has no gradients on the CPU; load the language model with attn_implementation='sdpa'"
        )
    if shards_weights() and model.video_encoder is not None and not settings.group_batches:
        raise ConfigurationError(
            "sharded weights need all processes in the same encoder at every step; set group_batches to true"
        )
    if settings.independent_turns or settings.row_tokens is not None:
        check_attention(model.config.get_text_config())


def check_landmarks(model: FaceKitForConditionalGeneration | NativeModel, settings: TrainingSettings) -> None:
    """Refuse settings of landmarks where the model uses none.

    Raises:
        ConfigurationError: There is one.
    """
    given = next((name for name in ("landmark_noise", "landmark_dropout") if getattr(settings, name) > 0.0), None)
    uses = model.region is not None if is_native(model) else model.connector.uses_landmarks
    if given is not None and not uses:
        raise ConfigurationError(
            f"{given} changes landmarks, of which the model uses none; leave it out, or choose a connector that does, "
            "such as 'region'"
        )


def _check_native(model: NativeModel, settings: TrainingSettings) -> None:
    """Refuse what a model in its own class cannot be trained with."""
    packs = settings.independent_turns or settings.row_tokens is not None
    if packs and not can_continue(model):
        raise ConfigurationError(
            f"{type(model.native).__name__} is of a family of which nobody knows that packed questions equal single "
            "ones; set independent_turns and row_tokens off"
        )
    cached = next((name for name in ("cache_features", "feature_cache") if getattr(settings, name)), None)
    if cached is not None:
        raise ConfigurationError(
            f"{cached} keeps the tokens of an encoder of facekit; a base in its own class encodes pictures itself, so "
            "leave it out"
        )
    if shards_weights():
        raise ConfigurationError(
            "a base in its own class is trained whole on every device; leave FSDP and ZeRO-3 out, or use DDP"
        )
