"""Attention masks of packed sequences, in the form that each language model of transformers takes.

A token sees what came before it in its own segment and in the shared beginning of its document, and of these only
what a layer's window holds. Windows are counted in positions, because a packed row has other tokens in between.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from facekit.compat.transformers_model import attention_implementation
from facekit.data.packing import DOCUMENT
from facekit.errors import ConfigurationError

ATTENTION_KINDS = ("sdpa", "eager", "flex_attention")
"""The attention implementations of transformers that take a mask of our own."""

_FULL, _SLIDING = "full_attention", "sliding_attention"


def check_attention(text_config: PreTrainedConfig) -> None:
    """Make sure that a language model can train on packed rows.

    Raises:
        ConfigurationError: Its attention takes no mask, or it has layers that mix tokens otherwise than by a causal
            or sliding window.
    """
    kind = attention_implementation(text_config)
    if kind not in ATTENTION_KINDS:
        raise ConfigurationError(
            f"packed questions need attention of the kind {', '.join(ATTENTION_KINDS)}, but the language model uses "
            f"'{kind}'; load it with attn_implementation='sdpa', or set independent_turns and row_tokens off"
        )
    layer_windows(text_config)


def layer_windows(text_config: PreTrainedConfig) -> dict[str | None, int | None]:
    """Return the window of every kind of layer, in tokens; None for all that came before.

    Args:
        text_config: The language model's configuration.

    Returns:
        By the name of the kind, where the model distinguishes kinds and so takes a mask for each; else one entry under
        None. This is the rule of ``transformers.masking_utils.create_masks_for_generate``.

    Raises:
        ConfigurationError: There are chunked, recurrent or other layers.
    """
    window: int | None = getattr(text_config, "sliding_window", None)
    kinds = getattr(text_config, "layer_types", None)
    if kinds is not None:
        windows: dict[str | None, int | None] = {_FULL: None, _SLIDING: window}
        other = sorted(set(kinds) - {_FULL, _SLIDING})
        if other:
            raise ConfigurationError(
                f"the language model has layers of the kind {', '.join(other)}, which packed questions cannot be kept "
                "apart in; set independent_turns and row_tokens off"
            )
        return {kind: windows[kind] for kind in sorted(set(kinds))}
    if getattr(text_config, "attention_chunk_size", None) is not None:
        raise ConfigurationError(
            "the language model attends in chunks, which packed questions cannot be kept apart in; set "
            "independent_turns and row_tokens off"
        )
    return {None: window}


def attention_masks(
    segments: Tensor,
    position_ids: Tensor,
    text_config: PreTrainedConfig,
    *,
    dtype: torch.dtype = torch.float32,
    blocks: Tensor | None = None,
) -> Any:
    """Build the ``attention_mask`` argument of a language model for packed rows.

    Args:
        segments: ``(B, L)``; see ``facekit.data.packing.PackedRow``.
        position_ids: ``(B, L)``.
        text_config: The language model's configuration; its attention implementation decides the form.
        dtype: The type of an additive mask.
        blocks: ``(B, L)``, tokens of the same number see each other both ways, as those of a picture do in Gemma 3;
            -1 for none.

    Returns:
        A mask, or one per kind of layer by name: bool ``(B, 1, L, L)`` for ``sdpa``, additive for ``eager``, a
        ``BlockMask`` for ``flex_attention``.

    Raises:
        ConfigurationError: See ``check_attention``.
    """
    check_attention(text_config)
    build = {"sdpa": segment_mask, "eager": _additive_mask(dtype), "flex_attention": segment_block_mask}
    make = build[str(attention_implementation(text_config))]
    windows = layer_windows(text_config)
    by_window = {window: make(segments, position_ids, window, blocks) for window in set(windows.values())}
    masks = {kind: by_window[window] for kind, window in windows.items()}
    return masks.get(None, masks)


def segment_mask(
    segments: Tensor, position_ids: Tensor, window: int | None = None, blocks: Tensor | None = None
) -> Tensor:
    """Which token sees which.

    Args:
        segments: ``(B, L)``.
        position_ids: ``(B, L)``.
        window: How many tokens back a token sees, itself included; None for all.
        blocks: See ``attention_masks``.

    Returns:
        Bool ``(B, 1, L, L)``, true where a query (row) sees a key (column). Every token sees itself, padding too, so
        that no row of the softmax is empty.
    """
    length = segments.shape[1]
    keys, queries = segments[:, None, :], segments[:, :, None]
    earlier = torch.ones(length, length, dtype=torch.bool, device=segments.device).tril()
    visible = earlier & ((keys == queries) | (keys == _shared_segment(queries)))
    if blocks is not None:
        visible = visible | ((blocks[:, None, :] == blocks[:, :, None]) & (blocks >= 0)[:, None, :])
    if window is not None:
        visible &= position_ids[:, None, :] > position_ids[:, :, None] - window
    return visible[:, None]


def segment_block_mask(
    segments: Tensor, position_ids: Tensor, window: int | None = None, blocks: Tensor | None = None
) -> Any:
    """The same as ``segment_mask`` as a ``BlockMask`` of ``torch.nn.attention.flex_attention``.

    Blocks that no token sees are neither computed nor read, which a dense mask cannot say.
    """
    from torch.nn.attention.flex_attention import create_block_mask

    shared = _shared_segment(segments)

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of_key = segments[batch, key]
        seen = (query >= key) & ((of_key == segments[batch, query]) | (of_key == shared[batch, query]))
        if blocks is not None:
            seen = seen | ((blocks[batch, key] == blocks[batch, query]) & (blocks[batch, key] >= 0))
        if window is not None:
            seen = seen & (position_ids[batch, key] > position_ids[batch, query] - window)
        return seen

    rows, length = segments.shape
    return create_block_mask(visible, B=rows, H=None, Q_LEN=length, KV_LEN=length, device=segments.device)


def _shared_segment(segments: Tensor) -> Tensor:
    # Padding is -1, whose remainder is positive, so that it belongs to a document that does not exist.
    return segments - segments % DOCUMENT


def _additive_mask(dtype: torch.dtype) -> Any:
    def build(
        segments: Tensor, position_ids: Tensor, window: int | None = None, blocks: Tensor | None = None
    ) -> Tensor:
        visible = segment_mask(segments, position_ids, window, blocks)
        return torch.zeros_like(visible, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)

    return build
