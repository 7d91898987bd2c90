"""``choose_engine``: what answers in a server, a batch or an evaluation, facekit's own engine or vLLM."""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Callable
from typing import Any

from facekit.errors import ConfigurationError, MissingExtraError
from facekit.models.interoperability.adapters import find_base_model
from facekit.models.interoperability.recognition import CheckpointFormat
from facekit.models.load import find_checkpoint
from facekit.models.source import ModelSource
from facekit.serving.engine import Engine
from facekit.serving.vllm.adapters import open_adapter
from facekit.serving.vllm.engine import VllmEngine

ENGINES = ("transformers", "vllm")
_OFFERED_MEMORY = 0.9
"""Of a GPU, as vLLM has it for one model."""


def choose_engine(
    name: str, options: str | None, source: ModelSource, *, max_media: int | None = None, models: int = 1
) -> Callable[..., Engine]:
    """Return what makes the engine of a model, called as ``Engine`` is.

    Args:
        name: ``transformers`` or ``vllm``.
        options: Arguments of vLLM's engine, as a JSON object.
        source: The model and how it is opened.
        max_media: Pictures and clips of a question; None for any number.
        models: Models that run beside each other, which share the GPU's memory.

    Raises:
        ConfigurationError: There is no such engine, the options are no JSON object or mean nothing to it, or the model
            or adapter is none that vLLM opens.
        MissingExtraError: vLLM is not installed.
        CheckpointError: There is no such checkpoint.
    """
    chosen = check_engine(name, options)
    if name == "transformers":
        return Engine
    if source.load_in is not None or source.device_map is not None:
        raise ConfigurationError(
            "vLLM packs and divides a model by --engine-options; leave --load-in and --device-map out"
        )
    found = find_checkpoint(source.path, source.revision)
    adapter = None
    if found.format is CheckpointFormat.ADAPTER:
        base = find_base_model(found)
        if base.format is CheckpointFormat.FACEKIT:
            found, adapter = base, open_adapter(found)
    if found.format is not CheckpointFormat.FACEKIT:
        raise ConfigurationError(
            f"vLLM opens checkpoints in facekit's own format; write one with 'facekit export {source.path} FOLDER' "
            "(--merge-lora for an adapter) and open that, or serve this one with vLLM itself where it knows it"
        )
    if models > 1:
        chosen = {"gpu_memory_utilization": round(_OFFERED_MEMORY / models, 2), **chosen}
    return functools.partial(VllmEngine, folder=found.folder, adapter=adapter, max_media=max_media, options=chosen)


def check_engine(name: str, options: str | None) -> dict[str, Any]:
    """Return the arguments of vLLM's engine; raises as ``choose_engine`` does, without looking at a model."""
    if name not in ENGINES:
        raise ConfigurationError(f"--engine is one of {', '.join(ENGINES)}, not '{name}'")
    if name == "transformers":
        if options is not None:
            raise ConfigurationError("--engine-options are vLLM's; leave them out, or give --engine vllm")
        return {}
    chosen = _read_options(options)
    if importlib.util.find_spec("vllm") is None:
        raise MissingExtraError("the engine vllm needs vLLM, which its own documentation says how to install")
    return chosen


def _read_options(options: str | None) -> dict[str, Any]:
    try:
        read = json.loads(options or "{}")
    except ValueError as error:
        raise ConfigurationError(f"--engine-options are no JSON: {error}") from error
    if not isinstance(read, dict):
        raise ConfigurationError("--engine-options are a JSON object, such as '{\"max_model_len\": 4096}'")
    return read
