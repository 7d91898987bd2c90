"""Adapters that a model was loaded with: taken over by a run that trains adapters, or merged where it trains others."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from facekit.compat.peft import adapted_layers, take_adapters_out
from facekit.errors import ConfigurationError
from facekit.models.interoperability.adapters import LoadedAdapter
from facekit.models.interoperability.merging import merge_adapters
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import is_native
from facekit.training.recipes.settings import LoraSettings
from facekit.training.trainable.quantized import is_quantized

logger = logging.getLogger(__name__)

_PART = "language_model."
_SETTINGS = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout", "rslora": "use_rslora", "dora": "use_dora"}


class FoundAdapter:
    """The adapter that a model was loaded with, taken out of it.

    Args:
        model: The composed model; its adapters are taken out.
        loaded: What was loaded.
    """

    def __init__(self, model: FaceKitForConditionalGeneration, loaded: LoadedAdapter) -> None:
        self._model, self._loaded = model, loaded
        parameters = model.named_parameters()
        self._weights = {name: value.detach().clone() for name, value in parameters if ".lora_" in name}
        take_adapters_out(model, merge=False)

    def own_config(self) -> LoraConfig:
        """PEFT's configuration of the adapter, for the language model alone."""
        config: Any = copy.deepcopy(self._loaded.config)
        config.target_modules = [name.removeprefix(_PART) for name in config.target_modules]
        for values in ("rank_pattern", "alpha_pattern"):
            given = getattr(config, values) or {}
            setattr(config, values, {name.removeprefix(_PART): value for name, value in given.items()})
        config.inference_mode, config.task_type, config.init_lora_weights = False, "CAUSAL_LM", True
        own: LoraConfig = config
        return own

    def write_weights(self, language_model: torch.nn.Module) -> None:
        """Write the adapter's weights into adapters of ``own_config``."""
        own = dict(language_model.named_parameters())
        with torch.no_grad():
            for name, value in self._weights.items():
                own[name.removeprefix(_PART)].copy_(value)

    def brought_whole(self) -> tuple[dict[str, Tensor], list[str] | None]:
        """Whole tensors that the adapter had brought, as names of its file, and PEFT's ``modules_to_save`` for them."""
        state, loaded = self._model.state_dict(), self._loaded
        whole = {name.removeprefix(_PART): state[name].detach().clone() for name in loaded.whole}
        copies = sorted({name.removeprefix(_PART).rpartition(".")[0] for name in loaded.untied})
        return whole, copies or None

    def put_back(self) -> None:
        """Put the adapter into the model again, as it was loaded."""
        inject_adapter_in_model(self._loaded.config, self._model)
        own = dict(self._model.named_parameters())
        for name, value in self._weights.items():
            own[name].data = value
        self._model.loaded_adapter = self._loaded


def take_found(model: FaceKitForConditionalGeneration, lora: LoraSettings) -> FoundAdapter | None:
    """Take the adapter out of a model that was loaded with one; None where there is none.

    Args:
        model: The model.
        lora: What the settings say of adapters; what they leave open is the adapter's.

    Raises:
        ConfigurationError: The adapters are not facekit's to train, or of another kind than the settings say.
    """
    layers = adapted_layers(model)
    if not layers:
        return None
    loaded = model.loaded_adapter
    if loaded is None:
        raise ConfigurationError(
            "the model has adapters that facekit did not load; merge them (merge_and_unload), or load their folder"
        )
    where = f"the adapter in '{loaded.folder}'"
    merged = "merge it into a model of its own (facekit export --merge-lora) and start from that"
    if is_native(model):
        raise ConfigurationError(
            f"{where} is that of a base in its own class, which is not trained on with it; {merged}"
        )
    beyond = next((name for name in layers if not name.startswith(_PART)), None)
    if beyond is not None:
        raise ConfigurationError(f"{where} also adapts {beyond}, outside the language model; {merged}")
    if not isinstance(loaded.config.init_lora_weights, bool):
        raise ConfigurationError(
            f"{where} was saved with init_lora_weights='{loaded.config.init_lora_weights}', which changes the weights "
            f"below it; {merged}"
        )
    has = {name: getattr(loaded.config, theirs) for name, theirs in _SETTINGS.items()}
    named = [name for name in _SETTINGS if name in lora.model_fields_set and getattr(lora, name) != has[name]]
    if named:
        name = named[0]
        raise ConfigurationError(
            f"{where} has {name} {has[name]}, but the settings say lora.{name} {getattr(lora, name)}; set it to "
            f"{has[name]} to go on with the adapter, or {merged}"
        )
    if lora.init != "default":
        raise ConfigurationError(
            f"{where} has learned weights, and lora.init={lora.init} is of first ones; leave it out, or {merged}"
        )
    if not isinstance(lora.targets, str) and not _are_targets(lora.targets, layers):
        adapted = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
        raise ConfigurationError(
            f"{where} adapts {adapted}, but the settings say lora.targets {', '.join(lora.targets)}; leave it out to "
            f"go on with the adapter, or {merged}"
        )
    logger.info("goes on from %s, of rank %d and alpha %d", where, has["rank"], has["alpha"])
    return FoundAdapter(model, loaded)


def _are_targets(targets: Sequence[str], layers: Iterable[str]) -> bool:
    """Whether these names are of these layers, all of them and no others."""
    fits = [[f".{layer}".endswith(f".{target}") for target in targets] for layer in layers]
    return all(map(any, fits)) and all(map(any, zip(*fits, strict=True)))


def merge_found(model: FaceKitForConditionalGeneration) -> None:
    """Merge the adapters of a model that is trained without; those on packed weights are merged when it is saved."""
    if not adapted_layers(model) or is_quantized(model):
        return
    logger.info("the adapters that the model was loaded with are merged into it; they are not trained")
    merge_adapters(model)
    model.loaded_adapter = None
