"""The public operation and the choice between its implementations.

Everything that a caller can influence is here: the signature, the rule behind ``auto``, and the three ways to overrule
it (argument, context manager, environment variable). The arithmetic is in the files beside this one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec

import torch
from torch import Tensor

from facekit.compat.torch import constant_while_traced
from facekit.errors import ConfigurationError, UnknownPartError
from facekit.kernels.absorption import RegionAttentionWeights, absorb_projections
from facekit.kernels.checks import check_dtypes, check_geometry, check_weights
from facekit.kernels.lean import absorb_projections_lean, stream_region_attention_lean
from facekit.kernels.reference import textbook_region_attention
from facekit.kernels.streaming import stream_region_attention
from facekit.kernels.triton_region_attention import SUPPORTED_DTYPES, stream_region_attention_triton
from facekit.kernels.triton_tiling import MAX_REGIONS
from facekit.spec import closest_match_hint

IMPLEMENTATIONS = ("reference", "absorbed", "lean", "triton")
"""Names that ``implementation=`` takes beside ``"auto"``."""
ENVIRONMENT_VARIABLE = "FACEKIT_REGION_ATTENTION"
LEAN_ELEMENTS = 1 << 24
"""Patch tokens times their width, on a CPU, from which ``auto`` takes ``lean``; below, ``absorbed`` is as fast."""
LEAN_ELEMENTS_OF_HALF = 1 << 20
"""The same in bfloat16 and float16, of which ``absorbed`` copies the weights."""
TRITON_IS_INSTALLED = find_spec("triton") is not None

_implementation_in_context: ContextVar[str | None] = ContextVar("region_attention_implementation", default=None)


@constant_while_traced
def _read_context() -> str | None:
    return _implementation_in_context.get()


def _check_implementation(name: str, given_by: str) -> str:
    choices = ("auto", *IMPLEMENTATIONS)
    if name not in choices:
        hint = closest_match_hint(name, choices)
        raise UnknownPartError(f"unknown region attention implementation '{name}' ({given_by}){hint}")
    return name


@contextmanager
def use_implementation(name: str) -> Iterator[None]:
    """Choose the implementation of every ``region_attention`` in the block that does not name one itself.

    Args:
        name: ``auto``, ``reference``, ``absorbed``, ``lean`` or ``triton``.

    Raises:
        UnknownPartError: for any other name.
    """
    token = _implementation_in_context.set(_check_implementation(name, "use_implementation"))
    try:
        yield
    finally:
        _implementation_in_context.reset(token)


def requested_implementation(argument: str | None = None) -> str:
    """The implementation that was asked for: by argument, else by context, else by environment, else ``auto``.

    ``torch.compile`` reads the environment variable once, when it traces; a changed context is traced again, with
    torch before 2.15 after ``torch.compiler.reset``.
    """
    if argument is not None:
        return _check_implementation(argument, "argument 'implementation'")
    in_context = _read_context()
    if in_context is not None:
        return in_context
    from_environment = os.environ.get(ENVIRONMENT_VARIABLE)
    return (
        _check_implementation(from_environment, f"environment variable {ENVIRONMENT_VARIABLE}")
        if from_environment
        else "auto"
    )


def absorption_pays(patches: int, regions: int, patch_width: int, attention_width: int, num_heads: int) -> bool:
    """Whether absorbing the projections takes fewer multiplications than projecting the patches.

    Per frame, without the key and value projections that both orders share: absorbed ``2 M D A + 2 N H M D``, plain
    ``2 N D A + 2 N M A``. For ``N`` far above ``M`` this says ``H M < A``: fewer regions than a head is wide.

    Args:
        patches: N, prefix tokens included.
        regions: M.
        patch_width: D.
        attention_width: A.
        num_heads: H.
    """
    absorbed = regions * patch_width * (attention_width + patches * num_heads)
    plain = patches * attention_width * (patch_width + regions)
    return absorbed < plain


def choose_implementation(patch_tokens: Tensor, region_tokens: Tensor, attention_width: int, num_heads: int) -> str:
    """The rule behind ``auto``; ``docs/region-attention.md`` has the measurements it rests on.

    ``reference`` where absorption does not pay; else ``triton`` on a CUDA device, for the dtypes and numbers of regions
    that the kernel takes; else ``lean`` for many or wide patches on a CPU; else ``absorbed``.

    Args:
        patch_tokens: ``(F, N, D)``; device, dtype and shape count, values do not.
        region_tokens: ``(F, M, E)``.
        attention_width: A.
        num_heads: H.
    """
    patches, patch_width = patch_tokens.shape[1:]
    regions = region_tokens.shape[1]
    if not absorption_pays(patches, regions, patch_width, attention_width, num_heads):
        return "reference"
    kernel_fits = regions <= MAX_REGIONS and patch_tokens.dtype in SUPPORTED_DTYPES
    if patch_tokens.is_cuda and kernel_fits and TRITON_IS_INSTALLED:
        return "triton"
    least = LEAN_ELEMENTS_OF_HALF if patch_tokens.dtype.itemsize == 2 else LEAN_ELEMENTS
    return "lean" if patch_tokens.is_cpu and patch_tokens.numel() >= least else "absorbed"


def _autocast_is_on(tensor: Tensor) -> bool:
    return not tensor.is_meta and torch.is_autocast_enabled(tensor.device.type)


def _absorb_and_stream(
    patch_tokens: Tensor,
    region_tokens: Tensor,
    weights: RegionAttentionWeights,
    num_heads: int,
    grid: tuple[int, int] | None,
    region_positions: Tensor | None,
    num_prefix_tokens: int,
    present: Tensor | None,
    implementation: str,
) -> Tensor:
    """The dense half in the dtype of autocast, if it is on, then the streaming half in the dtype of the patches."""
    dtype = patch_tokens.dtype
    autocast = _autocast_is_on(patch_tokens)
    stream: Callable[..., Tensor]
    if implementation == "lean" and not torch.compiler.is_compiling():  # what is traced gets its gradients compiled
        dense_type = torch.get_autocast_dtype(patch_tokens.device.type) if autocast else dtype
        dense = RegionAttentionWeights._make(None if weight is None else weight.to(dense_type) for weight in weights)
        absorbed = absorb_projections_lean(region_tokens.to(dense_type), dense, num_heads)
        stream = stream_region_attention_lean
    else:
        absorbed = absorb_projections(region_tokens, weights, num_heads)
        stream = stream_region_attention_triton if implementation == "triton" else stream_region_attention
    keys, score_bias, values = (tensor.to(dtype) for tensor in absorbed)
    bias = None if weights.output_bias is None else weights.output_bias.to(dtype)
    with torch.autocast(patch_tokens.device.type, enabled=False) if autocast else nullcontext():
        return stream(
            patch_tokens, keys, score_bias, values, bias, region_positions, present, num_heads, grid, num_prefix_tokens
        )


def region_attention(
    patch_tokens: Tensor,
    region_tokens: Tensor,
    weights: RegionAttentionWeights,
    *,
    num_heads: int,
    grid: tuple[int, int] | None = None,
    region_positions: Tensor | None = None,
    num_prefix_tokens: int = 0,
    present: Tensor | None = None,
    implementation: str | None = None,
) -> Tensor:
    """Enrich every patch of a frame with what it attends to in the frame's face regions; the residual is included.

    ``out = X + concat_h(softmax_M(Q_h K_hᵀ / sqrt(A / H) + proximity) V_h) W_oᵀ + b_o``, where ``Q = X W_qᵀ + b_q`` and
    ``K, V`` are projections of the region tokens, and ``proximity[i, j] = -‖region_positions[j] - patch_center[i]‖`` in
    normalised image coordinates. Source: Face-LLaVA (arXiv 2504.07198), section 4, face-region guided cross-attention.

    Prefix tokens (class, registers) have no position in the image: their proximity is zero, they attend by content
    alone. A frame that is not ``present`` returns its patches unchanged, whatever its region tokens and positions hold,
    NaN included, and sends no gradient to them. All implementations compute the softmax in float32 at least, are
    deterministic, take any strides, and never wait for the device.

    Under autocast the dense products run in autocast's dtype; the residual and the result keep the dtype of
    ``patch_tokens``. Outside autocast all dtypes must agree, except that of ``region_positions``.

    Args:
        patch_tokens: X, ``(F, N, D)``; F frames (batch times time) may be zero.
        region_tokens: ``(F, M, E)``.
        weights: the four projections.
        num_heads: H.
        grid: rows and columns of the patches, row-major; needed with ``region_positions``.
        region_positions: ``(F, M, 2)``, x then y in ``[0, 1]``; None for attention by content alone.
        num_prefix_tokens: tokens before the patches.
        present: ``(F,)`` bool, False where a frame has no landmarks; None for all present.
        implementation: one of ``IMPLEMENTATIONS`` or ``auto``; None asks ``use_implementation``, then the
            environment variable ``FACEKIT_REGION_ATTENTION``, then ``auto``.

    Returns:
        ``(F, N, D)`` in the dtype of ``patch_tokens``.

    Raises:
        ConfigurationError: shapes, dtypes or devices that disagree, or an implementation that cannot take these inputs.
        UnknownPartError: an implementation of that name does not exist.
        MissingExtraError: ``triton`` is asked for and not installed.

    Examples:
        >>> import torch
        >>> from facekit.kernels import RegionAttentionWeights, region_attention
        >>> patches, regions = torch.rand(2, 257, 64), torch.rand(2, 9, 64)
        >>> weights = RegionAttentionWeights(*(torch.rand(*shape) for shape in 4 * [(64, 64), (64,)]))
        >>> region_attention(patches, regions, weights, num_heads=8).shape
        torch.Size([2, 257, 64])
    """
    check_geometry(patch_tokens, region_tokens, grid, region_positions, num_prefix_tokens, present)
    check_weights(weights, patch_tokens.shape[2], region_tokens.shape[2], num_heads)
    check_dtypes(patch_tokens, region_tokens, weights, autocast=_autocast_is_on(patch_tokens))

    if present is not None:
        present = present.bool()
        region_tokens = torch.where(present[:, None, None], region_tokens, 0.0)
        if region_positions is not None:
            region_positions = torch.where(present[:, None, None], region_positions, 0.0)

    chosen = requested_implementation(implementation)
    if chosen == "auto":
        width = weights.query.shape[0]
        chosen = choose_implementation(patch_tokens, region_tokens, width, num_heads)
    if chosen == "triton" and region_tokens.shape[1] > MAX_REGIONS:
        limit = f"takes at most {MAX_REGIONS} regions, got {region_tokens.shape[1]}"
        raise ConfigurationError(f"region attention 'triton' {limit}; use 'absorbed'")
    arguments = (patch_tokens, region_tokens, weights, num_heads, grid, region_positions, num_prefix_tokens, present)
    if chosen == "reference":
        return textbook_region_attention(*arguments)
    return _absorb_and_stream(*arguments, chosen)
