"""Argument checks of region attention: shapes, dtypes and devices, refused with their numbers."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from facekit.errors import ConfigurationError
from facekit.kernels.absorption import RegionAttentionWeights


def _fail(message: str) -> NoReturn:
    raise ConfigurationError(f"region_attention: {message}")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(int(size) for size in tensor.shape)


def _check_shape(name: str, tensor: Tensor | None, expected: tuple[int, ...], meaning: str) -> None:
    if tensor is not None and tuple(tensor.shape) != expected:
        _fail(f"{name} has shape {_shape(tensor)}, expected {expected} = {meaning}")


def check_weights(weights: RegionAttentionWeights, patch_width: int, region_width: int, num_heads: int) -> None:
    """Refuse projections that do not fit the widths of the tokens or the number of heads.

    Raises:
        ConfigurationError: with the offending tensor's shape and the expected one.
    """
    if weights.query.ndim != 2:
        _fail(f"weights.query has shape {_shape(weights.query)}, expected two axes (A, D)")
    width = weights.query.shape[0]
    if num_heads < 1 or width % num_heads:
        _fail(f"the attention width {width} is not a multiple of num_heads={num_heads}; choose a divisor of {width}")
    _check_shape("weights.query", weights.query, (width, patch_width), "(A, D)")
    _check_shape("weights.key", weights.key, (width, region_width), "(A, E)")
    _check_shape("weights.value", weights.value, (width, region_width), "(A, E)")
    _check_shape("weights.output", weights.output, (patch_width, width), "(D, A)")
    for name in ("query_bias", "key_bias", "value_bias"):
        _check_shape(f"weights.{name}", getattr(weights, name), (width,), "(A,)")
    _check_shape("weights.output_bias", weights.output_bias, (patch_width,), "(D,)")


def check_geometry(
    patch_tokens: Tensor,
    region_tokens: Tensor,
    grid: tuple[int, int] | None,
    region_positions: Tensor | None,
    num_prefix_tokens: int,
    present: Tensor | None,
) -> None:
    """Refuse tokens, positions, grid and mask that do not describe the same frames.

    Raises:
        ConfigurationError: with the numbers that disagree.
    """
    if patch_tokens.ndim != 3 or region_tokens.ndim != 3:
        _fail(
            f"patch_tokens {_shape(patch_tokens)} and region_tokens {_shape(region_tokens)} must have three axes, "
            "(F, N, D) and (F, M, E); fold batch and time into F"
        )
    frames, tokens = patch_tokens.shape[:2]
    regions = region_tokens.shape[1]
    if region_tokens.shape[0] != frames:
        _fail(f"patch_tokens have {frames} frames and region_tokens {region_tokens.shape[0]}; give one set per frame")
    if regions < 1:
        _fail("region_tokens have no regions; give at least one, or leave the operation out")
    _check_shape("present", present, (frames,), "(F,)")
    for name, tensor in (("region_positions", region_positions), ("present", present)):
        if tensor is not None and tensor.device != patch_tokens.device:
            _fail(f"{name} is on {tensor.device} and patch_tokens on {patch_tokens.device}; move them to one device")
    if present is not None and present.dtype.is_floating_point:
        _fail(f"present has dtype {present.dtype}; give a boolean mask of frames")
    if region_positions is None:
        return
    _check_shape("region_positions", region_positions, (frames, regions, 2), "(F, M, 2)")
    if grid is None:
        _fail("region_positions need grid=(rows, cols) to place the patches; give it, or leave positions out")
    if num_prefix_tokens < 0 or tokens != num_prefix_tokens + grid[0] * grid[1]:
        _fail(
            f"{tokens} patch tokens are not {num_prefix_tokens} prefix tokens + grid {grid[0]} x {grid[1]} = "
            f"{num_prefix_tokens + grid[0] * grid[1]}"
        )


def check_dtypes(patch_tokens: Tensor, region_tokens: Tensor, weights: RegionAttentionWeights, autocast: bool) -> None:
    """Refuse mixed dtypes outside autocast, and tensors on different devices.

    Raises:
        ConfigurationError: with the tensors' names, dtypes or devices.
    """
    dtype, device = patch_tokens.dtype, patch_tokens.device
    if not dtype.is_floating_point:
        _fail(f"patch_tokens have dtype {dtype}; give a floating-point tensor")
    named = {"region_tokens": region_tokens}
    named.update({f"weights.{name}": tensor for name, tensor in weights._asdict().items() if tensor is not None})
    for name, tensor in named.items():
        if tensor.device != device:
            _fail(f"{name} is on {tensor.device} and patch_tokens on {device}; move them to one device")
        if tensor.dtype != dtype and not autocast:
            _fail(f"{name} has dtype {tensor.dtype} and patch_tokens {dtype}; cast one of them, or use torch.autocast")
