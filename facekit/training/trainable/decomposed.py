"""Adapters that begin as a part of the weights below them (PiSSA), and how they are saved and taken out again.

PEFT takes the first adapters off the weights. What such a run learned is the difference of its last adapters and its
first, which is an ordinary adapter of twice the rank on the weights as they were (Meng et al. 2024, arXiv 2404.02948,
appendix).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn

from facekit.errors import ConfigurationError


class DecomposedWeights:
    """The weights of a language model that adapters are about to be taken from; nothing where they begin at zero.

    Args:
        language_model: Before the adapters are put in. A copy of the weights that they are taken from is kept in the
            CPU's memory.
        config: PEFT's configuration.

    Raises:
        ConfigurationError: Another module shares such a weight, as an embedding does that of the head.
    """

    def __init__(self, language_model: nn.Module, config: LoraConfig) -> None:
        self._model, self._first = language_model, dict[str, Tensor]()
        self._decomposes = str(config.init_lora_weights).startswith("pissa")
        self._before: dict[str, Tensor] = {}
        for name, value in language_model.state_dict().items() if self._decomposes else ():
            if any(f".{name}".endswith(f".{target}.weight") for target in config.target_modules or ()):
                self._require_own(name)
                self._before[name] = value.to("cpu", copy=True)

    def _require_own(self, name: str) -> None:
        """Refuse a layer whose weight another module has, too, and would lose what the adapters take off it."""
        module, weight = self._model.get_submodule(name.rpartition(".")[0]), self._model.get_parameter(name)
        held = [other for other, value in self._model.named_parameters(remove_duplicate=False) if value is weight]
        if len(held) > 1 and not isinstance(module, nn.Embedding):
            raise ConfigurationError(
                f"lora init='pissa' takes adapters off {name}, which is {next(each for each in held if each != name)}, "
                "too; leave it out of targets, or init"
            )

    def remember_first(self) -> None:
        """Keep the adapters' first weights."""
        if not self._decomposes:
            return
        parameters = self._model.named_parameters()
        self._first = {name: value.detach().clone() for name, value in parameters if ".lora_" in name}

    def as_ordinary(self, state: Mapping[str, Tensor], config: LoraConfig) -> tuple[dict[str, Tensor], LoraConfig]:
        """Return adapters on the weights as they were: the trained ones beside the first ones, taken off.

        Args:
            state: Names and tensors as PEFT saves them.
            config: Their configuration.
        """
        config = copy.deepcopy(config)
        if not self._decomposes:
            return dict(state), config
        doubled = {}
        for name, value in state.items():
            first = self._first[name.removesuffix(".weight") + ".default.weight"].to(value)
            is_output = ".lora_B." in name
            doubled[name] = torch.cat([value, -first if is_output else first], dim=1 if is_output else 0)
        config.init_lora_weights = True
        alpha: Any = config.lora_alpha * (2**0.5 if config.use_rslora else 2)
        config.lora_alpha = alpha
        config.r = config.r * 2
        return doubled, config

    def restore(self) -> None:
        """Write the weights as they were; the adapters are out already."""
        with torch.no_grad():
            for name, value in self._before.items():
                self._model.get_parameter(name).copy_(value)
