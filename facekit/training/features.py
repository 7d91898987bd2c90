"""The tokens of a frozen encoder, computed once per picture and kept in memory.

A frozen encoder that sees the same picture gives the same tokens, so a run of many epochs need not repeat its work.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from facekit.data.dataset import FaceDataset


def encode_dataset(
    encoder: nn.Module,
    dataset: FaceDataset,
    *,
    batch_size: int = 64,
    on_progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Encode every picture of a data set.

    Args:
        encoder: Turns ``(B, T, 3, H, W)`` into ``(B, T, P + N, C)``.
        dataset: All its records have the same number of frames.
        batch_size: Pictures at a time.
        on_progress: Called with the number done and the number in all.

    Returns:
        ``(len(dataset), T, P + N, C)`` on the CPU.
    """
    parameter = next(encoder.parameters())
    was_training = encoder.training
    encoder.eval()
    tokens: Tensor | None = None
    try:
        for start in range(0, len(dataset), batch_size):
            indices = range(start, min(start + batch_size, len(dataset)))
            pixels = torch.stack([dataset.pixel_values(index) for index in indices])
            with torch.inference_mode():
                encoded = encoder(pixels.to(parameter.device, parameter.dtype)).cpu()
            if tokens is None:
                tokens = encoded.new_empty((len(dataset), *encoded.shape[1:]))
            tokens[start : indices.stop] = encoded
            if on_progress is not None:
                on_progress(indices.stop, len(dataset))
    finally:
        encoder.train(was_training)
    assert tokens is not None
    return tokens.clone() if tokens.is_inference() else tokens
