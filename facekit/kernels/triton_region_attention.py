"""The streaming half of region attention as a differentiable operator backed by Triton kernels.

It has the signature of ``streaming.stream_region_attention`` and the same answers. Kernels are in ``triton_forward``
and ``triton_backward`` (tiling and memory traffic are explained there), block sizes in ``triton_tiling``. This file is
what PyTorch sees: two ``torch.library`` operators with shape-only implementations and an autograd formula, so that
``torch.compile`` (whole graph), activation checkpointing and autocast work. It imports without Triton.

Without a GPU the kernels run in Triton's interpreter, slowly but exactly, when ``TRITON_INTERPRET=1`` is set before
the first import of ``triton``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from facekit.errors import ConfigurationError, MissingExtraError
from facekit.kernels.triton_tiling import MAX_REGIONS, column_layout

_TRITON_IS_INSTALLED = find_spec("triton") is not None  # looked up once: torch 2.11 cannot trace the look-up

SUPPORTED_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@torch.library.custom_op(
    "facekit::stream_region_attention",
    mutates_args=(),
    schema=(
        "(Tensor patch_tokens, Tensor absorbed_keys, Tensor score_bias, Tensor absorbed_values, Tensor? output_bias, "
        "Tensor? region_positions, Tensor? present, int num_heads, SymInt grid_rows, SymInt grid_columns, "
        "SymInt num_prefix_tokens) -> (Tensor, Tensor)"
    ),
)
def _forward_operator(
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    score_bias: Tensor,
    absorbed_values: Tensor,
    output_bias: Tensor | None,
    region_positions: Tensor | None,
    present: Tensor | None,
    num_heads: int,
    grid_rows: int,
    grid_columns: int,
    num_prefix_tokens: int,
) -> tuple[Tensor, Tensor]:
    from facekit.kernels.triton_launch import launch_forward

    return launch_forward(
        patch_tokens,
        absorbed_keys,
        score_bias,
        absorbed_values,
        output_bias,
        region_positions,
        present,
        num_heads,
        (grid_rows, grid_columns),
        num_prefix_tokens,
    )


@_forward_operator.register_fake
def _forward_shapes(patch_tokens: Tensor, absorbed_keys: Tensor, *others: Tensor | int | None) -> tuple[Tensor, Tensor]:
    num_heads = others[5]
    assert isinstance(num_heads, int)
    layout = column_layout(num_heads, int(absorbed_keys.shape[1]) // num_heads)
    weights = patch_tokens.new_empty((*patch_tokens.shape[:2], layout.padded_columns))
    return torch.empty_like(patch_tokens, memory_format=torch.contiguous_format), weights


@torch.library.custom_op(
    "facekit::stream_region_attention_backward",
    mutates_args=(),
    schema=(
        "(Tensor output_gradient, Tensor patch_tokens, Tensor absorbed_keys, Tensor absorbed_values, Tensor weights, "
        "Tensor? region_positions, Tensor? present, int num_heads, SymInt grid_rows, SymInt grid_columns, "
        "SymInt num_prefix_tokens, bool needs_patch_gradient, bool needs_table_gradients) "
        "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
    ),
)
def _backward_operator(
    output_gradient: Tensor,
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    absorbed_values: Tensor,
    weights: Tensor,
    region_positions: Tensor | None,
    present: Tensor | None,
    num_heads: int,
    grid_rows: int,
    grid_columns: int,
    num_prefix_tokens: int,
    needs_patch_gradient: bool,
    needs_table_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    from facekit.kernels.triton_launch import launch_backward

    return launch_backward(
        output_gradient,
        patch_tokens,
        absorbed_keys,
        absorbed_values,
        weights,
        region_positions,
        present,
        num_heads,
        (grid_rows, grid_columns),
        num_prefix_tokens,
        needs_patch_gradient,
        needs_table_gradients,
    )


@_backward_operator.register_fake
def _backward_shapes(
    output_gradient: Tensor,
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    absorbed_values: Tensor,
    weights: Tensor,
    region_positions: Tensor | None,
    present: Tensor | None,
    num_heads: int,
    grid_rows: int,
    grid_columns: int,
    num_prefix_tokens: int,
    needs_patch_gradient: bool,
    needs_table_gradients: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    def gradient(tensor: Tensor | None, needed: bool, dtype: torch.dtype | None = None) -> Tensor:
        shape = tensor.shape if tensor is not None and needed else (0,)
        return patch_tokens.new_empty(shape, dtype=dtype)

    return (
        gradient(patch_tokens, needs_patch_gradient),
        gradient(absorbed_keys, needs_table_gradients),
        gradient(absorbed_values, needs_table_gradients),
        patch_tokens.new_empty(absorbed_keys.shape[:2], dtype=torch.float32),
        gradient(region_positions, True, torch.float32),
    )


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    patch_tokens, absorbed_keys, score_bias, absorbed_values, output_bias, positions, present, *integers = inputs
    ctx.save_for_backward(patch_tokens, absorbed_keys, absorbed_values, output[1], positions, present)
    ctx.integers = integers
    ctx.score_bias_dtype = score_bias.dtype
    ctx.output_bias_dtype = None if output_bias is None else output_bias.dtype
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, output_gradient: Tensor | None, _weights_gradient: Tensor | None) -> tuple[Any, ...]:
    if output_gradient is None:
        return (None,) * 11
    patch_tokens, absorbed_keys, absorbed_values, weights, positions, present = ctx.saved_tensors
    patches, keys, bias, values, shift, position = ctx.needs_input_grad[:6]
    patch_gradient, key_gradient, value_gradient, bias_gradient, position_gradient = _backward_operator(
        output_gradient.to(patch_tokens.dtype),
        patch_tokens,
        absorbed_keys,
        absorbed_values,
        weights,
        positions,
        present,
        *ctx.integers,
        patches,
        keys or values or shift,
    )
    shift_gradient = None
    if shift:
        # A head's weights sum to one over its regions, so its rows of dC add up to the sum of dY over the patches.
        regions = absorbed_keys.shape[1] // ctx.integers[0]
        shift_gradient = value_gradient[:, :regions].sum(dim=(0, 1), dtype=torch.float32).to(ctx.output_bias_dtype)
    return (
        patch_gradient if patches else None,
        key_gradient if keys else None,
        bias_gradient.to(ctx.score_bias_dtype) if bias else None,
        value_gradient if values else None,
        shift_gradient,
        position_gradient.to(positions.dtype) if position else None,
        *(None,) * 5,
    )


_forward_operator.register_autograd(_differentiate, setup_context=_save_for_backward)


def _fail(message: str) -> None:
    raise ConfigurationError(f"region attention 'triton': {message}")


def _check(
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    score_bias: Tensor,
    absorbed_values: Tensor,
    output_bias: Tensor | None,
    region_positions: Tensor | None,
    present: Tensor | None,
    num_heads: int,
    grid: tuple[int, int] | None,
    num_prefix_tokens: int,
) -> None:
    if not _TRITON_IS_INSTALLED:
        raise MissingExtraError(
            "region attention 'triton' needs the package triton, which is not installed; "
            "run 'pip install triton' (Linux), or use implementation 'absorbed'"
        )
    frames, patches, width = patch_tokens.shape
    if patch_tokens.dtype not in SUPPORTED_DTYPES:
        _fail(f"takes float32, bfloat16 and float16, got {patch_tokens.dtype}; use implementation 'absorbed'")
    for name, tensor in (("absorbed_keys", absorbed_keys), ("absorbed_values", absorbed_values)):
        if tensor.dtype != patch_tokens.dtype:
            _fail(f"{name} has dtype {tensor.dtype} and patch_tokens {patch_tokens.dtype}; cast one of them")
    columns = absorbed_keys.shape[1]
    if num_heads < 1 or columns % num_heads or not 1 <= columns // num_heads <= MAX_REGIONS:
        _fail(f"{columns} absorbed rows are not {num_heads} heads times 1 to {MAX_REGIONS} regions; use 'absorbed'")
    for name, given, expected in (
        ("absorbed_keys", absorbed_keys, (frames, columns, width)),
        ("absorbed_values", absorbed_values, (frames, columns, width)),
        ("score_bias", score_bias, (frames, columns)),
        ("output_bias", output_bias, (width,)),
        ("region_positions", region_positions, (frames, columns // num_heads, 2)),
        ("present", present, (frames,)),
    ):
        if given is not None and given.shape != expected:
            _fail(f"{name} has shape {tuple(given.shape)}, expected {tuple(expected)}")
    if patches * max(width, 2 * columns) >= 2**31:
        _fail(f"one frame of {patches} x {width} has too many elements; split the frame or use 'absorbed'")
    if present is not None and present.dtype != torch.bool:
        _fail(f"present has dtype {present.dtype}; give a boolean mask of frames")
    if region_positions is not None and (grid is None or patches != num_prefix_tokens + grid[0] * grid[1]):
        _fail(f"{patches} patch tokens are not {num_prefix_tokens} prefix tokens plus grid {grid}; give the grid")


def stream_region_attention_triton(
    patch_tokens: Tensor,
    absorbed_keys: Tensor,
    score_bias: Tensor,
    absorbed_values: Tensor,
    output_bias: Tensor | None,
    region_positions: Tensor | None,
    present: Tensor | None,
    num_heads: int,
    grid: tuple[int, int] | None,
    num_prefix_tokens: int,
) -> Tensor:
    """Attend from every patch to its frame's regions and add the result to the patch, in Triton.

    ``Y = X + softmax(X keysᵀ + score_bias + proximity) values + output_bias``, softmax over the M regions of each
    head; proximity is minus the distance from a patch's centre to a region, zero for prefix tokens. Products
    accumulate in float32, without tf32. Gradients reach every floating-point argument, region positions included,
    and are bitwise repeatable; second derivatives are refused. Saved for backward: the arguments and the softmax
    weights, which are H·M numbers per patch. Nothing waits for the device.

    Under autocast, patches, keys and values are cast to autocast's dtype and the result has it.

    Source: Face-LLaVA (arXiv 2504.07198), section 4, with the projections absorbed (``absorption``).

    Args:
        patch_tokens: X, ``(F, N, D)``, float32, bfloat16 or float16; F and N may be zero.
        absorbed_keys: ``(F, H*M, D)``, head-major (row ``h * M + m``), scaled; the dtype of ``patch_tokens``.
        score_bias: ``(F, H*M)``, any floating-point dtype.
        absorbed_values: ``(F, H*M, D)``, like the keys.
        output_bias: ``(D,)`` or None.
        region_positions: ``(F, M, 2)``, x then y in ``[0, 1]``, any floating-point dtype, or None for attention by
            content alone.
        present: ``(F,)`` bool or None. A frame that is not present returns X exactly and sends no gradient but to X;
            its other inputs may be NaN.
        num_heads: H.
        grid: rows and columns of the patches; needed with ``region_positions``.
        num_prefix_tokens: tokens before the patches.

    Returns:
        ``(F, N, D)``, contiguous.

    Raises:
        MissingExtraError: Triton is not installed.
        ConfigurationError: for other dtypes (float64: use implementation ``absorbed``), more than 64 regions, shapes
            that disagree, or tensors that are not on a GPU when the kernels are not interpreted.
    """
    device_type = patch_tokens.device.type
    if torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
        patch_tokens, absorbed_keys, absorbed_values = (
            tensor.to(dtype) for tensor in (patch_tokens, absorbed_keys, absorbed_values)
        )
    _check(
        patch_tokens,
        absorbed_keys,
        score_bias,
        absorbed_values,
        output_bias,
        region_positions,
        present,
        num_heads,
        grid,
        num_prefix_tokens,
    )
    rows, columns = grid if grid is not None else (1, 1)
    output, _ = _forward_operator(
        patch_tokens,
        absorbed_keys,
        score_bias,
        absorbed_values,
        output_bias,
        region_positions,
        present,
        num_heads,
        rows,
        columns,
        num_prefix_tokens,
    )
    return output
