"""``load_native``: a vision-language model of transformers in its own class, with facekit's face finding in front."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from facekit.backbones.base import read_dtype
from facekit.compat.transformers_model import one_at_a_time
from facekit.encoders.huggingface import errors_only
from facekit.errors import CheckpointError, configuration_guard, first_line
from facekit.models.interoperability.composition import load_tokenizer
from facekit.models.native.modeling import NativeModel
from facekit.models.native.processing import NativeProcessor, read_image_token
from facekit.models.native.region import read_region

logger = logging.getLogger(__name__)


def load_native(
    folder: Path,
    *,
    dtype: str | torch.dtype | None = None,
    tokenizer: str | Path | None = None,
    settings: Path | None = None,
) -> tuple[NativeModel, NativeProcessor]:
    """Load a model of ``AutoModelForImageTextToText``; code that comes with a checkpoint is never run.

    Args:
        folder: The checkpoint.
        dtype: Floating type; by default as saved.
        tokenizer: A tokenizer in place of the checkpoint's: folder or hub id.
        settings: The folder with facekit's settings of its processor, and with its region attention, where it has some;
            by default the checkpoint's.

    Raises:
        CheckpointError: It or its region attention cannot be loaded, or lacks weights.
        ConfigurationError: facekit cannot use a model of this family; the message says why.
    """
    native, processor = open_in_own_class(folder, dtype=dtype, tokenizer=tokenizer)
    wrapped = NativeProcessor.from_folder(processor, read_image_token(native, processor), settings or folder)
    model, region = NativeModel(native, wrapped), read_region(settings or folder)
    if region is not None:
        model.add_region(region)
    return model, wrapped


@one_at_a_time
def open_in_own_class(
    folder: Path, *, dtype: str | torch.dtype | None = None, tokenizer: str | Path | None = None, **placing: Any
) -> tuple[Any, Any]:
    """Open a checkpoint of ``AutoModelForImageTextToText`` and its own processor, both as transformers gives them.

    Args:
        folder: The checkpoint.
        dtype: Floating type; by default as saved.
        tokenizer: A tokenizer in place of the checkpoint's: folder or hub id.
        **placing: How it is packed and divided among devices, passed to ``from_pretrained``.

    Raises:
        CheckpointError: It or the other tokenizer cannot be loaded, it lacks weights, or has fewer embeddings than the
            tokenizer has ids.
    """
    chosen = "auto" if dtype in (None, "auto") else read_dtype(dtype)
    own: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with configuration_guard(CheckpointError, f"'{folder}' cannot be loaded", RuntimeError, ImportError):
        try:
            with errors_only():
                opened: Any = AutoModelForImageTextToText.from_pretrained(
                    folder, dtype=chosen, output_loading_info=True, **own, **placing
                )
                processor = AutoProcessor.from_pretrained(folder, **own)
        except SafetensorError as error:
            raise CheckpointError(f"the weights in '{folder}' are damaged or cut off: {first_line(error)}") from error
    native, report = opened
    missing = sorted(report["missing_keys"])
    if missing:
        more = f" and {len(missing) - 1} more tensors" if len(missing) > 1 else ""
        raise CheckpointError(f"the weights in '{folder}' lack {missing[0]}{more}")
    unused = sorted(report["unexpected_keys"])
    if unused:
        logger.warning(
            "%s has no place for %d of the tensors in '%s', such as %s; they are left out",
            type(native).__name__, len(unused), folder, unused[0],
        )  # fmt: skip
    if tokenizer is not None:
        processor.tokenizer = load_tokenizer(folder, native.config.get_text_config(), tokenizer)
    return native, processor
