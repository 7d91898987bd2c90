"""Launches of the Triton kernels of region attention: scratch tensors, block sizes, device.

The one module that imports the kernels; the operator imports it on its first call, so that facekit imports where
Triton is not installed. Nothing here waits for the device.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from einops import reduce
from torch import Tensor
from triton import JITFunction

from facekit.errors import ConfigurationError
from facekit.kernels.triton_backward import column_sums_kernel, score_gradient_kernel, table_gradient_kernel
from facekit.kernels.triton_forward import apply_weights_kernel, attention_weights_kernel
from facekit.kernels.triton_tiling import (
    TABLE_REGISTERS,
    Blocks,
    ColumnLayout,
    DeviceLimits,
    Tiling,
    choose_tiling,
    column_layout,
)

_COLUMN_SUM_ROWS = 16
_RESERVED_SHARED_BYTES = 1024  # of a multiprocessor's shared memory, kept by the driver for each program


@lru_cache(maxsize=64)
def _limits_of(device: torch.device) -> DeviceLimits:
    properties = torch.cuda.get_device_properties(device)
    return DeviceLimits(
        multiprocessors=properties.multi_processor_count,
        cache_bytes=properties.L2_cache_size,
        shared_bytes=properties.shared_memory_per_multiprocessor - _RESERVED_SHARED_BYTES,
    )


def _limits(device: torch.device) -> DeviceLimits:
    return _limits_of(device) if device.type == "cuda" else DeviceLimits()


def _on(device: torch.device) -> AbstractContextManager[object]:
    """Make ``device`` the current one: Triton launches there, whatever device its arguments are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def check_runnable(device: torch.device) -> None:
    """Refuse tensors that the kernels, as they were loaded, cannot run on.

    Raises:
        ConfigurationError: for tensors off the GPU when the kernels were not loaded for the interpreter.
    """
    if device.type != "cuda" and isinstance(attention_weights_kernel, JITFunction):
        raise ConfigurationError(
            f"region attention 'triton' got tensors on {device}; move them to a GPU, use implementation 'absorbed', or "
            "set TRITON_INTERPRET=1 before Python starts to interpret the kernels on the CPU"
        )


def _sizes(blocks: Blocks, tokens: Tensor) -> dict[str, int | bool]:
    interpreted = not isinstance(attention_weights_kernel, JITFunction)
    return {
        "BLOCK_ROWS": blocks.rows,
        "BLOCK_WIDTH": blocks.width,
        "STAGES": blocks.stages,
        "WIDEN": interpreted and tokens.dtype == torch.bfloat16,
        "num_warps": blocks.warps,
    }


def _flags(present: Tensor | None) -> Tensor | None:
    return None if present is None else present.contiguous().view(torch.uint8)


def _tiling(tokens: Tensor, layout: ColumnLayout) -> Tiling:
    frames, patches, width = tokens.shape
    return choose_tiling(frames, patches, width, tokens.element_size(), layout, _limits(tokens.device))


def _apply_weights(
    base: Tensor,
    weights: Tensor,
    table: Tensor,
    bias: Tensor | None,
    present: Tensor | None,
    layout: ColumnLayout,
    blocks: Blocks,
) -> Tensor:
    frames, patches, width = base.shape
    output = torch.empty_like(base)
    programs = frames * -(-width // blocks.width)
    apply_weights_kernel[(programs,)](
        base, weights, table, bias, present, output, frames, patches,
        WIDTH=width, **layout.constants(), **_sizes(blocks, base),
    )  # fmt: skip
    return output


def launch_forward(
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    score_bias: Tensor,
    absorbed_values: Tensor,
    output_bias: Tensor | None,
    region_positions: Tensor | None,
    present: Tensor | None,
    num_heads: int,
    grid: tuple[int, int],
    num_prefix_tokens: int,
) -> tuple[Tensor, Tensor]:
    """Output ``(F, N, D)`` and softmax weights ``(F, N, padded columns)``; arguments as the operator has them."""
    check_runnable(patch_tokens.device)
    layout = column_layout(num_heads, absorbed_keys.shape[1] // num_heads)
    patch_tokens = patch_tokens.contiguous()
    frames, patches, width = patch_tokens.shape
    weights = patch_tokens.new_empty(frames, patches, layout.padded_columns)
    if patch_tokens.numel() == 0:
        return torch.empty_like(patch_tokens), weights
    tiling = _tiling(patch_tokens, layout)
    absorbed_values = absorbed_values.contiguous()
    output_bias = None if output_bias is None else output_bias.contiguous()
    flags = _flags(present)
    fused = tiling.fused is not None
    blocks = tiling.fused or tiling.scores
    output = torch.empty_like(patch_tokens) if fused else None
    programs = frames * -(-patches // blocks.rows) * layout.groups
    with _on(patch_tokens.device):
        attention_weights_kernel[(programs,)](
            patch_tokens,
            absorbed_keys.contiguous(),
            score_bias.contiguous(),
            absorbed_values if fused else None,
            output_bias if fused else None,
            None if region_positions is None else region_positions.contiguous(),
            flags,
            weights,
            output,
            patches,
            *grid,
            num_prefix_tokens,
            WIDTH=width,
            **layout.constants(),
            FUSED=fused,
            **_sizes(blocks, patch_tokens),
        )
        if output is None:
            output = _apply_weights(patch_tokens, weights, absorbed_values, output_bias, flags, layout, tiling.apply)
    return output, weights


def launch_backward(
    output_gradient: Tensor,
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    absorbed_values: Tensor,
    weights: Tensor,
    region_positions: Tensor | None,
    present: Tensor | None,
    num_heads: int,
    grid: tuple[int, int],
    num_prefix_tokens: int,
    needs_patch_gradient: bool,
    needs_table_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of patches, keys, values, and float32 sums for score bias ``(F, H*M)`` and positions ``(F, M, 2)``.

    A gradient that is not needed comes back empty; that of the positions is empty where there are none.
    """
    check_runnable(patch_tokens.device)
    layout = column_layout(num_heads, absorbed_keys.shape[1] // num_heads)
    output_gradient, patch_tokens = output_gradient.contiguous(), patch_tokens.contiguous()
    absorbed_keys = absorbed_keys.contiguous()
    frames, patches, width = patch_tokens.shape
    flags = _flags(present)
    positions = None if region_positions is None else region_positions.contiguous()
    score_gradient = torch.empty_like(weights)
    sums = torch.zeros(frames, 3, absorbed_keys.shape[1], dtype=torch.float32, device=patch_tokens.device)
    one_pass = needs_table_gradients and layout.groups == 1
    patch_gradient = torch.empty_like(patch_tokens) if needs_patch_gradient else patch_tokens.new_empty(0)
    make = torch.zeros_like if patch_tokens.numel() == 0 else torch.empty_like
    key_gradient = make(absorbed_keys) if needs_table_gradients else absorbed_keys.new_empty(0)
    value_gradient = make(absorbed_keys) if needs_table_gradients else absorbed_keys.new_empty(0)
    if patch_tokens.numel() > 0:
        tiling = _tiling(patch_tokens, layout)
        constants = layout.constants()
        with _on(patch_tokens.device):
            programs = frames * -(-patches // tiling.scores.rows) * layout.groups
            score_gradient_kernel[(programs,)](
                output_gradient, absorbed_values.contiguous(), weights, flags, score_gradient, patches,
                WIDTH=width, **constants, **_sizes(tiling.scores, patch_tokens),
            )  # fmt: skip
            column_sums_kernel[(frames * layout.groups,)](
                score_gradient, positions, flags, sums, patches, *grid, num_prefix_tokens,
                **constants, BLOCK_ROWS=_COLUMN_SUM_ROWS,
            )  # fmt: skip
            if needs_table_gradients:
                with_patches = one_pass and needs_patch_gradient
                blocks = tiling.tables if with_patches else tiling.tables_alone
                programs = frames * -(-width // blocks.width) * layout.groups
                bound = {"maxnreg": TABLE_REGISTERS} if with_patches and torch.version.hip is None else {}
                table_gradient_kernel[(programs,)](
                    patch_tokens, output_gradient, absorbed_keys, weights, score_gradient, flags,
                    key_gradient, value_gradient, patch_gradient if with_patches else None,
                    frames, patches, WIDTH=width, **constants, **_sizes(blocks, patch_tokens), **bound,
                )  # fmt: skip
            if needs_patch_gradient and not one_pass:
                patch_gradient = _apply_weights(
                    output_gradient, score_gradient, absorbed_keys, None, flags, layout, tiling.apply
                )
    if positions is None:
        position_gradient = sums.new_empty(0)
    else:
        position_gradient = reduce(sums[:, 1:], "f xy (h m) -> f m xy", "sum", h=num_heads)
    return patch_gradient, key_gradient, value_gradient, sums[:, 0].contiguous(), position_gradient
