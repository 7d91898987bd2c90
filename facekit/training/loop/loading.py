"""How many processes load a run's examples, so that its device does not wait for pictures to be decoded."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from facekit.cores import count_usable_cores
from facekit.data.dataset import FaceDataset
from facekit.data.streaming import ShardStream
from facekit.training.loop.distributed import count_processes_here

MOST_WORKERS = 8
"""Beyond these, decoding is seldom what a step waits for, and each holds batches in memory."""


def choose_workers(dataset: FaceDataset | ShardStream, device: torch.device) -> int:
    """Loading processes for a run that does not say how many.

    None where examples are made of what is in memory: pictures that are kept after the first epoch, or kept tokens.
    Otherwise, beside a GPU, one for each core that this process has, but for its own; on the CPU, where they share the
    cores with the model, half of them.

    Args:
        dataset: The examples.
        device: Where the model computes.
    """
    if isinstance(dataset, FaceDataset) and (dataset.keeps_pictures or not dataset.with_pixels):
        return 0
    cores = max(1, count_usable_cores() // count_processes_here())
    spare = cores // 2 if device.type == "cpu" else max(1, cores - 1)
    return min(MOST_WORKERS, spare)


def leave_interrupts_alone(loader: DataLoader[Any]) -> None:
    """Let the loading processes of a loader ignore Ctrl-C, which the training process answers for all."""
    loader.worker_init_fn = partial(_start, loader.worker_init_fn)


def _start(begin: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if begin is not None:
        begin(worker)
