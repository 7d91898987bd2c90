"""Losses: logits computed at labelled tokens only, averaged per token or per sample.

The head of a language model costs as much as several of its layers, and most tokens (the image's, the question's) have
no label. So the hidden states of the tokens that do predict one are picked out before the head, by a hook: whatever a
model does to its logits afterwards, such as capping them, is done as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facekit.data.packing import DOCUMENT, PADDING, SHARED
from facekit.data.supervision import IGNORED
from facekit.errors import ConfigurationError, MissingExtraError

LossAverage = Literal["token", "sample"]


@dataclass(frozen=True)
class Targets:
    """The labelled tokens of a batch, row by row.

    Args:
        sources: ``(n,)``, the index in the flattened batch of the token that predicts each.
        labels: ``(n,)``, their ids.
        samples: ``(n,)``, the sample that each belongs to, from 0 in the order of rows and questions.
        sample_count: How many samples there are.
        examples: ``(n,)``, the example that each belongs to, from 0 in the order of the batch.
    """

    sources: Tensor
    labels: Tensor
    samples: Tensor
    sample_count: int
    examples: Tensor


def find_targets(labels: Tensor, segments: Tensor | None = None) -> Targets:
    """Find what the loss covers.

    A sample is a row, or a question where questions are packed. The token before the first of a question is the last
    of the beginning that the questions share, not the one to its left; where they share none, nothing predicts it.

    Args:
        labels: ``(B, L)``; ``IGNORED`` elsewhere.
        segments: ``(B, L)``, where rows are packed; see ``facekit.data.packing``.
    """
    columns = torch.arange(labels.shape[1], device=labels.device).expand_as(labels)
    documents = None if segments is None else _number_documents(segments)
    if segments is None:
        segments, previous = torch.zeros_like(labels), columns - 1
    else:
        is_shared = (segments % DOCUMENT == SHARED) & (segments != PADDING)
        last_shared = columns.masked_fill(~is_shared, -1).cummax(dim=1).values
        of_document = segments.gather(1, last_shared.clamp(min=0)) == segments - segments % DOCUMENT
        starts = F.pad(segments[:, 1:] != segments[:, :-1], (1, 0), value=True)
        previous = torch.where(starts, last_shared.masked_fill(is_shared | ~of_document, -1), columns - 1)
    rows, at = torch.where((labels != IGNORED) & (previous >= 0))
    keys = rows * (segments.max() + 1) + segments[rows, at]
    numbers, samples = keys.unique(return_inverse=True)
    examples = rows if documents is None else documents[rows, at]
    return Targets(rows * labels.shape[1] + previous[rows, at], labels[rows, at], samples, len(numbers), examples)


def _number_documents(segments: Tensor) -> Tensor:
    """The number of each token's document in the batch, ``(B, L)``; -1 for padding."""
    is_real = segments != PADDING
    rows = torch.arange(len(segments), device=segments.device)[:, None]
    keys = rows * (segments.max() // DOCUMENT + 1) + segments // DOCUMENT
    numbers = torch.full_like(segments, -1)
    numbers[is_real] = keys[is_real].unique(return_inverse=True)[1]
    return numbers


def count_items(labels: Tensor, segments: Tensor | None, average: LossAverage) -> int:
    """How many tokens or samples of a batch the loss is averaged over."""
    targets = find_targets(labels, segments)
    return len(targets.labels) if average == "token" else targets.sample_count


def supervised_loss(
    model: nn.Module,
    head: nn.Module,
    inputs: Mapping[str, Any],
    targets: Targets,
    *,
    average: LossAverage = "token",
    items: Tensor | int | None = None,
    fused: bool = False,
    observe: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Compute the loss of a batch.

    Args:
        model: Takes ``inputs`` and returns logits; it may be wrapped.
        head: Its output embedding.
        inputs: Its arguments, without labels.
        targets: What the loss covers.
        average: ``token``: the mean over labelled tokens, so that long answers weigh more. ``sample``: the mean over
            samples of the mean over each one's tokens.
        items: What to divide by, where a step has several batches; by default this batch's own count.
        fused: Never hold the logits; see ``fused_token_loss``.
        observe: Called with the loss of every labelled token, ``(n,)``; not where they are fused.

    Returns:
        A scalar.
    """
    if items is None:
        items = len(targets.labels) if average == "token" else targets.sample_count
    if fused:
        return fused_token_loss(model, head, inputs, targets) / items
    losses = token_losses(model, head, inputs, targets)
    if observe is not None:
        observe(losses)
    return (losses.sum() if average == "token" else average_samples(losses, targets).sum()) / items


def token_losses(model: nn.Module, head: nn.Module, inputs: Mapping[str, Any], targets: Targets) -> Tensor:
    """Cross-entropy of every labelled token in nats, ``(n,)``."""
    with _only_at(head, targets.sources):
        logits = model(**inputs, use_cache=False).logits
    return F.cross_entropy(logits.squeeze(0).float(), targets.labels, reduction="none")


def average_samples(losses: Tensor, targets: Targets) -> Tensor:
    """Mean loss of every sample, ``(sample_count,)``, of the losses of its tokens, ``(n,)``."""
    sums = losses.new_zeros(targets.sample_count).index_add(0, targets.samples, losses)
    return sums / targets.samples.bincount(minlength=targets.sample_count)


def fused_token_loss(model: nn.Module, head: nn.Module, inputs: Mapping[str, Any], targets: Targets) -> Tensor:
    """The sum of ``token_losses`` by Liger's fused linear cross-entropy, which needs a GPU.

    Hsu et al. 2024, Liger Kernel, section 3.2: head and loss are computed chunk by chunk, so that the logits of a
    large vocabulary never stand in memory.

    Raises:
        MissingExtraError: liger-kernel is not installed.
        ConfigurationError: The head is adapted or scales its logits, which the kernel does not know.
    """
    try:
        from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss
    except ImportError as error:
        raise MissingExtraError("fused_loss needs liger-kernel; pip install 'facekit-mllm[liger]'") from error
    unwrapped: Any = getattr(model, "module", model)
    config = unwrapped.config.get_text_config()
    scaling = [name for name in ("logits_scaling", "logit_scale") if getattr(config, name, None) not in (None, 1.0)]
    if type(head) is not nn.Linear or scaling:
        reason = f"has {scaling[0]}" if scaling else f"has a head of the kind {type(head).__name__}"
        raise ConfigurationError(f"the language model {reason}, which the fused loss does not know; set it to false")
    loss = LigerFusedLinearCrossEntropyLoss(reduction="sum", softcap=getattr(config, "final_logit_softcapping", None))
    kept: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        kept.append(_pick(given[0], targets.sources))
        return (given[0][:1, :1], *given[1:])

    with _before(head, keep):
        model(**inputs, use_cache=False)
    mean: Tensor = loss(head.weight, kept[0].to(head.weight.dtype), targets.labels, head.bias)
    return mean


@contextmanager
def _only_at(head: nn.Module, sources: Tensor) -> Iterator[None]:
    def pick(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (_pick(given[0], sources)[None], *given[1:])

    with _before(head, pick):
        yield


@contextmanager
def _before(head: nn.Module, hook: Any) -> Iterator[None]:
    handle = head.register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def _pick(hidden: Tensor, sources: Tensor) -> Tensor:
    """Rows of ``(B, L, D)`` at indices into its flattened first axes, ``(n, D)``."""
    return hidden.flatten(0, 1).index_select(0, sources)
