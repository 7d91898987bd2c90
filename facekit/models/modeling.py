"""The composed model: encode, project, merge, decode.

What a vision encoder, a connector or a language model does by itself lives in its own room; here they are put together
so that transformers, PEFT and their trainers can use the whole as one model.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Cache, PreTrainedModel

from facekit.compat.safetensors import share_weights
from facekit.compat.transformers_cache import cache_argument
from facekit.connectors.base import Connector
from facekit.encoders.base import VisionEncoder
from facekit.errors import ConfigurationError
from facekit.models.configuration import FaceKitConfig
from facekit.models.generation import GenerationFromMedia
from facekit.models.hidden_states import HiddenStates
from facekit.models.landmark_rows import read_media
from facekit.models.outputs import FaceKitCausalLMOutput, with_visual_tokens
from facekit.models.vision import VisualParts, build_part
from facekit.models.visual_tokens import count_media_tokens, merge_visual_tokens

logger = logging.getLogger(__name__)


class FaceKitForConditionalGeneration(VisualParts, GenerationFromMedia):
    """A vision encoder, a connector and a causal language model as one Hugging Face model.

    The design is LLaVA's (Liu et al. 2023) with landmarks beside the pixels (Face-LLaVA, Chaubey et al. 2025). As in
    the latter, clips (T > 1) may have an encoder of their own; one connector serves both.

    Args:
        config: Names the parts; those that are not given are built from it with untrained weights.
        encoder: A vision encoder, used as it is.
        connector: A connector, used as it is.
        language_model: A causal language model with its head, used as it is.
        video_encoder: Sees clips of more than one frame, used as it is; where there is none, ``encoder`` does.

    Raises:
        ConfigurationError: The configuration names no encoder or no connector, or widths or pixels do not fit.
        UnknownPartError: A part's name is not registered here.
    """

    config_class = FaceKitConfig
    main_input_name = "input_ids"
    input_modalities = ("image", "video", "text")  # type: ignore[assignment]  # as models of transformers have it
    supports_gradient_checkpointing = True
    loaded_adapter: Any = None
    """The PEFT adapter that the model was loaded with and still has; see ``facekit.load``."""
    _has_told = False

    def __init__(
        self,
        config: FaceKitConfig,
        *,
        encoder: VisionEncoder | None = None,
        connector: Connector | None = None,
        language_model: PreTrainedModel | None = None,
        video_encoder: VisionEncoder | None = None,
    ) -> None:
        super().__init__(config)
        if config.image_token_id is None:
            raise ConfigurationError(
                "the configuration has no image_token_id, so a text cannot hold an image; "
                "set it, or build the model with facekit.create"
            )
        self.encoder: VisionEncoder = encoder if encoder is not None else build_part("encoder", config.encoder)
        if video_encoder is None and config.video_encoder is not None:
            video_encoder = build_part("encoder", config.video_encoder)
        self.video_encoder: VisionEncoder | None = video_encoder
        self.connector: Connector = connector if connector is not None else build_part("connector", config.connector)
        if language_model is None:
            language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.language_model = language_model
        config.text_config = self.language_model.config
        self._check_parts_fit()
        parts = (self.encoder, self.video_encoder, self.connector)
        self.keep_whole(type(part) for part in parts if part is not None)
        self._computed_buffers = {
            name: buffer for name, buffer in self.named_non_persistent_buffers() if not buffer.is_meta
        }
        self.post_init()

    def forward(
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
        labels: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_frames: Tensor | None = None,
        spare_pixels: Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> FaceKitCausalLMOutput:
        """Run the model; a batch may mix samples with images, clips of different length, several of them, and none.

        Args:
            input_ids: ``(B, L)``; every visual token is one ``config.image_token_id``.
            pixel_values: ``(B_media, T, 3, H, W)``, in the order of their tokens in the batch, row by row; where
                lengths are mixed, shorter ones are padded with any frames. They may carry the landmarks, see
                ``facekit.models.landmark_rows``.
            landmarks: ``(B_media, T, 68, 2)``; NaN rows are absent.
            attention_mask: ``(B, L)``, 1 for tokens and 0 for padding, on either side.
            position_ids: ``(B, L)``.
            past_key_values: Keys and values of earlier steps; their visual tokens are not given again.
            cache: The same, under the name that transformers gives it from 5.24 on; either name works.
            inputs_embeds: ``(B, L, D)`` in place of embedding ``input_ids``, which still say where visual tokens go.
            image_features: ``(B_media, n, D)`` from ``get_image_features``, in place of ``pixel_values``.
            labels: ``(B, L)``; -100 is left out of the loss.
            logits_to_keep: Compute the logits of that many last positions, or of these; 0 for all.
            num_frames: ``(B_media,)``, how many frames of each image or clip are real; by default all T.
            spare_pixels: ``(1, 1, 3, H, W)`` that go through encoder and connector and change nothing: text alone then
                gives their weights gradients of zero, which all processes of a run must have at the same time.
            return_dict: False for a tuple of what is not None; by default as ``config`` says.
            **kwargs: Passed to the language model.

        Returns:
            Loss, logits, cache and what else the language model returns, and the visual tokens.

        Raises:
            ConfigurationError: The visual tokens in ``input_ids`` are not as many as those of the images and clips.
        """
        inputs_embeds, image_features = self.embed(
            input_ids, pixel_values, landmarks, inputs_embeds, image_features, num_frames, spare_pixels
        )
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            labels=labels,
            logits_to_keep=logits_to_keep,
            **cache_argument(self.language_model, past_key_values if cache is None else cache),
            **kwargs,
        )
        extended = with_visual_tokens(outputs, image_features)
        as_dict = self.config.return_dict if return_dict is None else return_dict
        return extended if as_dict else extended.to_tuple()  # type: ignore[no-any-return]  # a tuple where asked for

    def embed(
        self,
        input_ids: Tensor | None,
        pixel_values: Tensor | None = None,
        landmarks: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        image_features: Tensor | None = None,
        num_frames: Tensor | None = None,
        spare_pixels: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Encode media and put them between the embedded tokens; arguments and errors as in ``forward``.

        Returns:
            ``(B, L, D)`` for the language model, and the visual tokens ``(B_media, n, D)`` or None.
        """
        if pixel_values is not None:
            pixel_values, landmarks, num_frames = read_media(pixel_values, landmarks, num_frames).values()
            self._tell_missing_landmarks(landmarks)
        counts = count_media_tokens(self.count_visual_tokens, pixel_values, image_features, num_frames)
        self._check_counts(input_ids, counts)
        if inputs_embeds is None:
            inputs_embeds = self._embed_tokens(input_ids)
        if pixel_values is not None and image_features is None:
            image_features = self.get_image_features(pixel_values, landmarks, num_frames)
        if image_features is not None and input_ids is not None:
            is_visual = input_ids == self.config.image_token_id
            inputs_embeds = merge_visual_tokens(is_visual, inputs_embeds, image_features, counts)
        if spare_pixels is not None:
            inputs_embeds = inputs_embeds + 0.0 * self.get_image_features(spare_pixels).sum().to(inputs_embeds.dtype)
        return inputs_embeds, image_features

    @property
    def base_model(self) -> Any:
        """The model without its head, which returns ``last_hidden_state``; see ``HiddenStates``."""
        return HiddenStates(self)

    def _embed_tokens(self, input_ids: Tensor | None) -> Tensor:
        # A released checkpoint's vocabulary may have no row for the image token, whose embedding is never read.
        if input_ids is not None and (self.config.image_token_id or 0) >= self.config.text_config.vocab_size:
            input_ids = input_ids.masked_fill(input_ids == self.config.image_token_id, 0)
        embedded: Tensor = self.get_input_embeddings()(input_ids)
        return embedded

    def _tell_missing_landmarks(self, landmarks: Tensor | None) -> None:
        # The processor gives landmarks with every picture, NaN where there is no face: whoever has none lost them.
        missing = landmarks is None and self.connector.uses_landmarks
        if missing and not self._has_told and not torch.compiler.is_compiling():
            self._has_told = True
            logger.warning(
                "pixel_values came without landmarks, so %s sees no face geometry; where a trainer passes on only the "
                "tensors that it knows by name, as TRL's GRPO does, set processor.landmarks_in_pixels = True",
                type(self.connector).__name__,
            )

    def _check_counts(self, input_ids: Tensor | None, counts: list[int]) -> None:
        # Before anything is queued on the device, so that reading the count waits for nothing of this step.
        given = sum(counts)
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
                f"({self.describe_cost()}); write the prompts with FaceKitProcessor, without truncation"
            )

    def _check_parts_fit(self) -> None:
        self.check_visual_parts()
        width, expected = self.connector.output_width, self.config.text_config.hidden_size
        if width != expected:
            raise ConfigurationError(f"the connector has width {width} but the language model has width {expected}")

    def image_blocks(self, input_ids: Tensor) -> Tensor | None:
        """Which tokens of a batch see each other both ways; none do, see ``NativeModel.image_blocks``."""
        return None

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's token embedding."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Return the language model's head."""
        head: nn.Module = self.language_model.get_output_embeddings()
        return head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the language model's head."""
        self.language_model.set_output_embeddings(new_embeddings)

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        """Resize the language model's vocabulary; arguments as in transformers."""
        return self.language_model.resize_token_embeddings(*args, **kwargs)

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Write the model; arguments as in transformers.

        Raises:
            ConfigurationError: The language model is quantised; its packed weights are no checkpoint of their own.
        """
        refuse_quantised(self)
        super().save_pretrained(*args, **kwargs)
        share_weights(args[0] if args else kwargs["save_directory"])

    def enable_input_require_grads(self) -> None:
        """Let gradients pass the token embedding only: a frozen encoder must not keep its activations."""
        self.language_model.enable_input_require_grads()

    def disable_input_require_grads(self) -> None:
        """Undo ``enable_input_require_grads``."""
        self.language_model.disable_input_require_grads()

    def initialize_weights(self) -> None:
        """Initialise the language model alone: encoders and connectors draw their own weights when they are built.

        transformers calls it at the end of building and of loading. Loading puts empty tensors for buffers
        that no checkpoint has; those of a foreign encoder (masks, rotary tables) come back here, because only the
        encoder itself knows how they are computed.
        """
        for name, value in self._computed_buffers.items():
            self.get_buffer(name).copy_(value)
        self._computed_buffers = {}
        self.language_model.initialize_weights()


def refuse_quantised(model: FaceKitForConditionalGeneration) -> None:
    """Make sure that a model's weights are those of a checkpoint.

    Raises:
        ConfigurationError: The language model is quantised.
    """
    if not all(parameter.is_floating_point() for parameter in model.language_model.parameters()):
        raise ConfigurationError(
            "a model whose language model is quantised (load_in=...) cannot be saved whole; save its adapters, and "
            "merge them into the model in its floating type"
        )
