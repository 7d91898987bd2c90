"""A release of transformers that does not exist: a language model's cache has a new name, its output a new field.

The old name is a deprecated alias, as it was when transformers 5.24 renamed ``past_key_values`` to ``cache``. The
library's own ``generate`` stays as it is installed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, LlamaForCausalLM
from transformers.utils import ModelOutput

from facekit.compat.transformers_cache import GENERATION_CACHE, cache_of


class FutureWarningOfALibrary(FutureWarning):
    """An old name was used."""


def _warn(name: str) -> None:
    warnings.warn(f"`{name}` is deprecated, use `key_value_state`", FutureWarningOfALibrary, stacklevel=3)


@dataclass
class FutureOutput(ModelOutput):
    """The output of a language model of that release."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    key_value_state: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    token_entropy: Tensor | None = None

    @property
    def cache(self) -> Cache | None:
        _warn("cache")
        return self.key_value_state

    @property
    def past_key_values(self) -> Cache | None:
        _warn("past_key_values")
        return self.key_value_state


class FutureLlama(LlamaForCausalLM):
    """A Llama of that release; give it to an existing one as ``model.__class__``."""

    def forward(
        self, *, key_value_state: Cache | None = None, return_dict: bool = True, **kwargs: Any
    ) -> FutureOutput | tuple:
        for name in ("cache", "past_key_values"):
            if kwargs.get(name) is not None:
                _warn(name)
                key_value_state = kwargs[name]
            kwargs.pop(name, None)
        now = super().forward(**{GENERATION_CACHE: key_value_state}, **kwargs)
        chances = now.logits.softmax(-1)
        return FutureOutput(
            loss=now.loss,
            logits=now.logits,
            key_value_state=cache_of(now),
            hidden_states=now.hidden_states,
            attentions=now.attentions,
            token_entropy=torch.special.entr(chances).sum(-1),
        )
