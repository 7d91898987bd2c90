"""The output of the composed model: the language model's own, with the visual tokens beside it.

The class is made from the class that the language model returned, so that every field it has, of whatever family or
version, stays as it is.
"""

from __future__ import annotations

from dataclasses import field, make_dataclass
from typing import Any

from torch import Tensor
from transformers import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import ModelOutput

from facekit.compat.transformers_cache import cache_of


class FaceKitCausalLMOutput:
    """What ``FaceKitForConditionalGeneration`` returns; it is a ``ModelOutput`` too, of the language model's kind.

    Further fields are those of the language model, such as ``router_logits`` of a mixture of experts.

    Attributes:
        loss: The language model's loss, where labels were given.
        logits: ``(B, L, vocabulary)``.
        hidden_states: Per layer, where asked for.
        attentions: Per layer, where asked for.
        image_hidden_states: ``(B_media, n, D)``, the visual tokens that were merged; those of shorter clips come
            first in their row.
    """

    loss: Tensor | None
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None
    attentions: tuple[Tensor, ...] | None
    image_hidden_states: Tensor | None

    # Fields of the language model's output come first, so that these serve the name which it does not have.
    @property
    def cache(self) -> Cache | None:
        """The cache of keys and values."""
        return _cache_of(self)

    @property
    def past_key_values(self) -> Cache | None:
        """The same, as transformers calls it before 5.24."""
        return _cache_of(self)


def with_visual_tokens(outputs: ModelOutput, image_hidden_states: Tensor | None) -> Any:
    """Add the visual tokens to what a language model returned.

    Args:
        outputs: Of any class; it is left as it is.
        image_hidden_states: ``(B_media, n, D)``, or None where there was no image.

    Returns:
        A ``FaceKitCausalLMOutput`` that is an instance of the class of ``outputs`` too.
    """
    kind = type(outputs)
    if kind not in _classes:
        _classes[kind] = _extend(kind)
    return _classes[kind](**dict(outputs.items()), image_hidden_states=image_hidden_states)


def _extend(kind: type[ModelOutput]) -> type:
    def reduce(self: ModelOutput) -> tuple[Any, ...]:
        return _restore, (kind, dict(self.items()))

    own = ("image_hidden_states", Tensor | None, field(default=None))
    namespace = {"__reduce__": reduce, "__module__": __name__, "__doc__": FaceKitCausalLMOutput.__doc__}
    return make_dataclass(f"FaceKit{kind.__name__}", [own], bases=(kind, FaceKitCausalLMOutput), namespace=namespace)


def _restore(kind: type[ModelOutput], values: dict[str, Any]) -> Any:
    """Unpickle: the class exists only once it was made."""
    own = values.pop("image_hidden_states", None)
    return with_visual_tokens(kind(**values), own)


# That of nearly all language models is made here, because torch.compile cannot make a class while it traces.
_classes: dict[type[ModelOutput], type] = {CausalLMOutputWithPast: _extend(CausalLMOutputWithPast)}


def _cache_of(outputs: Any) -> Cache | None:
    cache: Cache | None = cache_of(outputs)
    return cache
