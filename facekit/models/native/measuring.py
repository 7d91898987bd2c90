"""``measure_native``: the parts, shapes and tokens of a model in its own class, from its configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedConfig

from facekit.counted import counted
from facekit.errors import CheckpointError, configuration_guard
from facekit.models.memory import EncoderShape
from facekit.models.native.modeling import NativeModel
from facekit.models.native.processing import NativeProcessor, read_image_token
from facekit.models.native.region import describe_region


@dataclass(frozen=True)
class NativePart:
    """A part of a model in its own class.

    Args:
        name: ``encoder``, ``connector`` or ``language_model``.
        kind: Its class.
        parameters: Their number.
        shape: What it is like, in one line.
    """

    name: str
    kind: str
    parameters: int
    shape: str


@dataclass(frozen=True)
class NativeShape:
    """A model in its own class.

    Args:
        parts: Its parts, in the order in which a picture goes through them.
        text_config: Of the language model.
        tokens: Visual tokens that a picture costs.
        encoder: Of the vision encoder.
    """

    parts: tuple[NativePart, ...]
    text_config: PreTrainedConfig
    tokens: int
    encoder: EncoderShape


def measure_native(folder: Path, settings: Path | None = None) -> NativeShape:
    """Measure a checkpoint without its weights.

    Args:
        folder: Has the model's configuration and its processor's files.
        settings: Has facekit's settings of it, and its region attention; by default the same folder.

    Raises:
        CheckpointError: They cannot be read.
        ConfigurationError: facekit cannot use a model of this family.
    """
    with configuration_guard(CheckpointError, f"'{folder}' cannot be read", RuntimeError, ImportError):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        own = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            native = AutoModelForImageTextToText.from_config(config)
    processor = NativeProcessor.from_folder(own, read_image_token(native, own), settings or folder)
    model, region = NativeModel(native, processor), describe_region(settings or folder)
    if region is not None:
        model.add_region(region)
    counts = dict.fromkeys(("encoder", "connector", "language_model"), 0)
    for name, value in model.named_parameters():
        part = name.partition(".")[0]
        if part == "native":
            part = "language_model" if name.startswith("native.lm_head.") else "connector"
        counts[part] += value.numel()
    text = config.get_text_config()
    encoder = EncoderShape.of_native(model)
    side = processor.image_processor.image_size
    kinds = {
        "encoder": type(model.encoder).__name__,
        "connector": ", ".join(type(each).__name__ for each in model.connector.values()),
        "language_model": type(model.language_model).__name__,
    }
    shapes = {
        "encoder": f"{side} px → {encoder.tokens} tokens of width {encoder.width}",
        "connector": f"{encoder.tokens} → {processor.tokens_per_frame} tokens of width {text.hidden_size}",
        "language_model": f"{counted(text.num_hidden_layers, 'layer')}, width {text.hidden_size}, "
        f"vocabulary {text.vocab_size}",
    }
    parts = tuple(NativePart(name, kinds[name], count, shapes[name]) for name, count in counts.items())
    return NativeShape(parts, text, processor.tokens_per_frame, encoder)
