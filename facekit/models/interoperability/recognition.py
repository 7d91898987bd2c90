"""Recognising a checkpoint's format from its ``config.json`` alone.

So a checkpoint is named, or refused in one sentence, before anything is built.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from facekit.compat.transformers_vlms import is_image_text_to_text
from facekit.errors import CheckpointError, first_line
from facekit.hub import tell_nearest_folder

NATIVE_SETTINGS = "facekit_native.json"
"""The file beside a model of another class that says how facekit finds and crops faces for it."""

NATIVE_PREFIX = "hf:"
"""Before a folder or hub id: the model is opened in its own class, whatever facekit could make of it."""

_COMPOSED = ("internvl", "llava")
_TOWER_KEYS = ("mm_image_tower", "mm_video_tower")
_LANDMARK_KEYS = ("landmarks_projector_type", "cross_attn_type")


class CheckpointFormat(StrEnum):
    """The formats that ``facekit.load`` reads.

    Attributes:
        FACEKIT: A model composed by facekit.
        INTERNVL: InternVL in the Hugging Face layout, as InternVL3 ``-hf`` and merged FaceLLM.
        LLAVA: LLaVA-1.5 in the Hugging Face layout.
        FACE_LLAVA: Face-LLaVA as released.
        ADAPTER: A PEFT adapter, whose base is one of the others.
        NATIVE: Any other vision-language model of transformers, in its own class.
    """

    FACEKIT = "facekit"
    INTERNVL = "internvl-hf"
    LLAVA = "llava-hf"
    FACE_LLAVA = "face-llava-released"
    ADAPTER = "peft-adapter"
    NATIVE = "transformers-image-text-to-text"


FORMAT_NAMES = {
    CheckpointFormat.FACEKIT: "a model composed by facekit",
    CheckpointFormat.INTERNVL: "InternVL in the Hugging Face layout, as InternVL3 -hf and merged FaceLLM",
    CheckpointFormat.LLAVA: "LLaVA-1.5 in the Hugging Face layout",
    CheckpointFormat.FACE_LLAVA: "Face-LLaVA as released",
    CheckpointFormat.ADAPTER: "a PEFT adapter",
    CheckpointFormat.NATIVE: "a vision-language model of transformers, in its own class",
}


@dataclass(frozen=True)
class Recognition:
    """A folder and what it holds.

    Args:
        folder: The folder.
        format: The format of the checkpoint in it.
        config: Its ``config.json``; of an adapter ``adapter_config.json``.
    """

    folder: Path
    format: CheckpointFormat
    config: dict[str, Any]


def recognise(folder: Path) -> Recognition:
    """Recognise what a folder holds.

    Args:
        folder: A folder with ``config.json``, or with ``adapter_config.json`` and no model.

    Raises:
        CheckpointError: It is no folder, holds no checkpoint, or one of another format; the message says what is there.
    """
    if not folder.is_dir():
        is_file = folder.is_file()
        what, near = ("is a file, not a folder", "") if is_file else ("does not exist", tell_nearest_folder(folder))
        advice = "" if near.endswith("?") else "; train one first (facekit demo), or name another folder"
        raise CheckpointError(f"checkpoint '{folder}' {what}{near}{advice}")
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            return Recognition(folder, CheckpointFormat.ADAPTER, read_json(folder / "adapter_config.json"))
        raise CheckpointError(f"'{folder}' has no config.json, so it is no checkpoint")
    config = read_json(folder / "config.json")
    recognised = _tell_format(config) if isinstance(config, dict) else None
    is_native = isinstance(config, dict) and _is_native(config)
    if is_native and (recognised is None or (folder / NATIVE_SETTINGS).is_file()):
        recognised = CheckpointFormat.NATIVE
    if recognised is None:
        raise CheckpointError(
            f"'{folder}' holds a checkpoint of {_name_format(config)}, not one of facekit, InternVL -hf, LLaVA-1.5 -hf "
            "or released Face-LLaVA, nor a vision-language model that transformers reads by itself"
            f"{_hint(config)}"
        )
    return Recognition(folder, recognised, config)


def as_native(recognised: Recognition) -> Recognition:
    """The same folder, to be opened in its own class.

    Raises:
        CheckpointError: It holds no model of ``AutoModelForImageTextToText``.
    """
    if not _is_native(recognised.config):
        raise CheckpointError(
            f"'{recognised.folder}' holds {FORMAT_NAMES[recognised.format]}, not a vision-language model that "
            f"transformers reads by itself; leave '{NATIVE_PREFIX}' out"
        )
    return replace(recognised, format=CheckpointFormat.NATIVE)


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        CheckpointError: It is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits and deep nesting among them
        raise CheckpointError(f"'{path}' is not valid JSON: {first_line(error)}") from error


def _tell_format(config: dict[str, Any]) -> CheckpointFormat | None:
    kind = config.get("model_type")
    if kind == "facekit":
        return CheckpointFormat.FACEKIT
    if kind in _COMPOSED and _has_parts(config):
        return CheckpointFormat.INTERNVL if kind == "internvl" else CheckpointFormat.LLAVA
    if any(key in config for key in _TOWER_KEYS) and any(key in config for key in _LANDMARK_KEYS):
        return CheckpointFormat.FACE_LLAVA
    return None


def _has_parts(config: dict[str, Any]) -> bool:
    return isinstance(config.get("vision_config"), dict) and isinstance(config.get("text_config"), dict)


def _is_native(config: dict[str, Any]) -> bool:
    """Whether transformers reads a model by itself; LLaVA's own layout has the same name as that of transformers."""
    kind = str(config.get("model_type"))
    return is_image_text_to_text(kind) and (kind not in _COMPOSED or _has_parts(config))


def _name_format(config: Any) -> str:
    if not isinstance(config, dict) or not (config.get("model_type") or config.get("architectures")):
        return "an unknown format"
    named = config.get("architectures")
    architectures = ", ".join(map(str, named if isinstance(named, list) else [named or ""]))
    kind = f"the format '{config['model_type']}'" if config.get("model_type") else "another format"
    return f"{kind} ({architectures})" if architectures else kind


def _hint(config: Any) -> str:
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind == "internvl_chat":
        return "; the same weights are published in the Hugging Face layout under a name that ends in -hf"
    if kind in ("llava", "llava_llama") and "mm_vision_tower" in config:
        return "; this is LLaVA's own layout, whose weights are published as llava-hf/llava-1.5-7b-hf too"
    return ""
