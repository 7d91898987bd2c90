"""Attention of packed questions in two dense blocks, for PyTorch's scaled dot-product attention.

A dense mask over a packed row computes every pair of tokens, though questions do not see each other: for eight
questions about an image that is five times too many. Here the shared beginnings attend to themselves, and the
questions, as a batch, to their beginning and to themselves. It is registered with transformers as an attention
implementation, so any language model that takes one can use it; what is packed is found once per batch and handed
down to the layers beside the mask.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel

from facekit.compat.transformers_model import attention_implementation
from facekit.data.attention import attention_masks, layer_windows
from facekit.data.packing import DOCUMENT, PADDING, SHARED

IMPLEMENTATION = "facekit_shared_prefix"
"""The name under which transformers knows it; without a layout it is ``sdpa``."""


@dataclass(frozen=True)
class PackedLayout:
    """Where the pieces of a packed batch lie, as indices into the flattened ``(B * L)`` tokens.

    Args:
        beginnings: ``(D, P)``, the indices of every document's shared beginning, padded with 0.
        questions: ``(K, S)``, the indices of every question, padded with 0.
        owners: ``(K,)``, the document of each question.
        sources: ``(B * L,)``, where each token's result stands among those of beginnings and questions.
        masks: Per window of the layers: bool ``(D, 1, P, P)``, or None where it is causal, and bool
            ``(K, 1, S, P + S)``.
    """

    beginnings: Tensor
    questions: Tensor
    owners: Tensor
    sources: Tensor
    masks: dict[int | None, tuple[Tensor | None, Tensor]]


def packed_inputs(
    segments: Tensor,
    position_ids: Tensor,
    text_config: PreTrainedConfig,
    *,
    dtype: torch.dtype = torch.float32,
    blocks: Tensor | None = None,
) -> dict[str, Any]:
    """Return a language model's arguments for a packed batch, for the attention that it uses.

    Args:
        segments: ``(B, L)``; see ``facekit.data.packing.PackedRow``.
        position_ids: ``(B, L)``.
        text_config: The language model's configuration.
        dtype: The type of an additive mask.
        blocks: ``(B, L)``, tokens of the shared beginnings that see each other both ways; see
            ``facekit.data.attention.attention_masks``.

    Raises:
        ConfigurationError: Its attention cannot keep questions apart; see ``facekit.data.attention``.
    """
    if attention_implementation(text_config) != IMPLEMENTATION:
        return {"attention_mask": attention_masks(segments, position_ids, text_config, dtype=dtype, blocks=blocks)}
    windows = layer_windows(text_config)
    # A mask of four axes is handed on as it is; it is never read.
    unread = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=segments.device)
    mask: Any = unread if None in windows else dict.fromkeys(windows, unread)
    return {"attention_mask": mask, "packed_layout": find_layout(segments, position_ids, set(windows.values()), blocks)}


@contextmanager
def split_attention(language_model: PreTrainedModel) -> Iterator[None]:
    """Let a language model that uses ``sdpa`` attend in pieces inside the ``with`` block; leave others as they are."""
    before = attention_implementation(language_model.config)
    if before != "sdpa" or not language_model.is_backend_compatible():
        yield
        return
    language_model.set_attn_implementation(IMPLEMENTATION)
    try:
        yield
    finally:
        language_model.set_attn_implementation(before)


def find_layout(
    segments: Tensor, position_ids: Tensor, windows: set[int | None], blocks: Tensor | None = None
) -> PackedLayout:
    """Find the pieces of a packed batch.

    Args:
        segments: ``(B, L)``; those of a question, and of a beginning, stand together, and a beginning before its
            questions.
        position_ids: ``(B, L)``.
        windows: Windows that layers have, in tokens; None for all that came before.
        blocks: ``(B, L)``; see ``packed_inputs``.
    """
    rows = torch.arange(len(segments), device=segments.device)[:, None]
    keys = torch.stack([rows.expand_as(segments), segments], dim=-1).flatten(0, 1)
    runs, lengths = torch.unique_consecutive(keys, dim=0, return_counts=True)
    starts = lengths.cumsum(0) - lengths
    is_real = runs[:, 1] != PADDING
    is_shared = is_real & (runs[:, 1] % DOCUMENT == SHARED)
    is_question = is_real & ~is_shared

    document = is_shared.cumsum(0) - 1
    owners = document[is_question].clamp(min=0)
    beginnings, is_beginning = _run_indices(starts[is_shared], lengths[is_shared])
    questions, is_own = _run_indices(starts[is_question], lengths[is_question])
    numbers = runs[is_question, 1]
    if len(beginnings):
        expected = torch.stack([runs[is_question, 0], numbers - numbers % DOCUMENT], dim=1)
        has_beginning = (runs[is_shared][owners] == expected).all(dim=1)
        is_seen = is_beginning[owners] & has_beginning[:, None]
    else:
        is_seen = is_own.new_zeros(len(owners), 0)

    sources = torch.zeros(segments.numel(), dtype=torch.long, device=segments.device)
    indices = torch.cat([beginnings.flatten(), questions.flatten()])
    is_token = torch.cat([is_beginning.flatten(), is_own.flatten()])
    sources[indices[is_token]] = torch.where(is_token)[0]

    flat = position_ids.flatten()
    of_blocks = None if blocks is None else blocks.flatten()[beginnings].masked_fill(~is_beginning, -1)
    of_seen = flat[beginnings][owners] if len(beginnings) else flat.new_zeros(len(owners), 0)
    masks = {
        window: (
            _beginning_mask(flat[beginnings], window, of_blocks),
            _question_mask(is_seen, of_seen, is_own, flat[questions], window),
        )
        for window in windows
    }
    return PackedLayout(beginnings, questions, owners, sources, masks)


def shared_prefix_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packed_layout: PackedLayout | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """The attention function that transformers calls in every layer.

    Args:
        module: The layer's attention.
        query: ``(B, H, L, d)``.
        key: ``(B, H_kv, L, d)``.
        value: ``(B, H_kv, L, d)``.
        attention_mask: Not read where there is a layout.
        dropout: Of the attention weights.
        scaling: Of the scores.
        packed_layout: The batch's layout; without it this is ``sdpa``.
        sliding_window: The layer's window.
        **kwargs: For ``sdpa``.

    Returns:
        ``(B, L, H, d)``, and None in place of the weights.
    """
    if packed_layout is None:
        attended: tuple[Tensor, Tensor | None] = AttentionInterface()["sdpa"](
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
        return attended
    layout, groups = packed_layout, query.shape[1] // key.shape[1]
    of_beginning, of_question = layout.masks[sliding_window]
    tokens = [rearrange(each, "b h l d -> (b l) h d") for each in (query, key, value)]
    options: dict[str, Any] = {"groups": groups, "dropout_p": dropout, "scale": scaling}
    shared_query, *shared = (_pick(each, layout.beginnings) for each in tokens)
    own_query, *own = (_pick(each, layout.questions) for each in tokens)
    results = []
    if layout.beginnings.numel():
        is_causal = of_beginning is None
        results.append(_attend(shared_query, *shared, attn_mask=of_beginning, is_causal=is_causal, **options))
    if layout.questions.numel():
        if layout.beginnings.numel():
            seen = (each.index_select(0, layout.owners) for each in shared)
            own = [torch.cat(pair, dim=1) for pair in zip(seen, own, strict=True)]
        results.append(_attend(own_query, *own, attn_mask=of_question, **options))
    found = torch.cat(results).index_select(0, layout.sources)
    return rearrange(found, "(b l) h d -> b l h d", b=len(query)), None


def _attend(query: Tensor, key: Tensor, value: Tensor, *, groups: int, **options: Any) -> Tensor:
    """Attend in a batch ``(N, S, H, d)`` and return its tokens one after the other, ``(N * S, H, d)``."""
    query = rearrange(query, "n s h d -> n h s d")
    key, value = (repeat(each, "n s h d -> n (h g) s d", g=groups) for each in (key, value))
    return rearrange(F.scaled_dot_product_attention(query, key, value, **options), "n h s d -> (n s) h d")


def _pick(tokens: Tensor, indices: Tensor) -> Tensor:
    """Rows of ``(B * L, H, d)`` at ``(N, S)`` indices, ``(N, S, H, d)``."""
    picked: Tensor = tokens.index_select(0, indices.flatten()).unflatten(0, indices.shape)
    return picked


def _run_indices(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The indices of runs, ``(N, longest)``, padded with 0, and which of them are real."""
    longest = int(lengths.max()) if len(lengths) else 0
    steps = torch.arange(longest, device=starts.device)
    is_real = steps < lengths[:, None]
    return (starts[:, None] + steps).masked_fill(~is_real, 0), is_real


def _beginning_mask(positions: Tensor, window: int | None, blocks: Tensor | None = None) -> Tensor | None:
    """Causal or of one block, within a window; padding stands on the right, where no real token sees it."""
    length = positions.shape[1]
    has_window = window is not None and length > window
    if not has_window and blocks is None:
        return None
    steps = torch.arange(length, device=positions.device)
    distance = steps[:, None] - steps
    seen = (distance >= 0).expand(len(positions), 1, -1, -1)
    if blocks is not None:
        seen = seen | ((blocks[:, None, :] == blocks[:, :, None]) & (blocks >= 0)[:, None, :])[:, None]
    return seen & (distance < window) if window is not None else seen


def _question_mask(is_seen: Tensor, of_seen: Tensor, is_own: Tensor, of_own: Tensor, window: int | None) -> Tensor:
    """What questions see of their beginning ``(K, P)`` and of themselves ``(K, S)``; padding sees itself."""
    length = is_own.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool, device=is_own.device).tril()
    beginning = is_seen[:, None, :].expand(-1, length, -1)
    question = earlier & is_own[:, None, :]
    if window is not None:
        beginning = beginning & (of_seen[:, None, :] > of_own[:, :, None] - window)
        question = question & (of_own[:, None, :] > of_own[:, :, None] - window)
    itself = torch.eye(length, dtype=torch.bool, device=is_own.device)
    return torch.cat([beginning, question | itself], dim=2)[:, None]


AttentionInterface.register(IMPLEMENTATION, shared_prefix_attention)
AttentionMaskInterface.register(IMPLEMENTATION, AttentionMaskInterface()["sdpa"])
