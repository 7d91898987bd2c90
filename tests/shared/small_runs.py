"""Training runs that take a moment: a small model, and callbacks that act after a step."""

from __future__ import annotations

import os
from pathlib import Path

from transformers import TrainerCallback

import facekit

SEARCH_PATH = os.pathsep.join([str(Path(facekit.__file__).parents[1]), str(Path(__file__).parent)])
"""``PYTHONPATH`` of processes that a test starts: the package and this folder."""


def small_model(connector="mlp", *, depth=1, seed=0, video_encoder=None):
    """A model of pictures of 64 pixels, and its processor; equal arguments give equal weights."""
    return facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", video_encoder=video_encoder, connector=connector,
        backbone=f"tiny?width=48&depth={depth}&heads=2", seed=seed,
    )  # fmt: skip


class At(TrainerCallback):
    """Does something at the end of a step, before it is known whether a checkpoint is saved."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


def interrupt():
    raise KeyboardInterrupt
