"""The resampler: a fixed number of learned queries per frame, which read the patches by cross-attention.

Its cost does not depend on the encoder's grid, so it is the connector for fine grids and long clips.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from facekit.connectors.base import Connector, count_prefix_tokens
from facekit.errors import ConfigurationError
from facekit.faces import patch_centers

HIGHEST_FREQUENCY = 32.0  # half-turns per image; a grid of 32 patches a side is resolved patch by patch


def position_features(grid: tuple[int, int], width: int, like: Tensor) -> Tensor:
    """Sines and cosines of every patch's position, in bands from one half-turn per image upwards.

    The Fourier features of the Perceiver (Jaegle et al. 2021, arXiv 2103.03206, section 3.2), with bands spaced
    geometrically. They have no parameters, so any grid can be read.

    Args:
        grid: rows and columns.
        width: W; what is left over after a multiple of four is zero.
        like: a tensor with the device and type to use.

    Returns:
        ``(N, W)``, row-major.
    """
    centers = patch_centers(*grid, device=like.device, dtype=torch.float32)  # (N, 2)
    bands = torch.logspace(0, math.log10(HIGHEST_FREQUENCY), width // 4, device=like.device)
    angles = rearrange(math.pi * centers[:, :, None] * bands, "n xy k -> n (xy k)")
    features = torch.cat([angles.sin(), angles.cos()], dim=-1)
    return F.pad(features, (0, width - features.shape[-1])).to(like.dtype)


class ResamplerLayer(nn.Module):
    """Queries attend to the tokens and to each other, then pass an MLP; both before normalisation, with residuals.

    The layer of Flamingo's Perceiver resampler (Alayrac et al. 2022, arXiv 2204.14198, appendix A.1.1).

    Args:
        width: W.
        num_heads: H; divides W.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_norm = nn.LayerNorm(width)
        self.token_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Update ``queries`` ``(F, R, W)`` by ``tokens`` ``(F, S, W)``; returns ``(F, R, W)``."""
        asked = self.query_norm(queries)
        seen = torch.cat([self.token_norm(tokens), asked], dim=1)  # (F, S + R, W)
        heads = (
            rearrange(projection, "f n (h d) -> f h n d", h=self.num_heads)
            for projection in (self.query(asked), self.key(seen), self.value(seen))
        )
        attended = rearrange(F.scaled_dot_product_attention(*heads), "f h n d -> f n (h d)")
        queries = queries + self.output(attended)
        return queries + self.mlp(queries)


class ResamplerConnector(Connector):
    """Perceiver resampler: ``num_tokens`` learned queries read each frame; landmarks are ignored.

    ``(B, T, P + N, C)`` to ``(B, T * R, D)``, R whatever the grid. After Flamingo (Alayrac et al. 2022,
    arXiv 2204.14198, section 3.1.1), frame by frame and with the patches' positions added, since not every encoder's
    tokens carry them.

    Args:
        input_width: C.
        output_width: D.
        num_tokens: R, visual tokens per frame.
        depth: number of layers.
        num_heads: H; divides W.
        width: W of queries and layers; by default C.
        keep_prefix_tokens: whether the queries see class and register tokens too; the cost stays R.

    Raises:
        ConfigurationError: a number below one, or W not a multiple of ``num_heads``.
    """

    options: ClassVar = {
        "num_tokens": int,
        "depth": int,
        "num_heads": int,
        "width": int,
        "keep_prefix_tokens": bool,
    }

    def __init__(
        self,
        input_width: int,
        output_width: int,
        num_tokens: int = 64,
        depth: int = 2,
        num_heads: int = 8,
        width: int | None = None,
        keep_prefix_tokens: bool = False,
    ) -> None:
        super().__init__()
        width = input_width if width is None else width
        numbers = {
            "input_width": input_width, "output_width": output_width, "num_tokens": num_tokens, "depth": depth,
            "num_heads": num_heads, "width": width,
        }  # fmt: skip
        for name, number in numbers.items():
            if number < 1:
                raise ConfigurationError(f"a resampler needs {name} of at least 1, not {number}")
        if width % num_heads:
            raise ConfigurationError(
                f"resampler width {width} is not a multiple of num_heads={num_heads}; choose another width or num_heads"
            )
        self.input_width = input_width
        self.output_width = output_width
        self.num_tokens = num_tokens
        self.depth = depth
        self.num_heads = num_heads
        self.width = width
        self.keep_prefix_tokens = keep_prefix_tokens
        self.input_layer = nn.Linear(input_width, width)
        self.queries = nn.Parameter(torch.empty(num_tokens, width))
        self.layers = nn.ModuleList(ResamplerLayer(width, num_heads) for _ in range(depth))
        self.output_norm = nn.LayerNorm(width)
        self.output_layer = nn.Linear(width, output_width)
        nn.init.normal_(self.queries)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        nn.init.normal_(self.queries)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.LayerNorm):
                layer.reset_parameters()

    def tokens_per_frame(self, grid: tuple[int, int], num_prefix_tokens: int) -> int:
        """R, whatever the grid."""
        return self.num_tokens

    def forward(self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor | None = None) -> Tensor:
        """Read every frame by itself.

        Args:
            tokens: ``(B, T, P + N, C)``.
            grid: rows and columns.
            landmarks: ignored.

        Returns:
            ``(B, T * R, D)``.

        Raises:
            ConfigurationError: the tokens do not fit the grid or the width.
        """
        prefix_tokens = count_prefix_tokens(tokens, grid, self.input_width)
        batch, frames = tokens.shape[:2]
        frame_tokens = self.input_layer(rearrange(tokens, "b t n c -> (b t) n c"))  # (B*T, P + N, W)
        patches = frame_tokens[:, prefix_tokens:] + position_features(grid, self.width, frame_tokens)
        prefix = frame_tokens[:, :prefix_tokens] if self.keep_prefix_tokens else frame_tokens[:, :0]
        seen = torch.cat([prefix, patches], dim=1)
        queries = self.queries.expand(batch * frames, -1, -1)
        for layer in self.layers:
            queries = layer(queries, seen)
        projected = self.output_layer(self.output_norm(queries))  # (B*T, R, D)
        return rearrange(projected, "(b t) r d -> b (t r) d", b=batch, t=frames)
