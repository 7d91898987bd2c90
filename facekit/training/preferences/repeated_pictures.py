"""Pictures that stand in a batch many times, as those of a group of answers do: a frozen encoder sees each once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from facekit.encoders.base import VisionEncoder

_SAMPLE = 1024
"""Pixels by which pictures are told apart before they are compared whole."""


@contextmanager
def encoded_once(encoder: nn.Module) -> Iterator[None]:
    """Let a vision encoder see each picture of a batch once, however often it stands there, inside the ``with`` block.

    The tokens of the last batch are kept, so that answers are drawn and learned from with one look. An encoder that
    learns, or is in training mode, sees every picture as before.

    Args:
        encoder: A model's; it gets its own ``forward`` back. One that is no ``VisionEncoder`` is left alone, because
            rows of what it takes may be no pictures.
    """
    if not isinstance(encoder, VisionEncoder):
        yield
        return
    encode = encoder.forward
    kept: list[tuple[bool, Tensor, Tensor]] = []

    def forward(pixel_values: Tensor) -> Tensor:
        if encoder.training or any(parameter.requires_grad for parameter in encoder.parameters()):
            return encode(pixel_values)
        one_of_each, which = _groups(pixel_values)
        different = pixel_values[one_of_each]
        if not torch.equal(different[which], pixel_values):
            return encode(pixel_values)
        mixed = torch.is_autocast_enabled(pixel_values.device.type)
        if not (kept and kept[0][0] == mixed and torch.equal(kept[0][1], different)):
            kept[:] = [(mixed, different, encode(different))]
        return kept[0][2][which]

    encoder.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del encoder.forward


def _groups(pixel_values: Tensor) -> tuple[Tensor, Tensor]:
    """A row of each group of rows that seem equal by a sample of their pixels, and the group of each row."""
    rows = pixel_values.flatten(1)
    sample = rows[:, :: max(1, rows.shape[1] // _SAMPLE)].float().cpu()
    groups, which = torch.unique(sample, dim=0, return_inverse=True)
    one_of_each = torch.zeros(len(groups), dtype=torch.long).scatter_(0, which, torch.arange(len(rows)))
    return one_of_each.to(rows.device), which.to(rows.device)
