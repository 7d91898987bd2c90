"""The peers of the region attention benchmark: the same operation by everything that PyTorch offers, and by facekit.

Every peer does the whole task inside the timed call: the proximity bias from positions, four projections, softmax and
residual. Apart from the benchmark so that each can be checked for fairness at a glance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from facekit.kernels import RegionAttentionWeights, absorb_projections, region_attention, stream_region_attention
from facekit.kernels.lean import stream_region_attention_lean
from facekit.kernels.streaming import patch_proximity


class PeerUnavailableError(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True)
class Inputs:
    """One point of the benchmark: leaves that require gradients, and the geometry."""

    patch_tokens: Tensor  # (F, N, D)
    region_tokens: Tensor  # (F, M, D)
    weights: RegionAttentionWeights
    region_positions: Tensor  # (F, M, 2)
    num_heads: int
    grid: tuple[int, int]
    num_prefix_tokens: int

    @property
    def leaves(self) -> list[Tensor]:
        """Everything that a training step differentiates."""
        return [self.patch_tokens, self.region_tokens, *(weight for weight in self.weights if weight is not None)]


@dataclass(frozen=True)
class PreparedPeer:
    """A peer ready to be timed: its forward call and the leaves that its backward reaches."""

    forward: Callable[[], Tensor]
    leaves: list[Tensor]


@dataclass(frozen=True)
class Peer:
    """How to prepare a peer, and which order of products it computes."""

    name: str
    prepare: Callable[[Inputs], PreparedPeer]
    order: str  # "plain", "absorbed" or "stream": what its FLOPs and bytes are counted by
    compiled: bool = False
    gpu_only: bool = False


def draw_inputs(
    frames: int, patches: int, regions: int, width: int, num_heads: int, device: torch.device, dtype: torch.dtype
) -> Inputs:
    """Random inputs at unit scale; a square grid, one prefix token where N is a square plus one."""
    side = int(patches**0.5)
    generator = torch.Generator(device).manual_seed(0)

    def draw(*shape: int, scale: float = 1.0) -> Tensor:
        drawn = torch.randn(shape, generator=generator, device=device, dtype=dtype)
        return drawn.mul_(scale).requires_grad_()

    projections = [tensor for _ in range(4) for tensor in (draw(width, width, scale=width**-0.5), draw(width))]
    return Inputs(
        draw(frames, patches, width),
        draw(frames, regions, width),
        RegionAttentionWeights(*projections),
        torch.rand(frames, regions, 2, generator=generator, device=device),
        num_heads,
        (side, side),
        patches - side * side,
    )


def _proximity(inputs: Inputs, dtype: torch.dtype) -> Tensor:
    return patch_proximity(inputs.region_positions, inputs.grid, inputs.num_prefix_tokens).to(dtype)  # (F, N, M)


def _project(inputs: Inputs, pattern: str) -> tuple[Tensor, Tensor, Tensor]:
    weights, heads = inputs.weights, inputs.num_heads
    query = F.linear(inputs.patch_tokens, weights.query, weights.query_bias)
    key = F.linear(inputs.region_tokens, weights.key, weights.key_bias)
    value = F.linear(inputs.region_tokens, weights.value, weights.value_bias)
    return tuple(rearrange(tensor, pattern, h=heads) for tensor in (query, key, value))  # type: ignore[return-value]


def _project_back(inputs: Inputs, attended: Tensor) -> Tensor:
    return inputs.patch_tokens + F.linear(attended, inputs.weights.output, inputs.weights.output_bias)


def _textbook(inputs: Inputs) -> Tensor:
    query, key, value = _project(inputs, "f n (h d) -> f h n d")
    scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5 + _proximity(inputs, query.dtype)[:, None]
    attended = torch.softmax(scores, dim=-1) @ value
    return _project_back(inputs, rearrange(attended, "f h n d -> f n (h d)"))


def _scaled_dot_product(inputs: Inputs) -> Tensor:
    query, key, value = _project(inputs, "f n (h d) -> f h n d")
    bias = _proximity(inputs, query.dtype)[:, None]
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    return _project_back(inputs, rearrange(attended, "f h n d -> f n (h d)"))


def _facekit(inputs: Inputs, implementation: str) -> Tensor:
    return region_attention(
        inputs.patch_tokens,
        inputs.region_tokens,
        inputs.weights,
        num_heads=inputs.num_heads,
        grid=inputs.grid,
        region_positions=inputs.region_positions,
        num_prefix_tokens=inputs.num_prefix_tokens,
        implementation=implementation,
    )


def _eager(function: Callable[..., Tensor], *arguments: str) -> Callable[[Inputs], PreparedPeer]:
    return lambda inputs: PreparedPeer(lambda: function(inputs, *arguments), inputs.leaves)


def _compiled(function: Callable[..., Tensor], *arguments: str) -> Callable[[Inputs], PreparedPeer]:
    def prepare(inputs: Inputs) -> PreparedPeer:
        compiled = torch.compile(lambda: function(inputs, *arguments), fullgraph=True, dynamic=False)
        return PreparedPeer(compiled, inputs.leaves)

    return prepare


def _prepare_multihead_attention(inputs: Inputs) -> PreparedPeer:
    weights, width = inputs.weights, inputs.patch_tokens.shape[-1]
    module = nn.MultiheadAttention(width, inputs.num_heads, batch_first=True, device="meta").to(weights.query.dtype)
    module.to_empty(device=weights.query.device)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.cat([weights.query, weights.key, weights.value]))
        module.in_proj_bias.copy_(torch.cat([weights.query_bias, weights.key_bias, weights.value_bias]))
        module.out_proj.weight.copy_(weights.output)
        module.out_proj.bias.copy_(weights.output_bias)

    def forward() -> Tensor:
        bias = _proximity(inputs, inputs.patch_tokens.dtype).repeat_interleave(inputs.num_heads, dim=0)
        regions = inputs.region_tokens
        attended, _ = module(inputs.patch_tokens, regions, regions, need_weights=False, attn_mask=bias)
        return inputs.patch_tokens + attended

    return PreparedPeer(forward, [inputs.patch_tokens, inputs.region_tokens, *module.parameters()])


def _prepare_flex_attention(inputs: Inputs) -> PreparedPeer:
    from torch.nn.attention.flex_attention import flex_attention

    positions, prefix = inputs.region_positions, inputs.num_prefix_tokens
    rows, cols = inputs.grid

    def near(score: Tensor, frame: Tensor, _head: Tensor, patch: Tensor, region: Tensor) -> Tensor:
        row, column = (patch - prefix) // cols, (patch - prefix) % cols
        across = positions[frame, region, 0] - (column + 0.5) / cols
        down = positions[frame, region, 1] - (row + 0.5) / rows
        return score - torch.where(patch >= prefix, torch.sqrt(across * across + down * down), 0.0)

    compiled = torch.compile(flex_attention, dynamic=False)

    def forward() -> Tensor:
        query, key, value = _project(inputs, "f n (h d) -> f h n d")
        attended = compiled(query, key, value, score_mod=near)
        return _project_back(inputs, rearrange(attended, "f h n d -> f n (h d)"))

    return PreparedPeer(forward, inputs.leaves)


def _prepare_xformers(inputs: Inputs) -> PreparedPeer:
    if find_spec("xformers") is None:
        raise PeerUnavailableError("xformers is not installed")
    from xformers.ops import memory_efficient_attention

    def forward() -> Tensor:
        query, key, value = _project(inputs, "f n (h d) -> f n h d")
        regions = key.shape[1]
        bias = F.pad(_proximity(inputs, query.dtype), (0, -regions % 8))  # the kernel wants aligned rows
        bias = bias[:, None].expand(-1, inputs.num_heads, -1, -1)[..., :regions]
        attended = memory_efficient_attention(query, key, value, attn_bias=bias)
        return _project_back(inputs, rearrange(attended, "f n h d -> f n (h d)"))

    return PreparedPeer(forward, inputs.leaves)


def _prepare_stream(implementation: str) -> Callable[[Inputs], PreparedPeer]:
    def prepare(inputs: Inputs) -> PreparedPeer:
        stream = stream_region_attention_lean if implementation == "lean" else stream_region_attention
        if implementation == "triton":
            from facekit.kernels.triton_region_attention import stream_region_attention_triton as stream
        with torch.no_grad():
            absorbed = absorb_projections(inputs.region_tokens, inputs.weights, inputs.num_heads)
        leaves = [inputs.patch_tokens, *(tensor.requires_grad_() for tensor in absorbed)]

        def forward() -> Tensor:
            return stream(
                leaves[0],
                *absorbed,
                inputs.weights.output_bias,
                inputs.region_positions,
                None,
                inputs.num_heads,
                inputs.grid,
                inputs.num_prefix_tokens,
            )

        return PreparedPeer(forward, [*leaves, inputs.weights.output_bias])

    return prepare


PEERS = (
    Peer("textbook", _eager(_textbook), "plain"),
    Peer("multihead_attention", _prepare_multihead_attention, "plain"),
    Peer("sdpa", _eager(_scaled_dot_product), "plain"),
    Peer("compiled_textbook", _compiled(_textbook), "plain", compiled=True),
    Peer("compiled_sdpa", _compiled(_scaled_dot_product), "plain", compiled=True),
    Peer("flex_attention", _prepare_flex_attention, "plain", compiled=True),
    Peer("xformers", _prepare_xformers, "plain", gpu_only=True),
    Peer("facekit_auto", _eager(_facekit, "auto"), "absorbed"),
    Peer("facekit_absorbed", _eager(_facekit, "absorbed"), "absorbed"),
    Peer("facekit_lean", _eager(_facekit, "lean"), "absorbed"),
    Peer("facekit_absorbed_compiled", _compiled(_facekit, "absorbed"), "absorbed", compiled=True),
    Peer("facekit_triton", _eager(_facekit, "triton"), "absorbed", gpu_only=True),
    Peer("facekit_absorbed_stream", _prepare_stream("absorbed"), "stream"),
    Peer("facekit_lean_stream", _prepare_stream("lean"), "stream"),
    Peer("facekit_triton_stream", _prepare_stream("triton"), "stream", gpu_only=True),
)
