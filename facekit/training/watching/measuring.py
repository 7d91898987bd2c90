"""Cost of a run: tokens, step times and peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


@dataclass(frozen=True)
class RunCost:
    """What the steps of a run cost, of this call where it went on from a checkpoint.

    Args:
        steps: Optimiser steps.
        examples: Examples, of all processes.
        tokens: Positions that went through the language model, image tokens and padding included, of all processes.
        seconds: Time in steps, without validation.
        peak_memory: Most bytes that were in use: of this process's GPU, else of the process.
        device: What it ran on.
    """

    steps: int
    examples: int
    tokens: int
    seconds: float
    peak_memory: int
    device: str

    @property
    def samples_per_second(self) -> float:
        """Examples per second."""
        return self.examples / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Positions per second."""
        return self.tokens / self.seconds if self.seconds else 0.0


def examples_of_a_step(args: TrainingArguments, loader: Any) -> int:
    """The examples that a step is given: no more than an epoch has.

    Args:
        args: The trainer's arguments.
        loader: The trainer's loader; None where it is not known.
    """
    whole: int = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    dataset = getattr(loader, "dataset", None)
    return min(whole, len(dataset)) if isinstance(dataset, Sized) else whole


class CostMeter(TrainerCallback):
    """Measures a run.

    Args:
        pauses: Returns seconds so far that are not to be counted, such as those of validation; of these, the meter
            takes off what falls between its first and its last step.
    """

    def __init__(self, pauses: Callable[[], float] = lambda: 0.0) -> None:
        self.pauses = pauses
        self._tokens = 0
        self._started = self._paused = self._seconds = 0.0
        self._first_step = self._last_step = 0
        self._examples_per_step = 1
        self._processes = 1
        self._device = torch.device("cpu")
        self._hook: Any = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        **kwargs: Any,
    ) -> None:
        """Start the clock and count from here."""
        self._first_step = self._last_step = state.global_step
        self._processes = args.world_size
        self._examples_per_step = examples_of_a_step(args, kwargs.get("train_dataloader"))
        language_model = getattr(model, "language_model", None)
        if language_model is not None:
            self._hook = language_model.register_forward_pre_hook(self._count, with_kwargs=True)
        self._device = args.device
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._paused = self.pauses()
        self._started = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note how far the run is."""
        self._last_step = state.global_step
        self._seconds = time.perf_counter() - self._started - (self.pauses() - self._paused)

    def close(self) -> None:
        """Stop counting; it may be called where the run never began."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def cost(self) -> RunCost:
        """What was measured."""
        steps = self._last_step - self._first_step
        return RunCost(
            steps=steps,
            examples=steps * self._examples_per_step,
            tokens=self._tokens * self._processes,
            seconds=max(0.0, self._seconds),
            peak_memory=peak_memory(self._device),
            device=_name(self._device),
        )

    def _count(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        embeddings = named.get("inputs_embeds")
        # Not by the module's mode: a frozen language model is in evaluation mode while others learn through it.
        if torch.is_grad_enabled() and embeddings is not None:
            self._tokens += embeddings.shape[0] * embeddings.shape[1]


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def peak_memory(device: torch.device) -> int:
    """Most bytes that were in use: of a GPU by this process since the run began, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
