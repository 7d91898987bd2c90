"""A fingerprint of an encoder's configuration and weights, the key of cached tokens and frozen weights.

Data preparation and training get the same hash, in different processes and on different devices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import torch
from torch import Tensor

from facekit.encoders.base import VisionEncoder

_DIGITS = 32


def fingerprint_encoder(encoder: VisionEncoder) -> str:
    """Hash an encoder: its class, configuration, transform, and the bits of its weights and buffers.

    Args:
        encoder: The encoder, on any device; one in another floating type is another encoder.

    Returns:
        Hexadecimal digits.
    """
    described = {
        "class": f"{type(encoder).__module__}.{type(encoder).__qualname__}",
        "config": encoder.to_config(),
        "prefix_tokens": encoder.num_prefix_tokens,
        "transform": encoder.transform.to_config(),
        "weights": hash_tensors(encoder.state_dict().items()),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]


def hash_tensors(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Hash tensors with their names, types and shapes, whatever their order or device.

    Args:
        tensors: Names and tensors; they are copied to the CPU one at a time.

    Returns:
        Hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:_DIGITS]
