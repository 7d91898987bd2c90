"""The composed model without its head: media and tokens to hidden states.

Trainers that compute the head themselves, a part of the vocabulary or a few positions at a time, call a model's
``base_model`` for ``last_hidden_state``, as those of TRL do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import Cache

from facekit.compat.transformers_cache import cache_argument
from facekit.errors import ConfigurationError
from facekit.models.outputs import with_visual_tokens

if TYPE_CHECKING:
    from facekit.models.modeling import FaceKitForConditionalGeneration

_OF_WRAPPERS = frozenset({"get_encoder", "set_encoder", "get_decoder", "set_decoder"})


class HiddenStates:
    """A view of a model that ends before its head; all else is the model's own.

    It is no module, so that weights keep their names.

    Args:
        model: The whole model.
    """

    def __init__(self, model: FaceKitForConditionalGeneration) -> None:
        self._model = model

    def __call__(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        landmarks: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        cache: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        image_features: Tensor | None = None,
        num_frames: Tensor | None = None,
        spare_pixels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Encode, merge and decode; arguments as those of the model, without labels.

        Returns:
            The language model's output with ``last_hidden_state`` ``(B, L, D)``, and the visual tokens.

        Raises:
            ConfigurationError: See ``FaceKitForConditionalGeneration.forward``; or the language model cannot be had
                without its head.
        """
        language_model = self._model.language_model
        decoder: Any = language_model.get_decoder()
        if decoder is language_model:
            raise ConfigurationError(
                f"{type(language_model).__name__} has no model without a head inside it, which this trainer asks for; "
                "train it by 'facekit train'"
            )
        embeddings, image_features = self._model.embed(
            input_ids, pixel_values, landmarks, inputs_embeds, image_features, num_frames, spare_pixels
        )
        outputs = decoder(
            inputs_embeds=embeddings,
            attention_mask=attention_mask,
            position_ids=position_ids,
            **cache_argument(language_model, past_key_values if cache is None else cache),
            **kwargs,
        )
        return with_visual_tokens(outputs, image_features)

    def __getattr__(self, name: str) -> Any:
        if name in _OF_WRAPPERS:  # transformers asks a base for them only after the model itself
            raise AttributeError(name)
        return getattr(self._model, name)
