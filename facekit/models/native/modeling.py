"""``NativeModel``: a vision-language model of transformers, in its own class, with the interface of facekit's models.

What asks, trains, scores, serves and inspects talks to this interface: pictures as squares of pixels beside tokens. The
model inside encodes the pictures itself, wherever it reads them, so nothing here knows how its family does it; what it
needs beside pixels and tokens (positions of three axes, types of tokens, grids) is made here.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeGuard

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from facekit.compat.safetensors import share_weights
from facekit.compat.transformers_cache import cache_argument, generation_arguments
from facekit.compat.transformers_positions import has_multimodal_positions, multimodal_positions
from facekit.compat.transformers_vlms import find_parts
from facekit.errors import ConfigurationError
from facekit.models.landmark_rows import add_landmark_rows
from facekit.models.native.hidden_states import NativeHiddenStates
from facekit.models.native.inputs import TOKEN_TYPES
from facekit.models.native.processing import NativeProcessor
from facekit.models.native.region_model import RegionBehindProjector

_COPIES = ("num_beams", "num_return_sequences")
_MEDIA = ("pixel_values", "image_features", "landmarks", "num_frames")


class NativeModel(RegionBehindProjector):
    """A model of ``AutoModelForImageTextToText`` as a model of facekit.

    Its parameters are named by their part, ``encoder``, ``connector`` and ``language_model``, and what is left over
    (an output head of its own) by ``native``; what is saved has the names of its own class.

    Args:
        native: The model, used as it is.
        processor: Its processor; its image processor and the size in use make the model's pictures.

    Attributes:
        native: The model in its own class.
        encoder: Its vision encoder.
        connector: The modules of its projector, by name; with ``add_region`` also ``region``.
        language_model: Its language model without the head.

    Raises:
        ConfigurationError: Its parts cannot be found.
    """

    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    video_encoder = None

    def __init__(self, native: PreTrainedModel, processor: NativeProcessor) -> None:
        super().__init__(native.config)
        encoder, connectors, language_model = find_parts(native)
        # The first name of a parameter is its name, so parts come before the whole, and the projector, which some
        # families keep inside the encoder, before that.
        self.connector = nn.ModuleDict(connectors)
        self.encoder = encoder
        self.language_model = language_model
        self.native: Any = native
        self.processor = processor
        self._grids: dict[int, Tensor] = {}

    @property
    def loaded_adapter(self) -> Any:
        """The PEFT adapter that the model was loaded with and still has; see ``facekit.load``."""
        return getattr(self.native, "loaded_adapter", None)

    @loaded_adapter.setter
    def loaded_adapter(self, value: Any) -> None:
        self.native.loaded_adapter = value

    @property
    def tokens_per_frame(self) -> int:
        """How many visual tokens a picture costs."""
        return self.processor.tokens_per_frame

    def count_visual_tokens(self, frames: int) -> int:
        """How many visual tokens a picture costs; raises ``ConfigurationError`` for a clip."""
        return self.processor.count_visual_tokens(frames)

    def get_image_features(
        self, pixel_values: Tensor, landmarks: Tensor | None = None, num_frames: Tensor | None = None
    ) -> Tensor:
        """Return pictures as ``forward`` takes them in place of pixels: as they are, the model encodes them itself.

        Args:
            pixel_values: ``(B_media, 1, 3, S, S)`` in [0, 1].
            landmarks: ``(B_media, 1, 68, 2)``; not used without region attention.
            num_frames: Not used.

        Returns:
            ``(B_media, 3 * S, S)``; with region attention the landmarks are rows below the pixels.
        """
        if pixel_values.shape[1] != 1:
            self.count_visual_tokens(pixel_values.shape[1])
        if self.region is not None and landmarks is not None:
            pixel_values = add_landmark_rows(pixel_values, landmarks)
        return pixel_values.flatten(1, 3)

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        landmarks: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        cache: Cache | None = None,
        image_features: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        num_frames: Tensor | None = None,
        spare_pixels: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the model.

        Args:
            input_ids: ``(B, L)``, the text of pictures expanded as ``NativeProcessor`` writes it.
            pixel_values: ``(B_media, 1, 3, S, S)`` in [0, 1], in the order of their tokens in the batch.
            landmarks: ``(B_media, 1, 68, 2)``, NaN rows are absent; not used without region attention.
            attention_mask: ``(B, L)``; or what packed rows have in its place, see ``facekit.data.attention``.
            position_ids: ``(B, L)``, of packed rows; or ``(3, B, L)`` where the model has three axes.
            past_key_values: Keys and values of earlier steps.
            cache: The same, under the name that transformers gives it from 5.24 on.
            image_features: From ``get_image_features``, in place of ``pixel_values``.
            logits_to_keep: Compute the logits of that many last positions, or of these; 0 for all.
            num_frames: Not used.
            spare_pixels: Given where text alone is to give encoder and connector gradients of zero.
            **kwargs: Passed to the model.

        Returns:
            What the model returns.
        """
        pictures, landmarks = self.read_pictures(pixel_values, image_features, landmarks)
        past = past_key_values if cache is None else cache
        is_read = past is not None and past.get_seq_length() > 0
        arguments = self.native_arguments(input_ids, pictures, attention_mask, position_ids, is_read=is_read)
        with self.seeing(pictures, landmarks):
            outputs = self.native(
                **arguments, **cache_argument(self.native, past), logits_to_keep=logits_to_keep, **kwargs
            )
        if spare_pixels is not None:
            unseen = [value for part in (self.connector, self.encoder) for value in part.parameters()]
            outputs.logits = outputs.logits + 0.0 * sum(value.sum() for value in unseen if value.requires_grad)
        return outputs

    def native_arguments(
        self,
        input_ids: Tensor,
        pictures: Tensor | None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        *,
        is_read: bool = False,
    ) -> dict[str, Any]:
        """What the model in its own class is given of tokens and pictures, its head aside.

        Args:
            input_ids: ``(B, L)``.
            pictures: ``(B_media, 1, 3, S, S)`` in [0, 1], or None.
            attention_mask: As in ``forward``.
            position_ids: As in ``forward``.
            is_read: Whether the prompt's beginning is in a cache, so that its positions are known.
        """
        arguments = {"input_ids": input_ids, "attention_mask": attention_mask, **self._picture_inputs(pictures)}
        if not is_read:
            arguments |= self._token_types(input_ids)
        mask = attention_mask if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2 else None
        if position_ids is None and not is_read:
            position_ids = self.prompt_positions(input_ids, torch.ones_like(input_ids) if mask is None else mask)
        elif position_ids is not None and position_ids.ndim == 2 and self._has_axes:
            position_ids = self._positions(input_ids, position_ids)
        return arguments if position_ids is None else {**arguments, "position_ids": position_ids}

    @property
    def base_model(self) -> Any:
        """The model without its head, which returns ``last_hidden_state``; see ``NativeHiddenStates``."""
        return NativeHiddenStates(self)

    @property
    def generation_config(self) -> Any:
        """Of the model in its own class, which generates."""
        return self.native.generation_config

    @generation_config.setter
    def generation_config(self, value: Any) -> None:
        if hasattr(self, "native"):  # transformers writes one of its own before there is a model
            self.native.generation_config = value

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generate tokens; arguments as in transformers, with pictures as in ``forward``.

        Raises:
            ConfigurationError: Several answers to a prompt are asked for at once.
        """
        settings = generation_arguments(kwargs)
        input_ids = args[0] if args else settings.pop("input_ids")
        mask = settings.pop("attention_mask", None)
        mask = torch.ones_like(input_ids) if mask is None else mask
        asked = settings.get("generation_config")
        copies = {name: settings.get(name) or getattr(asked, name, None) or 1 for name in _COPIES}
        if max(copies.values()) > 1:
            raise ConfigurationError(
                f"{type(self.native).__name__} answers a question once: beams and num_return_sequences would mix its "
                "pictures up; ask again with do_sample=True for other answers"
            )
        settings |= copies if asked is None else {}  # in place of those in the checkpoint's generation_config.json
        media = {name: settings.pop(name, None) for name in _MEDIA}
        pictures, landmarks = self.read_pictures(media["pixel_values"], media["image_features"], media["landmarks"])
        arguments = {"attention_mask": mask, **self._picture_inputs(pictures)}
        if pictures is not None:
            arguments |= self._token_types(input_ids)
        positions = self.prompt_positions(input_ids, mask)
        if positions is not None:
            arguments["position_ids"] = positions
        with self.seeing(pictures, landmarks):
            return self.native.generate(input_ids, *args[1:], **arguments, **settings)

    def prompt_positions(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor | None:
        """Positions ``(3, B, L)`` of whole prompts, where the model has three axes; None where it counts by itself.

        Args:
            input_ids: ``(B, L)``.
            attention_mask: ``(B, L)``.
        """
        if not self._has_axes:
            return None
        return self._positions(input_ids, (attention_mask.cumsum(-1) - 1).masked_fill(attention_mask == 0, -1))

    def image_blocks(self, input_ids: Tensor) -> Tensor | None:
        """Number of the picture ``(B, L)`` whose tokens see each other both ways, -1 elsewhere; None where none do.

        Args:
            input_ids: ``(B, L)``.
        """
        if not str(self.config.model_type).startswith("gemma3"):
            return None
        is_image = input_ids.eq(self.config.image_token_id)
        begins = is_image & ~nn.functional.pad(is_image, (1, 0))[:, :-1]
        return (begins.cumsum(-1) - 1).masked_fill(~is_image, -1)

    @property
    def encoder_tokens(self) -> int:
        """How many tokens a picture of the size in use has in the encoder, over all of its tiles."""
        side = self.processor.image_processor.image_size
        pixels = self._picture_inputs(torch.zeros(1, 1, 3, side, side))["pixel_values"]
        if pixels.ndim == 2:  # patches already
            return len(pixels)
        patch: Any = self.config.vision_config.patch_size
        rows, columns = patch if isinstance(patch, (list, tuple)) else (patch, patch)
        height, width = pixels.shape[-2:]
        return int(pixels.shape[:-3].numel() * (height // rows) * (width // columns))

    def describe_cost(self) -> str:
        """How many visual tokens a picture costs, in words."""
        return f"{self.tokens_per_frame} a picture"

    def get_input_embeddings(self) -> nn.Module:
        """Return the language model's token embedding."""
        embeddings: nn.Module = self.native.get_input_embeddings()
        return embeddings

    def get_output_embeddings(self) -> nn.Module:
        """Return the head."""
        head: nn.Module = self.native.get_output_embeddings()
        return head

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Write the model in its own class, and its region attention beside it; arguments as in transformers."""
        kwargs.pop("state_dict", None)
        folder = args[0] if args else kwargs["save_directory"]
        self.native.save_pretrained(*args, **kwargs)
        share_weights(folder)
        self.save_region(folder)

    @property
    def language_model_name(self) -> str:
        """The name that the language model has in the model's own class."""
        found: str = next(name for name, module in self.native.named_modules() if module is self.language_model)
        return found

    def native_names(self) -> dict[str, str]:
        """The names in the model's own class of ``named_parameters``; those of region attention have none."""
        own = {id(value): name for name, value in self.native.named_parameters()}
        return {name: own[id(value)] for name, value in self.named_parameters() if id(value) in own}

    @property
    def _has_axes(self) -> bool:
        return has_multimodal_positions(self.native)

    def _positions(self, input_ids: Tensor, positions: Tensor) -> Tensor:
        is_image = input_ids.eq(self.config.image_token_id)
        if not is_image.any():
            return positions.clamp(min=0).expand(3, -1, -1)
        pictures, rest = divmod(int(is_image.sum()), self.tokens_per_frame)
        if rest:
            raise ConfigurationError(
                f"input_ids have {int(is_image.sum())} image tokens, and a picture has {self.tokens_per_frame}; write "
                "the prompts with the model's processor, without truncation"
            )
        grids = self._grid().to(input_ids.device).repeat(pictures, 1)
        return multimodal_positions(self.native, input_ids, positions, is_image, grids)

    def _grid(self) -> Tensor:
        """The grid ``(1, 3)`` of a picture of the size in use."""
        side = self.processor.image_processor.image_size
        if side not in self._grids:
            blank = torch.zeros(1, 1, 3, side, side)
            self._grids[side] = self._picture_inputs(blank)["image_grid_thw"].cpu()
        return self._grids[side]

    def _token_types(self, input_ids: Tensor) -> dict[str, Tensor]:
        is_image = input_ids.eq(self.config.image_token_id).long()
        taken = inspect.signature(self.native.forward).parameters
        return {name: is_image for name in TOKEN_TYPES if name in taken}

    def _picture_inputs(self, pictures: Tensor | None) -> dict[str, Any]:
        """What the model's own image processor makes of squares of pixels."""
        if pictures is None or not len(pictures):
            return {}
        side = pictures.shape[-1]
        made = self.processor.native.image_processor(
            images=[as_picture(each) for each in pictures.reshape(-1, 3, side, side)], return_tensors="pt"
        )
        taken = inspect.signature(self.native.forward).parameters
        inputs: dict[str, Any] = {}
        for name, value in made.items():
            if name in taken:
                dtype = self.dtype if value.is_floating_point() else value.dtype
                inputs[name] = value.to(pictures.device, dtype)
        return inputs


def as_picture(pixels: Tensor) -> Image.Image:
    """A picture of pixels ``(3, S, S)`` in [0, 1]."""
    values = (pixels.float() * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(values.permute(1, 2, 0).cpu().numpy())


def is_native(model: nn.Module) -> TypeGuard[NativeModel]:
    """Whether a model of facekit is one of another library's in its own class."""
    return isinstance(model, NativeModel)
