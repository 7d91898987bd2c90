"""Building the composed model and its processor from a foreign checkpoint's description.

The readers of the formats only say which parts a checkpoint is made of and how its tensors are called.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig, PreTrainedConfig, PreTrainedTokenizerBase

from facekit.backbones.base import Backbone, ensure_pad_token, has_tokenizer, read_dtype
from facekit.backbones.end_tokens import find_end_tokens
from facekit.backbones.id_tokenizer import build_id_tokenizer, is_id_tokenizer
from facekit.compat.transformers_model import without_initialisation
from facekit.encoders.transform import ImageTransform
from facekit.errors import CheckpointError, configuration_guard
from facekit.hub import fetch_folder
from facekit.models.configuration import FaceKitConfig
from facekit.models.image_processing import FaceKitImageProcessor
from facekit.models.interoperability.weights import copy_weights
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Composition:
    """A foreign model in facekit's parts.

    Args:
        encoder: As in ``FaceKitConfig``.
        connector: As in ``FaceKitConfig``.
        text_config: Of the language model.
        image_token_id: Stands for every visual token.
        rename: Gives the composed model's name of a tensor of the checkpoint, or None for one that is not used.
        video_encoder: As in ``FaceKitConfig``.
    """

    encoder: dict[str, Any]
    connector: dict[str, Any]
    text_config: PreTrainedConfig
    image_token_id: int
    rename: Callable[[str], str | None]
    video_encoder: dict[str, Any] | None = None


def choose_dtype(requested: str | torch.dtype | None, *configs: Any) -> torch.dtype:
    """Return the requested floating type, or the first that a configuration names, or float32.

    Raises:
        InvalidSpecError: It is no floating type.
    """
    if requested not in (None, "auto"):
        return read_dtype(requested)
    named = (config.get("dtype") or config.get("torch_dtype") for config in configs if isinstance(config, dict))
    return read_dtype(next((name for name in named if name), "float32"))


def build_empty(composition: Composition, dtype: torch.dtype) -> FaceKitForConditionalGeneration:
    """Build the composed model without drawing or reading weights: its memory holds anything."""
    text_config = copy.deepcopy(composition.text_config)
    text_config.dtype = dtype
    config = FaceKitConfig(
        encoder=composition.encoder,
        video_encoder=composition.video_encoder,
        connector=composition.connector,
        text_config=text_config,
        image_token_id=composition.image_token_id,
    )
    config.dtype = dtype
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with without_initialisation():
            model = FaceKitForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.language_model.tie_weights()
    return model


def build_with_weights(
    composition: Composition, dtype: torch.dtype, tensors: Iterable[tuple[str, Tensor]], source: Path
) -> FaceKitForConditionalGeneration:
    """Build the composed model and fill it, tensor by tensor.

    Args:
        composition: What it is made of.
        dtype: Floating type of the whole model.
        tensors: Names and tensors of the checkpoint, read one at a time.
        source: Where they come from, for messages.

    Raises:
        CheckpointError: Weights are missing, left over or of another shape.
    """
    model = build_empty(composition, dtype)
    copy_weights(model, tensors, composition.rename, str(source))
    return model.eval()


def load_tokenizer(
    folder: Path, text_config: PreTrainedConfig, tokenizer: str | Path | None = None
) -> PreTrainedTokenizerBase:
    """Load a checkpoint's tokenizer, or the one that was named; code that comes with it is never run.

    A checkpoint without a tokenizer gets ``id_tokenizer``, which writes ids and no words, and a warning is logged.

    Args:
        folder: The checkpoint.
        text_config: Of its language model.
        tokenizer: Folder or hub id of another tokenizer.

    Raises:
        CheckpointError: It cannot be loaded, or the one that was named has more ids than the language model.
    """
    if tokenizer is None and not has_tokenizer(folder):
        logger.warning(
            "'%s' has no tokenizer: texts are written as token ids, such as <17>; name one with tokenizer=...", folder
        )
        return build_id_tokenizer(text_config)
    source = folder if tokenizer is None else fetch_folder(tokenizer, weights=False)
    with configuration_guard(CheckpointError, f"the tokenizer in '{source}' cannot be loaded"):
        loaded = AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)
    ensure_pad_token(loaded)
    highest = max(loaded.get_vocab().values())
    if tokenizer is not None and highest >= text_config.vocab_size:
        raise CheckpointError(
            f"the tokenizer in '{tokenizer}' has ids up to {highest}, the language model in '{folder}' only "
            f"{text_config.vocab_size} embeddings; name the one that it was trained with"
        )
    return loaded


def build_processor(
    model: FaceKitForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    transform: ImageTransform,
    chat_template: str | None = None,
    landmarker: str | None = None,
) -> FaceKitProcessor:
    """Build the processor of a loaded model.

    Args:
        model: The model; its ``image_token_id`` is a token of the tokenizer.
        tokenizer: With a chat template, unless one is given.
        transform: How pictures become pixels.
        chat_template: Replaces the tokenizer's own.
        landmarker: What finds the face; None for models of whole pictures.

    Raises:
        CheckpointError: The tokenizer has no token of that id, or an ordinary word.
    """
    image_token = tokenizer.convert_ids_to_tokens(model.config.image_token_id)
    if not image_token or image_token not in tokenizer.get_vocab():
        raise CheckpointError(
            f"config.json names {model.config.image_token_id} as the image token, which the tokenizer does not have; "
            "name the tokenizer that the checkpoint was trained with"
        )
    if not is_id_tokenizer(tokenizer) and image_token not in tokenizer.get_added_vocab():
        raise CheckpointError(
            f"config.json names {model.config.image_token_id} as the image token, which is the word {image_token!r} in "
            "the tokenizer; name the tokenizer that the checkpoint was trained with"
        )
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return FaceKitProcessor(
        FaceKitImageProcessor.from_transform(transform, landmarker=landmarker),
        tokenizer,
        tokens_per_frame=model.tokens_per_frame,
        tokens_per_video_frame=model.tokens_per_video_frame,
        image_token=image_token,
    )


def set_generation(model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, folder: Path) -> None:
    """Give a loaded model the checkpoint's generation settings, and what facekit needs of them."""
    if (folder / "generation_config.json").is_file():
        with configuration_guard(CheckpointError, f"'{folder}' has a generation_config.json that cannot be read"):
            settings = GenerationConfig.from_pretrained(folder)
    else:
        settings = GenerationConfig.from_model_config(model.language_model.config)
    model.language_model.generation_config = settings
    model.generation_config = copy.deepcopy(settings)
    model.generation_config.eos_token_id = find_end_tokens(Backbone(model.language_model, processor.tokenizer))
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    suppressed = {*(settings.suppress_tokens or ()), model.config.image_token_id}
    model.generation_config.suppress_tokens = sorted(suppressed)
