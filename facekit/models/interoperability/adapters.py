"""PEFT adapter files: found beside their base, counted unread, and injected into composed models.

An adapter that was trained on another class, such as FaceLLM's on InternVL, names other modules; they are renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facekit.encoders.checkpoints import read_weights
from facekit.errors import CheckpointError, first_line
from facekit.hub import fetch_folder, is_hub_id
from facekit.models.interoperability.recognition import CheckpointFormat, Recognition, recognise
from facekit.models.interoperability.weights import read_file_headers, shorten

_PREFIX = "base_model.model."
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_LORA_PARTS = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector")


def find_base_model(recognised: Recognition, *, weights: bool = True) -> Recognition:
    """Return the base model of an adapter: a folder as written, or beside the adapter, or a model of the hub.

    Args:
        recognised: The adapter; its configuration may name a revision of the hub beside the model.
        weights: Whether the weights of a model of the hub are downloaded too.

    Raises:
        CheckpointError: The adapter names none, or none that is a folder here or can be had from the hub.
    """
    named = recognised.config.get("base_model_name_or_path") if isinstance(recognised.config, dict) else None
    folder = recognised.folder
    candidates = [Path(named).expanduser(), folder / named, folder.parent / named] if named else []
    found = next((candidate for candidate in candidates if (candidate / "config.json").is_file()), None)
    if found is None and named and is_hub_id(named):
        try:
            found = fetch_folder(named, recognised.config.get("revision") or "main", weights=weights)
        except CheckpointError as error:
            raise CheckpointError(f"the base model of the adapter in '{folder}' is missing: {error}") from error
    if found is None:
        what = f"whose base model '{named}' is no folder here" if named else "that names no base model"
        raise CheckpointError(
            f"'{folder}' holds a PEFT adapter {what}; set base_model_name_or_path in adapter_config.json to the folder"
        )
    base = recognise(found)
    if base.format is CheckpointFormat.ADAPTER:
        raise CheckpointError(f"'{folder}' holds a PEFT adapter on another adapter, '{found}'; merge that one first")
    return base


def apply_adapter(model: nn.Module, recognised: Recognition, rename: Callable[[str], str | None] | None = None) -> None:
    """Inject a LoRA adapter into a composed model, in place.

    Whole tensors in the file (PEFT's ``modules_to_save``) are copied into the model.

    Args:
        model: The base model.
        recognised: The adapter.
        rename: Gives facekit's name of a tensor of the base that the adapter was trained on; None where it was
            facekit's own.

    Raises:
        CheckpointError: The adapter is not LoRA, is damaged, or adapts modules that the model does not have.
    """
    from peft import LoraConfig, PeftConfig, inject_adapter_in_model  # takes a second, and only adapters need it

    try:
        config: Any = PeftConfig.from_pretrained(str(recognised.folder))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"the adapter in '{recognised.folder}' cannot be read: {first_line(error)}") from error
    if not isinstance(config, LoraConfig):
        raise CheckpointError(f"'{recognised.folder}' holds an adapter of type {config.peft_type}; facekit reads LoRA")
    path = _find_weights(recognised.folder)
    modules = dict(model.named_modules())
    adapted, whole = _split_weights(read_weights(path), rename, modules)
    targets = sorted({_module_of(name) for name in adapted})
    unknown = [name for name in targets if name not in modules]
    state, dtype = model.state_dict(keep_vars=True), next(model.parameters()).dtype
    unknown += [name for name, value in whole.items() if name not in state or state[name].shape != value.shape]
    if unknown or not targets:
        what = f"adapts {shorten(unknown)}, which the model does not have" if unknown else "adapts nothing"
        raise CheckpointError(f"the adapter in '{recognised.folder}' {what}")
    config.target_modules, config.modules_to_save, config.inference_mode = targets, None, True
    inject_adapter_in_model(config, model)
    injected = {name: value for name, value in model.named_parameters() if "lora_" in name}
    given = {_injected_name(name): value for name, value in adapted.items()}
    unfit = [name for name in injected if name not in given or given[name].shape != injected[name].shape]
    if unfit or len(given) > len(injected):
        raise CheckpointError(
            f"the adapter in '{recognised.folder}' lacks or has in another shape {shorten(unfit or sorted(given))}"
        )
    with torch.no_grad():
        for name, parameter in injected.items():
            parameter.data = given[name].to(parameter.device, dtype)
        for name, value in whole.items():
            state[name].copy_(value)


def count_adapter_parameters(folder: Path) -> int:
    """Return how many parameters an adapter's file holds; its tensors are not read.

    Raises:
        CheckpointError: The folder has no adapter weights, or they are damaged.
    """
    return sum(header.numel for header in read_file_headers(_find_weights(folder)).values())


def _find_weights(folder: Path) -> Path:
    path = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"'{folder}' has no adapter weights: neither {' nor '.join(_FILES)}")
    return path


def _split_weights(
    weights: dict[str, Tensor], rename: Callable[[str], str | None] | None, modules: Container[str]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return LoRA's tensors and whole ones, under facekit's names and without PEFT's prefix."""
    adapted, whole = {}, {}
    for name, value in weights.items():
        plain = name.removeprefix(_PREFIX)
        part = next((part for part in _LORA_PARTS if part in plain), None)
        if part is None:
            target = plain if rename is None else rename(plain)
            if target is not None:
                whole[target] = value
            continue
        module, _, rest = plain.partition(part)
        adapted[f"{_find_module(module, rename, modules)}{part}{rest}"] = value
    return adapted, whole


def _find_module(name: str, rename: Callable[[str], str | None] | None, modules: Container[str]) -> str:
    """Facekit's name of a module that the adapter names as in the base model, or as in its language model alone."""
    renamed = name if rename is None else (rename(f"{name}.weight") or name).removesuffix(".weight")
    alone = f"language_model.{name}"
    return alone if renamed not in modules and alone in modules else renamed


def _injected_name(name: str) -> str:
    """PEFT's name in the model of a tensor in an adapter's file: with the name of the adapter, ``default``."""
    if name.endswith(".weight"):
        return f"{name.removesuffix('.weight')}.default.weight"
    return f"{name}.default.weight" if name.endswith("lora_magnitude_vector") else f"{name}.default"


def _module_of(name: str) -> str:
    part = next(part for part in _LORA_PARTS if part in name)
    return name.partition(part)[0]
