"""What keeps a checkpoint from being a good one: weights that are NaN, and failed writes.

A process that leaves a save at the first error lets the others wait for it. So errors of the disk are kept until the
save is over, and looked at by all processes together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from safetensors import SafetensorError
from torch import nn
from torch.distributed.tensor import DTensor

from facekit.compat.deepspeed import part_here
from facekit.compat.torch import failure_of_process, is_failed_write
from facekit.errors import first_line


class FailedWrites:
    """What a disk that is full, or fails, did to a save.

    Attributes:
        error: The first error; None where all was written.
    """

    def __init__(self) -> None:
        self.error: BaseException | None = None

    @property
    def problem(self) -> str | None:
        """The error in words."""
        if self.error is None:
            return None
        reason = first_line(self.error)
        return f"a file could not be written to its end: {reason}" if is_failed_write(self.error) else reason

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Keep the error of a failed write; any other error passes through."""
        try:
            yield
        except BaseException as error:
            cause = failure_of_process(error)
            if isinstance(cause, (OSError, SafetensorError)) or is_failed_write(cause):
                self.error = self.error or cause
            elif cause is error:
                raise
            else:
                raise cause from error


def find_not_finite(model: nn.Module) -> str | None:
    """The first trainable weight that has a NaN or infinite value, of its part in this process; None for none.

    Args:
        model: Its weights may be in pieces.
    """
    learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if not learning:
        return None
    parts = [each.to_local() if isinstance(each, DTensor) else part_here(each) for each in learning.values()]
    finite = torch.stack([part.detach().isfinite().all() for part in parts]).tolist()
    return next((name for name, is_so in zip(learning, finite, strict=True) if not is_so), None)
