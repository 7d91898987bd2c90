"""Positions of models that give every token three: time, row and column (multimodal rotary positions, M-RoPE)."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


def has_multimodal_positions(model: nn.Module) -> bool:
    """Whether a model of transformers takes positions of three axes, ``(3, B, L)``.

    Seen: transformers 5.17 to 5.24.
    Why: no field of a configuration says so; the models that do have a method ``get_rope_index``.
    Until: a configuration says so.
    """
    return hasattr(getattr(model, "model", model), "get_rope_index")


def multimodal_positions(
    model: nn.Module, input_ids: Tensor, positions: Tensor, is_image: Tensor, image_grid_thw: Tensor
) -> Tensor:
    """Positions of the tokens of a batch, whatever of it is padding, packed or read already.

    A picture's tokens stand on its grid and what follows goes on from the largest of them, so words are as far behind
    their position in plain counting as all pictures before them have saved.

    Args:
        model: The model.
        input_ids: ``(B, L)``.
        positions: ``(B, L)``, plain positions: from 0 for every document of a row; of packed questions each goes on
            from the shared beginning. Padding is -1, or single tokens at 0.
        is_image: Bool ``(B, L)``, true at visual tokens; all pictures of a document stand before what branches off.
        image_grid_thw: ``(B_media, 3)``, in the order of their tokens.

    Returns:
        ``(3, B, L)``.

    Seen: Qwen2-VL, Qwen2.5-VL and Qwen3-VL in transformers 5.24.
    Why: a model computes them for a whole prompt only; behind a cache, and in a packed row, it takes the numbers of an
        earlier call, or plain ones.
    Until: a public way to ask for the positions of tokens behind a cache.
    """
    inner: Any = getattr(model, "model", model)
    compute = inner.get_rope_index
    merge = int(inner.config.vision_config.spatial_merge_size)
    taken = inspect.signature(compute).parameters
    grids = iter(image_grid_thw)
    result = positions.expand(3, -1, -1).clone()
    for row, start, visual, end in _documents(positions, is_image):
        count, own = int(is_image[row, start:visual].sum()), []
        while count > 0:
            own.append(next(grids))
            count -= int(own[-1].prod()) // merge**2
        given: dict[str, Any] = {"image_grid_thw": torch.stack(own)}
        if "mm_token_type_ids" in taken:
            given["mm_token_type_ids"] = is_image[row : row + 1, start:visual].int()
        found, _ = compute(input_ids[row : row + 1, start:visual], **given)
        result[:, row, start:visual] = found[:, 0]
        result[:, row, visual:end] += int(found.max()) - int(positions[row, visual - 1])
    return result.masked_fill(positions < 0, 0)


def _documents(positions: Tensor, is_image: Tensor) -> Iterator[tuple[int, int, int, int]]:
    """Row, first token, the one behind the last visual one, and end of every document that has pictures."""
    for row in range(len(positions)):
        starts = [*(positions[row] == 0).nonzero()[:, 0].tolist(), positions.shape[1]]
        for start, end in pairwise(starts):
            visual = is_image[row, start:end].nonzero()
            if len(visual):
                yield row, start, start + int(visual.max()) + 1, end
