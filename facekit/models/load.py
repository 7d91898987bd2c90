"""Loading a saved model with its processor, and saying in one sentence why a folder cannot be loaded.

transformers fills what a checkpoint lacks with random weights and a warning; here that is an error.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

import facekit.models  # noqa: F401 - registers the auto classes that from_pretrained looks up
from facekit.backbones.huggingface import read_dtype
from facekit.encoders.huggingface import errors_only
from facekit.errors import CheckpointError, FaceKitError
from facekit.models.configuration import FaceKitConfig
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor

_SHOWN_KEYS = 3


def load(
    path: str | Path, *, dtype: str | torch.dtype | None = None, device: str | torch.device | None = None
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    """Load a model and its processor from a folder that ``save_pretrained`` of both wrote.

    Args:
        path: The folder.
        dtype: Floating type; by default as saved.
        device: Where the model is put; by default the CPU.

    Returns:
        The model, in evaluation mode, and the processor.

    Raises:
        CheckpointError: The folder is missing, is no checkpoint, is one of another format, or is damaged or
            incomplete.
        InvalidSpecError: ``dtype`` is no floating type.
    """
    folder = Path(path).expanduser()
    recognise(folder)
    chosen = "auto" if dtype in (None, "auto") else read_dtype(dtype)
    try:
        with errors_only():
            model, report = FaceKitForConditionalGeneration.from_pretrained(
                folder, dtype=chosen, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True
            )
        processor = FaceKitProcessor.from_pretrained(folder, local_files_only=True)
    except FaceKitError:
        raise
    except SafetensorError as error:
        raise CheckpointError(f"the weights in '{folder}' are damaged or cut off: {_first_line(error)}") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"'{folder}' cannot be loaded: {_first_line(error)}") from error
    _check_complete(folder, report)
    return model.to(device).eval(), processor


def recognise(folder: Path) -> None:
    """Make sure that a folder holds a checkpoint of facekit.

    Raises:
        CheckpointError: It does not; the message says what is there.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.is_file() else "does not exist"
        raise CheckpointError(f"checkpoint '{folder}' {what}; train one first (facekit demo), or name another folder")
    config_file = folder / "config.json"
    if not config_file.is_file():
        if (folder / "adapter_config.json").is_file():
            raise CheckpointError(f"'{folder}' holds a PEFT adapter without its model; merge and save the model")
        raise CheckpointError(f"'{folder}' has no config.json, so it is no checkpoint")
    try:
        config = json.loads(config_file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"'{config_file}' is not valid JSON: {_first_line(error)}") from error
    if not isinstance(config, dict) or config.get("model_type") != FaceKitConfig.model_type:
        raise CheckpointError(f"'{folder}' holds a checkpoint of {_name_format(config)}, not one of facekit")


def _name_format(config: Any) -> str:
    if not isinstance(config, dict) or not (config.get("model_type") or config.get("architectures")):
        return "an unknown format"
    architectures = ", ".join(config.get("architectures") or [])
    named = f"the format '{config['model_type']}'" if config.get("model_type") else "another format"
    return f"{named} ({architectures})" if architectures else named


def _check_complete(folder: Path, report: dict[str, Any]) -> None:
    problems = (
        ("missing_keys", "lack"),
        ("unexpected_keys", "have, beyond what config.json describes,"),
        ("mismatched_keys", "have in another shape"),
    )
    for entry, verb in problems:
        keys = sorted(key if isinstance(key, str) else key[0] for key in report.get(entry, ()))
        if keys:
            more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
            raise CheckpointError(f"the weights in '{folder}' {verb} {', '.join(keys[:_SHOWN_KEYS])}{more}")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
