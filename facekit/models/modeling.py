"""The composed model: encode, project, merge, decode.

Everything that a vision encoder, a connector or a language model does by itself lives in its own room; here is only
how they are put together so that transformers, PEFT and their trainers can use the whole as one model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, Cache, GenerationMixin, PreTrainedModel
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from facekit.catalog import current_registry
from facekit.connectors.base import Connector
from facekit.encoders.base import VisionEncoder
from facekit.errors import ConfigurationError
from facekit.models.configuration import FaceKitConfig

_VISUAL_INPUTS = ("pixel_values", "landmarks", "image_features")


@dataclass
class FaceKitCausalLMOutput(ModelOutput):
    """What ``FaceKitForConditionalGeneration`` returns.

    Args:
        loss: The language model's loss, where labels were given.
        logits: ``(B, L, vocabulary)``.
        past_key_values: The cache of keys and values.
        hidden_states: Per layer, where asked for.
        attentions: Per layer, where asked for.
        image_hidden_states: ``(B_media, n, D)``, the visual tokens that were merged.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    image_hidden_states: Tensor | None = None


class FaceKitForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """A vision encoder, a connector and a causal language model as one Hugging Face model.

    The design is LLaVA's (Liu et al. 2023) with landmarks beside the pixels (Face-LLaVA, Chaubey et al. 2025).

    Args:
        config: Names the parts; those that are not given are built from it with untrained weights.
        encoder: A vision encoder, used as it is.
        connector: A connector, used as it is.
        language_model: A causal language model with its head, used as it is.

    Raises:
        ConfigurationError: The configuration names no encoder or no connector, or widths do not fit.
        UnknownPartError: A part's name is not registered here.
    """

    config_class = FaceKitConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012 - the base class has it as a plain class attribute

    def __init__(
        self,
        config: FaceKitConfig,
        *,
        encoder: VisionEncoder | None = None,
        connector: Connector | None = None,
        language_model: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config)
        if config.image_token_id is None:
            raise ConfigurationError("the configuration has no image_token_id, so no image could be placed in a text")
        self.encoder: VisionEncoder = encoder if encoder is not None else _build_part("encoder", config.encoder)
        self.connector: Connector = connector if connector is not None else _build_part("connector", config.connector)
        if language_model is None:
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.language_model = language_model
        config.text_config = self.language_model.config
        self._check_widths()
        self._no_split_modules = [type(self.encoder).__name__, type(self.connector).__name__]
        self.post_init()

    @property
    def tokens_per_frame(self) -> int:
        """How many visual tokens a frame costs."""
        return self.connector.tokens_per_frame(self.encoder.grid, self.encoder.num_prefix_tokens)

    def get_image_features(self, pixel_values: Tensor, landmarks: Tensor | None = None) -> Tensor:
        """Encode and project images or clips.

        Args:
            pixel_values: ``(B_media, T, 3, H, W)``; T is 1 for an image.
            landmarks: ``(B_media, T, 68, 2)``, iBUG-68, x then y in [0, 1] of these pixels; NaN rows are absent.

        Returns:
            ``(B_media, T * tokens_per_frame, D)``.
        """
        parameter = next(self.encoder.parameters())
        tokens = self.encoder(pixel_values.to(parameter.device, parameter.dtype))  # (B_media, T, P + N, C)
        landmarks = None if landmarks is None else landmarks.to(tokens.device)
        return self.connector(tokens, self.encoder.grid, landmarks)

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        landmarks: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        image_features: Tensor | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> FaceKitCausalLMOutput:
        """Run the model; a batch may mix samples with one image, several, and none.

        Args:
            input_ids: ``(B, L)``; every visual token is one ``config.image_token_id``.
            pixel_values: ``(B_media, T, 3, H, W)``, in the order of their tokens in the batch, row by row.
            landmarks: ``(B_media, T, 68, 2)``; NaN rows are absent.
            attention_mask: ``(B, L)``, 1 for tokens and 0 for padding, on either side.
            position_ids: ``(B, L)``.
            past_key_values: Keys and values of earlier steps; their visual tokens are not given again.
            inputs_embeds: ``(B, L, D)`` in place of embedding ``input_ids``, which still say where visual tokens go.
            image_features: ``(B_media, n, D)`` from ``get_image_features``, in place of ``pixel_values``.
            labels: ``(B, L)``; -100 is left out of the loss.
            logits_to_keep: Compute the logits of that many last positions, or of these; 0 for all.
            **kwargs: Passed to the language model.

        Returns:
            Loss, logits, cache and what else the language model returns.

        Raises:
            ConfigurationError: The visual tokens in ``input_ids`` are not as many as those of the images.
        """
        self._check_counts(input_ids, pixel_values, image_features)
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if pixel_values is not None and image_features is None:
            image_features = self.get_image_features(pixel_values, landmarks)
        if image_features is not None and input_ids is not None:
            inputs_embeds = self.merge_image_features(input_ids, inputs_embeds, image_features)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        return FaceKitCausalLMOutput(
            loss=outputs.loss,
            logits=outputs.logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=image_features,
        )

    def merge_image_features(self, input_ids: Tensor, inputs_embeds: Tensor, image_features: Tensor) -> Tensor:
        """Put visual tokens, in order, where ``input_ids`` have the image token; ``forward`` has compared the counts.

        Args:
            input_ids: ``(B, L)``.
            inputs_embeds: ``(B, L, D)``.
            image_features: ``(B_media, n, D)``.

        Returns:
            ``(B, L, D)``.
        """
        features = image_features.flatten(0, 1).to(inputs_embeds.device, inputs_embeds.dtype)
        is_visual = input_ids == self.config.image_token_id
        # A gather: unlike masked_scatter, its backward does not wait for the device to count the mask.
        source = (is_visual.flatten().cumsum(0) - 1).clamp(0, len(features) - 1).view_as(is_visual)
        return torch.where(is_visual.unsqueeze(-1), F.embedding(source, features), inputs_embeds)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *, is_first_iteration: bool | None = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Add images to the first step only; later steps find them in the cache, where there is one."""
        inputs = super().prepare_inputs_for_generation(input_ids, is_first_iteration=is_first_iteration, **kwargs)
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in _VISUAL_INPUTS:
                inputs.pop(name, None)
        return inputs

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor | None, dict[str, Any]]:
        # Rows may have different numbers of images, and copies of a row need all of its images in order.
        visual = {name: kwargs.pop(name) for name in _VISUAL_INPUTS if kwargs.get(name) is not None}
        if expand_size > 1 and visual and input_ids is not None:
            owners = self._rows_of_media(input_ids, next(iter(visual.values())).shape[0])
            order = torch.cat([torch.where(owners == row)[0].repeat(expand_size) for row in range(len(input_ids))])
            visual = {name: value[order.to(value.device)] for name, value in visual.items()}
        input_ids, kwargs = super()._expand_inputs_for_generation(
            expand_size=expand_size, input_ids=input_ids, **kwargs
        )
        return input_ids, {**kwargs, **visual}

    def _rows_of_media(self, input_ids: Tensor, media: int) -> Tensor:
        is_visual = input_ids == self.config.image_token_id
        rows = torch.where(is_visual)[0]
        if media == 0 or len(rows) % media:
            raise ConfigurationError(f"{len(rows)} image tokens cannot be shared by {media} images")
        return rows[:: len(rows) // media]

    def _check_counts(
        self, input_ids: Tensor | None, pixel_values: Tensor | None, image_features: Tensor | None
    ) -> None:
        # Before anything is queued on the device, so that reading the count waits for nothing of this step.
        given = 0
        if image_features is not None:
            given = image_features.shape[0] * image_features.shape[1]
        elif pixel_values is not None:
            given = pixel_values.shape[0] * pixel_values.shape[1] * self.tokens_per_frame
        if input_ids is None:
            if given:
                raise ConfigurationError("images were given without input_ids, so nothing says where they go")
            return
        is_decoding = given == 0 and input_ids.shape[1] == 1
        if is_decoding or torch.compiler.is_compiling():
            return
        expected = int((input_ids == self.config.image_token_id).sum())
        if expected != given:
            raise ConfigurationError(
                f"input_ids have {expected} image tokens but the images give {given} visual tokens "
                f"({self.tokens_per_frame} a frame); write the prompts with FaceKitProcessor, without truncation"
            )

    def _check_widths(self) -> None:
        pairs = (
            ("encoder", self.encoder.hidden_size, "connector's input", self.connector.input_width),
            ("connector", self.connector.output_width, "language model", self.config.text_config.hidden_size),
        )
        for source, width, target, expected in pairs:
            if width != expected:
                raise ConfigurationError(f"the {source} has width {width} but the {target} has width {expected}")

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's token embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the language model's head."""
        return self.language_model.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the language model's head."""
        self.language_model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Resize the language model's vocabulary; arguments as in transformers."""
        return self.language_model.resize_token_embeddings(*args, **kwargs)

    def enable_input_require_grads(self) -> None:
        """Let gradients pass the token embedding only: a frozen encoder must not keep its activations."""
        self.language_model.enable_input_require_grads()

    def disable_input_require_grads(self) -> None:
        """Undo ``enable_input_require_grads``."""
        self.language_model.disable_input_require_grads()

    def _init_weights(self, module: nn.Module) -> None:
        # Encoders and connectors draw their own weights when they are built; language models have their own method.
        return

    def _move_missing_keys_from_meta_to_device(self, *args: Any, **kwargs: Any) -> None:
        # Loading puts empty tensors in the place of buffers that no checkpoint has. Those of a foreign encoder
        # (masks, rotary tables) are computed when it is built, and only it knows how.
        computed = {name: buffer for name, buffer in self.named_non_persistent_buffers() if not buffer.is_meta}
        super()._move_missing_keys_from_meta_to_device(*args, **kwargs)
        for name, value in computed.items():
            self.get_buffer(name).copy_(value)


@contextmanager
def _real_construction() -> Iterator[None]:
    """Build on the CPU in float32, whatever device and type are the default: tables computed there must be exact."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


def _build_part(kind: str, values: dict[str, Any] | None) -> Any:
    """Build an encoder or connector with untrained weights from its part of the configuration."""
    if not values or "name" not in values:
        raise ConfigurationError(f"the configuration names no {kind}: it needs {{'name': ..., ...}}")
    settings = {key: value for key, value in values.items() if key != "name"}
    part = current_registry().load(kind, values["name"])
    dtype = torch.get_default_dtype()
    with _real_construction():
        return part.from_config(settings).to(dtype)
