"""PEFT adapter files: found beside their base, counted unread, and injected into composed models.

An adapter that was trained on another class, such as FaceLLM's on InternVL, names other modules; they are renamed.
What was loaded is remembered by the model (``LoadedAdapter``), so that training can go on from it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facekit.counted import counted
from facekit.encoders.checkpoints import read_weights
from facekit.errors import CheckpointError, configuration_guard, first_line
from facekit.hub import fetch_folder, is_hub_id
from facekit.models.interoperability.recognition import CheckpointFormat, Recognition, recognise
from facekit.models.interoperability.weights import read_file_headers, shorten
from facekit.models.interoperability.whole_tensors import TOKEN_ROWS, is_copy, spread_rows, write_whole_tensors

logger = logging.getLogger(__name__)

_PREFIX = "base_model.model."
_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_LORA_PARTS = (".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector")
_UNREAD = (
    "layer_replication", "target_parameters", "alora_invocation_tokens", "arrow_config", "use_qalora",
    "megatron_config", "monteclora_config", "kasa_config", "use_bdlora",
)  # fmt: skip


@dataclass(frozen=True)
class LoadedAdapter:
    """An adapter that a model was loaded with.

    Args:
        folder: Of its files.
        config: PEFT's configuration, for the model that it is in.
        whole: Names of the tensors of the model that the adapter brought whole.
        untied: Those of them that shared their weight with another before.
    """

    folder: Path
    config: Any
    whole: tuple[str, ...] = ()
    untied: tuple[str, ...] = ()


def find_base_model(recognised: Recognition, *, weights: bool = True) -> Recognition:
    """Return the base model of an adapter: a folder as written, or beside the adapter, or a model of the hub.

    Args:
        recognised: The adapter; its configuration may name a revision of the hub beside the model.
        weights: Whether the weights of a model of the hub are downloaded too.

    Raises:
        CheckpointError: The adapter names none, or none that is a folder here or can be had from the hub.
    """
    config, folder = recognised.config if isinstance(recognised.config, dict) else {}, recognised.folder
    named, revision = (config.get(entry) or "" for entry in ("base_model_name_or_path", "revision"))
    if not isinstance(named, str) or not isinstance(revision, str):
        raise CheckpointError(
            f"'{folder}/adapter_config.json' names its base model or its revision by something that is no text"
        )
    candidates: list[str | Path] = [named, folder / named, folder.parent / named] if named else []
    found = next((Path(each).expanduser() for each in candidates if _has_model(each)), None)
    if found is None and named and is_hub_id(named):
        try:
            found = fetch_folder(named, revision or "main", weights=weights)
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


def _has_model(folder: str | Path) -> bool:
    try:
        return (Path(folder).expanduser() / "config.json").is_file()
    except (OSError, ValueError, RuntimeError):  # too long for a name, none at all, or in the home of an unknown user
        return False


def apply_adapter(
    model: nn.Module,
    recognised: Recognition,
    rename: Callable[[str], str | None] | None = None,
    *,
    language_model: str = "language_model",
) -> None:
    """Inject a LoRA adapter into a composed model, in place.

    Whole tensors in the file (PEFT's ``modules_to_save``, ``trainable_token_indices``) are copied into the model; a
    copy of a module whose weight is shared with another, as an output head's with the embeddings, is untied from it.

    Args:
        model: The base model.
        recognised: The adapter.
        rename: Gives facekit's name of a tensor of the base that the adapter was trained on; None where it was
            facekit's own.
        language_model: The name of the language model in the model.

    Raises:
        CheckpointError: The adapter is not LoRA or of a kind that is not read, is damaged, or adapts modules that the
            model does not have.
    """
    from peft import LoraConfig, PeftConfig, inject_adapter_in_model  # takes a second, and only adapters need it

    try:
        config: Any = PeftConfig.from_pretrained(str(recognised.folder))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"the adapter in '{recognised.folder}' cannot be read: {first_line(error)}") from error
    if not isinstance(config, LoraConfig):
        raise CheckpointError(f"'{recognised.folder}' holds an adapter of type {config.peft_type}; facekit reads LoRA")
    unread = next((name for name in _UNREAD if getattr(config, name, None)), None)
    if unread is not None:
        raise CheckpointError(
            f"the adapter in '{recognised.folder}' has {unread}, which facekit does not read; merge it with PEFT first"
        )
    modules = dict(model.named_modules())
    weights = _read_adapter(read_weights(_find_weights(recognised.folder)), rename, modules)
    targets = {_module_of(name): _module_of(weights.origins[name]) for name in weights.adapted}
    state = model.state_dict(keep_vars=True)
    unknown = sorted(name for name in targets if name not in modules)
    unknown += [name for name in weights.rows if name not in state]
    unknown += [name for name, value in weights.whole.items() if name not in state or state[name].shape != value.shape]
    if unknown or not targets:
        what = f"adapts {shorten(unknown)}, which the model does not have" if unknown else "adapts nothing"
        raise CheckpointError(f"the adapter in '{recognised.folder}' {what}")
    with configuration_guard(CheckpointError, f"the adapter in '{recognised.folder}' cannot be read", RuntimeError):
        whole = weights.whole | {
            name: spread_rows(_module_of(weights.origins[name]), rows, state[name], config)
            for name, rows in weights.rows.items()
        }
        copies = [name for name in weights.whole if is_copy(weights.origins[name], config)]
        _fit_config(config, targets)
        _check_ranks(config, weights.adapted, recognised.folder)
        untied = write_whole_tensors(model, whole, copies)
        inject_adapter_in_model(config, model)
        _fill(model, weights.adapted, recognised.folder)
    _warn_of_reach(targets, recognised.folder, f"{language_model}.")
    model.loaded_adapter = LoadedAdapter(recognised.folder, config, tuple(whole), tuple(untied))  # type: ignore[assignment]


def _fit_config(config: Any, targets: Mapping[str, str]) -> None:
    """Make PEFT's configuration one of the model's names; ranks and scales stay those of the adapter's own names."""
    ranks, alphas = dict(config.rank_pattern or {}), dict(config.alpha_pattern or {})
    config.rank_pattern = {name: _by_pattern(ranks, origin, config.r) for name, origin in targets.items() if ranks}
    config.alpha_pattern = {
        name: _by_pattern(alphas, origin, config.lora_alpha) for name, origin in targets.items() if alphas
    }
    config.target_modules, config.modules_to_save, config.inference_mode = sorted(targets), None, True
    config.trainable_token_indices, config.exclude_modules = None, None
    config.layers_to_transform, config.layers_pattern, config.ensure_weight_tying = None, None, False


def _check_ranks(config: Any, adapted: Mapping[str, Tensor], folder: Path) -> None:
    """Refuse ranks that the file's tensors do not have, before layers of that size are made."""
    for name, value in adapted.items():
        rank = config.rank_pattern.get(_module_of(name), config.r)
        if (".lora_A." in name or ".lora_embedding_A" in name) and len(value) != rank:
            raise CheckpointError(f"the adapter in '{folder}' lacks or has in another shape {name}: its rank is {rank}")


def _by_pattern(values: Mapping[str, Any], name: str, default: Any) -> Any:
    """The value of the first pattern that a module's name ends with, as PEFT looks it up."""
    return next((value for key, value in values.items() if re.match(rf"(.*\.)?({key})$", name)), default)


def _fill(model: nn.Module, adapted: Mapping[str, Tensor], folder: Path) -> None:
    injected = {name: value for name, value in model.named_parameters() if "lora_" in name}
    given = {_injected_name(name): value for name, value in adapted.items()}
    unfit = [name for name in injected if name not in given or given[name].shape != injected[name].shape]
    if unfit or len(given) > len(injected):
        raise CheckpointError(
            f"the adapter in '{folder}' lacks or has in another shape {shorten(unfit or sorted(given))}"
        )
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        for name, parameter in injected.items():
            parameter.data = given[name].to(parameter.device, dtype)


def _warn_of_reach(targets: Mapping[str, str], folder: Path, inside: str) -> None:
    """Say that an adapter reaches beyond the language model, which ``all-linear`` of PEFT does on a composed model."""
    beyond = sorted(name for name in targets if not name.startswith(inside))
    if beyond:
        logger.warning(
            "the adapter in '%s' also adapts %s outside the language model, such as %s; PEFT's "
            "target_modules='all-linear' does so on a composed model, facekit.backbones.lora_target_modules does not",
            folder, counted(len(beyond), "layer"), beyond[0],
        )  # fmt: skip


def count_adapter_parameters(folder: Path) -> int:
    """Return how many parameters an adapter's file holds; its tensors are not read.

    Raises:
        CheckpointError: The folder has no adapter weights, or they are damaged.
    """
    return sum(header.numel for header in read_file_headers(_find_weights(folder)).values())


def adapter_tensors(folder: Path) -> list[str]:
    """Return the names of an adapter's tensors, as the model that it was trained on names its modules.

    Raises:
        CheckpointError: Its file is missing, damaged or of another format.
    """
    return [name.removeprefix(_PREFIX) for name in read_file_headers(_find_weights(folder))]


def _find_weights(folder: Path) -> Path:
    path = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if path is None:
        raise CheckpointError(f"'{folder}' has no adapter weights: neither {' nor '.join(_FILES)}")
    return path


@dataclass
class _AdapterWeights:
    """Tensors of an adapter's file under facekit's names.

    Args:
        adapted: LoRA's, with the name of the part.
        whole: Whole ones of the model.
        rows: Trained rows of embeddings.
        origins: Of each, its name in the base model that it was trained on.
    """

    adapted: dict[str, Tensor]
    whole: dict[str, Tensor]
    rows: dict[str, Tensor]
    origins: dict[str, str]


def _read_adapter(
    weights: dict[str, Tensor], rename: Callable[[str], str | None] | None, modules: Container[str]
) -> _AdapterWeights:
    """Sort the tensors of a file, without PEFT's prefix."""
    read = _AdapterWeights({}, {}, {}, {})
    for name, value in weights.items():
        plain = name.removeprefix(_PREFIX)
        part = next((part for part in _LORA_PARTS if part in plain), None)
        if part is not None:
            module, _, rest = plain.partition(part)
            target = f"{_find_module(module, rename, modules)}{part}{rest}"
            read.adapted[target] = value
        elif plain.endswith(TOKEN_ROWS):
            plain = f"{plain.removesuffix(TOKEN_ROWS)}.weight"
            target = f"{_find_module(_module_of(plain), rename, modules)}.weight"
            read.rows[target] = value
        else:
            plain = plain.replace(".base_layer.", ".")
            renamed = plain if rename is None else rename(plain)
            if renamed is None:
                continue
            module, _, leaf = renamed.rpartition(".")
            target = f"{_find_module(module, None, modules)}.{leaf}" if module else renamed
            read.whole[target] = value
        read.origins[target] = plain
    return read


def _find_module(name: str, rename: Callable[[str], str | None] | None, modules: Container[str]) -> str:
    """Facekit's name of a module that the adapter names as in the base model, or as in its language model alone."""
    renamed = name if rename is None else (rename(f"{name}.weight") or name).removesuffix(".weight")
    alone = f"language_model.{name}"
    return alone if renamed not in modules and alone in modules else renamed


def _injected_name(name: str) -> str:
    """PEFT's name in the model of a tensor in an adapter's file: with the name of the adapter, ``default``."""
    for leaf in (".weight", ".bias"):
        if name.endswith(leaf):
            return f"{name.removesuffix(leaf)}.default{leaf}"
    return f"{name}.default.weight" if name.endswith("lora_magnitude_vector") else f"{name}.default"


def _module_of(name: str) -> str:
    part = next((part for part in _LORA_PARTS if part in name), None)
    return name.partition(part)[0] if part else name.rpartition(".")[0]
