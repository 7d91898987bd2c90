"""Steps of text alone: encoder and connector stay as they are, in one process and in several.

In several processes a batch without pictures sends spare pixels through them, because all processes must go through the
same parts. The gradients of zero that come of it would still let an optimizer move them by its momentum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_SEEING = ("encoder", "video_encoder", "connector")


class LeaveUnseenParts(TrainerCallback):
    """Takes the gradients of encoder and connector away before a step in which no process has seen a picture.

    Args:
        find_model: Returns the composed model that is trained.

    Attributes:
        sees_media: Whether any batch of the step has a picture or clip.
    """

    def __init__(self, find_model: Callable[[], nn.Module]) -> None:
        self.find_model = find_model
        self.sees_media = True

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take them away."""
        if self.sees_media:
            return
        model = self.find_model()
        for name in _SEEING:
            part = getattr(model, name, None)
            for parameter in () if part is None else part.parameters():
                parameter.grad = None
