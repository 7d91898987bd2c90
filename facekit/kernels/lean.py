"""Absorbed region attention with gradients written by hand: the same arithmetic with less memory on the way.

Autograd rearranges copies of the absorbed tables and of their gradients, and sums the patches' gradient from two parts.
On a CPU such memory is new at each call, and the operating system takes longer to hand it out than the processor to
fill it (``docs/region-attention.md`` has the figures). Here every product goes where its result belongs. Signatures and
results are those of ``absorption`` and ``streaming``; gradients of gradients are left to autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from facekit.kernels.absorption import AbsorbedProjections, RegionAttentionWeights, absorb_projections
from facekit.kernels.streaming import apply_region_weights, patch_proximity, region_weights


def absorb_projections_lean(
    region_tokens: Tensor, weights: RegionAttentionWeights, num_heads: int
) -> AbsorbedProjections:
    """``absorb_projections``, for tensors of one dtype."""
    keys, score_bias, values, *_ = _Absorption.apply(region_tokens, *weights[:-1], num_heads)
    return AbsorbedProjections(keys, score_bias, values)


def stream_region_attention_lean(
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
    """``stream_region_attention``, for tensors of one dtype."""
    proximity = None
    if region_positions is not None and grid is not None:
        proximity = patch_proximity(region_positions, grid, num_prefix_tokens)
    arguments = (patch_tokens, absorbed_keys, score_bias, absorbed_values, output_bias, proximity, present, num_heads)
    result: Tensor = _Streaming.apply(*arguments)[0]
    return result


def _without_autocast(tensor: Tensor) -> AbstractContextManager[object]:
    return nullcontext() if tensor.is_meta else torch.autocast(tensor.device.type, enabled=False)


def _gradients_by_autograd(
    function: Callable[..., Sequence[Tensor]],
    inputs: Sequence[Any],
    needed: Sequence[bool],
    gradients: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    """Gradients of the inputs that need one, which can be differentiated again."""
    aliases = [given.view_as(given) if need else given for given, need in zip(inputs, needed, strict=True)]
    wanted = [alias for alias, need in zip(aliases, needed, strict=True) if need]
    outputs = [pair for pair in zip(function(*aliases), gradients, strict=True) if pair[0].requires_grad]
    results, of_results = zip(*outputs, strict=True)
    found = iter(torch.autograd.grad(results, wanted, of_results, create_graph=True, allow_unused=True))
    return tuple(next(found) if need else None for need in needed)


def _fold(rows: Tensor, factor: Tensor, frames: int, regions: int, num_heads: int) -> Tensor:
    """Per head, rows ``(F*M, A)`` times a factor ``(A, D)``: a table ``(F, H*M, D)``."""
    rows_by_head, factor_by_head = _by_head(rows, factor, num_heads)
    table = rows.new_empty(frames, num_heads, regions, factor.shape[1])
    blocks = _blocks_of_heads(num_heads)
    buffer = rows.new_empty(blocks[0].stop, rows.shape[0], factor.shape[1])
    for heads in blocks:
        product = _multiply(rows_by_head[heads], factor_by_head[heads], buffer[: heads.stop - heads.start])
        table[:, heads] = rearrange(product, "h (f m) D -> f h m D", m=regions)
    return table.flatten(1, 2)


def _unfold(
    gradient: Tensor, rows: Tensor, factor: Tensor, num_heads: int, into_rows: Tensor | None, into_factor: Tensor | None
) -> None:
    """Write the gradients of ``_fold``'s rows and factor where they are wanted."""
    rows_by_head, factor_by_head = _by_head(rows, factor, num_heads)
    by_head = rearrange(gradient, "f (h m) D -> h f m D", h=num_heads)
    for heads in _blocks_of_heads(num_heads):
        of_heads = by_head[heads].flatten(1, 2)
        if into_rows is not None:
            of_rows = rearrange(into_rows, "r (h d) -> h r d", h=num_heads)
            of_rows[heads] = _multiply(of_heads, factor_by_head[heads].transpose(1, 2))
        if into_factor is not None:
            of_factor = rearrange(into_factor, "(h d) D -> h d D", h=num_heads)
            _multiply(rows_by_head[heads].transpose(1, 2), of_heads, of_factor[heads])


def _by_head(rows: Tensor, factor: Tensor, num_heads: int) -> tuple[Tensor, Tensor]:
    return rearrange(rows, "r (h d) -> h r d", h=num_heads), rearrange(factor, "(h d) D -> h d D", h=num_heads)


def _blocks_of_heads(num_heads: int) -> list[slice]:
    step = torch.get_num_threads()  # a head for each thread: none waits for another inside a product
    return [slice(start, min(start + step, num_heads)) for start in range(0, num_heads, step)]


def _multiply(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """Products of a block of heads; in half precision one by one, because batched ones copy what is strided."""
    if out is None:
        out = left.new_empty(left.shape[0], left.shape[1], right.shape[2])
    if left.element_size() > 2:
        return torch.bmm(left, right, out=out)
    for of_left, of_right, of_out in zip(left, right, out, strict=True):
        torch.mm(of_left, of_right, out=of_out)
    return out


class _Absorption(torch.autograd.Function):
    """The absorbed projections, and the scaled keys and the values ``(F*M, A)`` that they were made of."""

    @staticmethod
    def forward(
        region_tokens: Tensor,
        query: Tensor,
        query_bias: Tensor | None,
        key: Tensor,
        key_bias: Tensor | None,
        value: Tensor,
        value_bias: Tensor | None,
        output: Tensor,
        num_heads: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        frames, regions = region_tokens.shape[:2]
        rows = region_tokens.flatten(0, 1)
        keys = F.linear(rows, key, key_bias).mul_((query.shape[0] // num_heads) ** -0.5)
        values = F.linear(rows, value, value_bias)
        if query_bias is None:
            score_bias = keys.new_zeros(frames, num_heads * regions)
        else:
            score_bias = reduce(keys * query_bias, "(f m) (h d) -> f (h m)", "sum", m=regions, h=num_heads)
        absorbed_keys = _fold(keys, query, frames, regions, num_heads)
        absorbed_values = _fold(values, output.t(), frames, regions, num_heads)
        return absorbed_keys, score_bias, absorbed_values, keys, values

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *tensors, ctx.num_heads = inputs
        ctx.mark_non_differentiable(*output[3:])
        ctx.save_for_backward(*tensors, *output[3:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, keys, values = ctx.saved_tensors
        with _without_autocast(keys):
            if torch.is_grad_enabled():
                return _gradients_by_autograd(_absorb, [*inputs, ctx.num_heads], ctx.needs_input_grad, gradients[:3])
            return _absorption_gradients(inputs, keys, values, ctx.num_heads, ctx.needs_input_grad, gradients)


def _absorb(region_tokens: Tensor, *weights_and_heads: Any) -> AbsorbedProjections:
    *weights, num_heads = weights_and_heads
    return absorb_projections(region_tokens, RegionAttentionWeights._make([*weights, None]), num_heads)


def _absorption_gradients(
    inputs: Sequence[Any],
    keys: Tensor,
    values: Tensor,
    num_heads: int,
    needed: Sequence[bool],
    gradients: Sequence[Tensor],
) -> tuple[Tensor | None, ...]:
    region_tokens, query, query_bias, key, _, value, _, output = inputs
    for_tokens, for_query, for_query_bias, for_key, for_key_bias, for_value, for_value_bias, for_output, _ = needed
    key_gradient, bias_gradient, value_gradient = gradients[:3]
    rows = region_tokens.flatten(0, 1)
    of_keys = torch.empty_like(keys) if for_tokens or for_key or for_key_bias else None
    of_values = torch.empty_like(values) if for_tokens or for_value or for_value_bias else None
    of_query = query.new_empty(query.shape) if for_query else None
    of_output = output.new_empty(output.shape) if for_output else None
    _unfold(key_gradient, keys, query, num_heads, of_keys, of_query)
    _unfold(value_gradient, values, output.t(), num_heads, of_values, None if of_output is None else of_output.t())
    of_query_bias = None
    if query_bias is not None:
        by_row = rearrange(bias_gradient, "f (h m) -> (f m) h 1", h=num_heads)
        if for_query_bias:
            of_query_bias = (keys.unflatten(1, (num_heads, -1)) * by_row).sum(0).flatten()
        if of_keys is not None:
            of_keys.unflatten(1, (num_heads, -1)).addcmul_(by_row, query_bias.unflatten(0, (num_heads, -1)))
    if of_keys is not None:
        of_keys.mul_((query.shape[0] // num_heads) ** -0.5)
    of_tokens = None
    if for_tokens and of_keys is not None and of_values is not None:
        of_tokens = torch.mm(of_keys, key).addmm_(of_values, value).view(region_tokens.shape)
    return (
        of_tokens,
        of_query,
        of_query_bias,
        of_keys.t() @ rows if for_key and of_keys is not None else None,
        of_keys.sum(0) if for_key_bias and of_keys is not None else None,
        of_values.t() @ rows if for_value and of_values is not None else None,
        of_values.sum(0) if for_value_bias and of_values is not None else None,
        of_output,
        None,
    )


class _Streaming(torch.autograd.Function):
    """The result, and the weights ``(F, N, H, M)`` of the regions."""

    @staticmethod
    def forward(
        patch_tokens: Tensor,
        absorbed_keys: Tensor,
        score_bias: Tensor,
        absorbed_values: Tensor,
        output_bias: Tensor | None,
        proximity: Tensor | None,
        present: Tensor | None,
        num_heads: int,
    ) -> tuple[Tensor, Tensor]:
        weights = region_weights(patch_tokens, absorbed_keys, score_bias, proximity, present, num_heads)
        return apply_region_weights(patch_tokens, weights, absorbed_values, output_bias, present), weights

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, ctx.num_heads = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, weights = ctx.saved_tensors
        with _without_autocast(weights):
            if torch.is_grad_enabled():
                return _gradients_by_autograd(_stream, [*inputs, ctx.num_heads], ctx.needs_input_grad, [gradient])
            return _streaming_gradients(inputs, weights, ctx.needs_input_grad, gradient)


def _stream(*inputs: Any) -> list[Tensor]:
    return [_Streaming.forward(*inputs)[0]]


def _streaming_gradients(
    inputs: Sequence[Any], weights: Tensor, needed: Sequence[bool], gradient: Tensor
) -> tuple[Tensor | None, ...]:
    patch_tokens, absorbed_keys, _, absorbed_values, _, _, present = inputs
    for_patches, for_keys, for_bias, for_values, for_output_bias, for_proximity, *_ = needed
    found: list[Tensor | None] = [None] * len(needed)
    if for_values:
        columns = weights.flatten(2).to(gradient.dtype)
        found[3] = torch.bmm(columns.transpose(1, 2), gradient)
    if for_output_bias:
        sums = gradient.sum(1)
        found[4] = (sums if present is None else torch.where(present[:, None], sums, 0.0)).sum(0)
    if not (for_patches or for_keys or for_bias or for_proximity):
        return tuple(found)
    of_scores = torch.bmm(gradient, absorbed_values.transpose(1, 2)).to(weights.dtype).view(weights.shape).mul_(weights)
    of_scores.sub_(weights * of_scores.sum(-1, keepdim=True))
    columns = of_scores.flatten(2).to(gradient.dtype)
    found[0] = torch.baddbmm(gradient, columns, absorbed_keys) if for_patches else None
    found[1] = torch.bmm(columns.transpose(1, 2), patch_tokens) if for_keys else None
    found[2] = of_scores.flatten(2).sum(1).to(gradient.dtype) if for_bias else None
    found[5] = of_scores.sum(2) if for_proximity else None
    return tuple(found)
