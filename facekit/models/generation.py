"""Generation of the composed model: visual tokens in the first step, and expansion for beams and sequences.

Beams and several sequences per prompt copy its row. transformers copies tensors row by row, but rows may have different
numbers of images; so media go through it unseen, and are copied when the first step is prepared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facekit.compat.transformers_cache import generation_arguments
from facekit.compat.transformers_model import ComposedModel
from facekit.errors import ConfigurationError
from facekit.models.landmark_rows import read_media
from facekit.models.visual_tokens import count_media_tokens, rows_of_media

_MEDIA = ("pixel_values", "landmarks", "image_features", "num_frames")


@dataclass(frozen=True)
class _Unseen:
    """A tensor of media, and the rows of the batch that they were given for."""

    value: Tensor
    rows: int | None


class GenerationFromMedia(ComposedModel):
    """Hooks of ``generate`` for a model that takes media beside tokens."""

    def count_visual_tokens(self, frames: int) -> int:
        """How many visual tokens an image (1 frame) or a clip of that many frames costs."""
        raise NotImplementedError

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generate tokens; arguments as in transformers, with a cache as ``past_key_values`` or as ``cache``.

        Raises:
            ConfigurationError: A repetition penalty would look up an image token that lies behind the vocabulary.
        """
        settings = args[1] if len(args) > 1 else kwargs.get("generation_config")
        self._check_penalty(settings or self.generation_config, kwargs.get("repetition_penalty"))
        input_ids = args[0] if args else kwargs.get("inputs", kwargs.get("input_ids"))
        rows = None if input_ids is None else len(input_ids)
        if kwargs.get("pixel_values") is not None:
            kwargs |= read_media(kwargs["pixel_values"], kwargs.get("landmarks"), kwargs.get("num_frames"))
        media = {name: _Unseen(kwargs[name], rows) for name in _MEDIA if kwargs.get(name) is not None}
        return super().generate(*args, **generation_arguments({**kwargs, **media}))

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *, is_first_iteration: bool | None = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Add media to the first step only; later steps find them in the cache, where there is one."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        given = {name: inputs.pop(name) for name in _MEDIA if inputs.get(name) is not None}
        if is_first_iteration or not kwargs.get("use_cache", True):
            inputs.update(self._copy_media(given, input_ids))
        return inputs

    def _copy_media(self, given: dict[str, Any], input_ids: Tensor) -> dict[str, Tensor]:
        """Repeat the media of each row as often as the row was copied, in the order of their tokens."""
        rows = next((each.rows for each in given.values() if isinstance(each, _Unseen)), None)
        media = {name: each.value if isinstance(each, _Unseen) else each for name, each in given.items()}
        copies = 1 if rows is None else len(input_ids) // rows
        if copies > 1:
            counts = count_media_tokens(
                self.count_visual_tokens,
                media.get("pixel_values"),
                media.get("image_features"),
                media.get("num_frames"),
            )
            owners = rows_of_media(input_ids[::copies] == self.config.image_token_id, counts)
            order = torch.cat([torch.where(owners == row)[0].repeat(copies) for row in range(len(input_ids) // copies)])
            media = {name: value[order.to(value.device)] for name, value in media.items()}
        return media

    def _check_penalty(self, settings: Any, penalty: float | None) -> None:
        penalty = settings.repetition_penalty if penalty is None else penalty
        if penalty not in (None, 1.0) and (self.config.image_token_id or 0) >= self.config.text_config.vocab_size:
            raise ConfigurationError(
                f"a repetition penalty looks up every token, but the image token {self.config.image_token_id} lies "
                f"behind the vocabulary; call model.resize_token_embeddings({self.config.image_token_id + 1}) first"
            )
