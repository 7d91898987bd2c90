"""Dtypes in training: trainable weights in float32, frozen ones as they are stored.

Near 0.02, where most weights lie, bfloat16 knows steps of 6e-5 to 1.2e-4; an update at a rate of 1e-5 is smaller and
would be rounded away. So trainable weights, their gradients and AdamW's moments are in float32, as mixed precision
was meant (Micikevicius et al. 2018, arXiv 1710.03740, section 3.1), and autocast computes in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from facekit.training.loop.distributed import shards_weights
from facekit.training.recipes.settings import TrainingSettings


@contextmanager
def trained_in_float32(model: nn.Module, settings: TrainingSettings) -> Iterator[None]:
    """Keep trainable weights in float32 inside the ``with`` block, where the run computes in mixed precision.

    Afterwards weights have the type that they had; adapters stay in float32, in which they are merged and saved.

    Args:
        model: The composed model, with adapters in place and trainable weights requiring gradients.
        settings: The run's settings; nothing is done where ``precision`` is ``float32``, nor where weights are taken
            apart (FSDP, ZeRO-3), which keep their own copies in float32.
    """
    before: dict[nn.Parameter, torch.dtype] = {}
    if settings.precision == "bfloat16" and not shards_weights():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
                if "lora_" not in name:
                    before[parameter] = parameter.dtype
                parameter.data = parameter.data.float()
    try:
        yield
    finally:
        for parameter, dtype in before.items():
            parameter.grad = None
            parameter.data = parameter.data.to(dtype)
