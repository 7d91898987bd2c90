"""``SourceLosses``: the training loss of each of several records files, between two entries of the history."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from facekit.training.loop.losses import LossAverage, Targets, average_samples
from facekit.training.watching.history import SOURCE_PREFIX


class SourceLosses:
    """Adds up what each source of a mixture has lost, and over how much.

    Sums stay on the device until they are taken, so that no step waits for them.

    Args:
        names: Of the sources.
        find: Returns the source of each example, ``(B,)``, of the indices of their records, ``(B,)``.
        average: Whether the mean is one over labelled tokens or over samples, as that of the run.
    """

    def __init__(self, names: Sequence[str], find: Callable[[Tensor], Tensor], average: LossAverage) -> None:
        self.names = names
        self._find = find
        self._average = average
        self._totals: Tensor | None = None

    def add(self, losses: Tensor, targets: Targets, indices: Tensor) -> None:
        """Add a batch.

        Args:
            losses: ``(n,)`` of its labelled tokens.
            targets: What they are of.
            indices: ``(B,)``, which records its examples are of.
        """
        losses, examples = losses.detach(), targets.examples
        if self._average == "sample":
            losses = average_samples(losses, targets)
            examples = examples.new_zeros(targets.sample_count).scatter(0, targets.samples, examples)
        sources = self._find(indices)[examples]
        if self._totals is None:
            exact = torch.float32 if losses.device.type == "mps" else torch.float64
            self._totals = torch.zeros(2, len(self.names), dtype=exact, device=losses.device)
        self._totals[0].index_add_(0, sources, losses.to(self._totals.dtype))
        self._totals[1].index_add_(0, sources, torch.ones_like(losses, dtype=self._totals.dtype))

    def take(self, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """The mean loss of each source since the last call, under ``loss/NAME``; of those that had any.

        Args:
            gather: Joins the rows of all processes.
        """
        totals = torch.zeros(2, len(self.names)) if self._totals is None else self._totals
        sums, counts = gather(totals[None]).sum(dim=0).tolist()
        if self._totals is not None:
            self._totals.zero_()
        means = zip(self.names, sums, counts, strict=True)
        return {SOURCE_PREFIX + name: total / count for name, total, count in means if count}
