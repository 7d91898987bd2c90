"""The pixel-shuffle connector of InternVL: blocks of neighbouring patches become one token before the MLP.

Connectors with landmarks stand on the same rearrangement and projectors: ``ProjectingConnector`` is their base.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from einops import rearrange
from torch import Tensor, nn

from facekit.connectors.base import Connector, count_prefix_tokens
from facekit.connectors.mlp import build_projector, reset_projector
from facekit.errors import ConfigurationError
from facekit.spec import closest_match_hint

DOWNSAMPLING = {"mlp": 1, "pixel-shuffle": 2}


class VisionProjector(NamedTuple):
    """Layers from the encoder's width to the language model's, and the rearrangement that goes before them.

    Attributes:
        layers: from ``downsampling² * C`` to D.
        downsampling: side of the block of patches that becomes one token; 1 leaves patches alone.
    """

    layers: nn.Sequential
    downsampling: int


def shuffled_grid(grid: tuple[int, int], factor: int) -> tuple[int, int]:
    """Rows and columns of tokens after blocks of ``factor * factor`` patches have become one.

    Raises:
        ConfigurationError: the grid is no multiple of the factor.
    """
    rows, columns = grid
    if rows % factor or columns % factor:
        raise ConfigurationError(
            f"pixel shuffle by {factor} needs a grid that is a multiple of {factor}, not {rows} x {columns} patches; "
            "choose another image_size for the encoder, or the connector 'mlp'"
        )
    return rows // factor, columns // factor


def shuffle_patches(patches: Tensor, grid: tuple[int, int], factor: int) -> Tensor:
    """Put the channels of each block of patches side by side, the block's rows first.

    For ``factor = 2`` this is InternVL's pixel shuffle with a downsample ratio of 0.5 (``ps_version`` v2), in value and
    in the order of tokens and channels (Chen et al. 2024, arXiv 2404.16821, section 3.1).

    Args:
        patches: ``(..., rows * columns, C)``, row-major, without prefix tokens.
        grid: rows and columns.
        factor: side of a block.

    Returns:
        ``(..., rows * columns / factor², factor² * C)``, row-major.

    Raises:
        ConfigurationError: the grid is no multiple of the factor.
    """
    if factor == 1:
        return patches
    rows, columns = shuffled_grid(grid, factor)
    return rearrange(
        patches,
        "... (rows r columns c) d -> ... (rows columns) (r c d)",
        rows=rows,
        columns=columns,
        r=factor,
        c=factor,
    )


def build_shuffle_projector(input_width: int, output_width: int, factor: int, depth: int = 2) -> nn.Sequential:
    """LayerNorm over the channels of a block, then linear layers with GELU between them.

    With depth 2 the indices 0, 1 and 3 are those of InternVL's ``mlp1``, and ``layer_norm``, ``linear_1`` and
    ``linear_2`` of its form in transformers.

    Raises:
        ConfigurationError: fewer than one layer, or a width or factor below one.
    """
    if factor < 1:
        raise ConfigurationError(f"pixel shuffle needs a factor of at least 1, got {factor}")
    layers = build_projector(factor**2 * input_width, output_width, depth)
    return nn.Sequential(nn.LayerNorm(factor**2 * input_width), *layers)


def build_vision_projector(name: str, input_width: int, output_width: int, depth: int) -> VisionProjector:
    """Build the projector that a connector with landmarks stands on.

    Args:
        name: ``mlp`` or ``pixel-shuffle``.
        input_width: C.
        output_width: D.
        depth: number of linear layers.

    Raises:
        ConfigurationError: there is no projector of that name, or a depth or width is below one.
    """
    if name not in DOWNSAMPLING:
        raise ConfigurationError(f"there is no vision projector '{name}'{closest_match_hint(name, DOWNSAMPLING)}")
    if name == "mlp":
        return VisionProjector(build_projector(input_width, output_width, depth), DOWNSAMPLING[name])
    factor = DOWNSAMPLING[name]
    return VisionProjector(build_shuffle_projector(input_width, output_width, factor, depth), factor)


def check_prefix_tokens(keep_prefix_tokens: bool, downsampling: int) -> None:
    """Raise ConfigurationError where prefix tokens are kept beside blocks of patches, which are wider than they are."""
    if keep_prefix_tokens and downsampling > 1:
        raise ConfigurationError("prefix tokens cannot go through a pixel shuffle; leave keep_prefix_tokens out")


class ProjectingConnector(Connector):
    """The base of connectors with landmarks: it projects the patches of each frame, or blocks of them.

    A subclass sets ``vision_projector`` and ``keep_prefix_tokens``, and ``downsampling`` where its projector works on
    blocks of patches.
    """

    keep_prefix_tokens: bool
    downsampling: int = 1
    vision_projector: nn.Sequential

    def tokens_per_frame(self, grid: tuple[int, int], num_prefix_tokens: int) -> int:
        """One token per patch, or per block of patches, and the prefix tokens where they are kept.

        Raises:
            ConfigurationError: the grid is no multiple of the blocks.
        """
        rows, columns = shuffled_grid(grid, self.downsampling)
        return rows * columns + (num_prefix_tokens if self.keep_prefix_tokens else 0)

    def project_frames(self, tokens: Tensor, grid: tuple[int, int]) -> tuple[Tensor, int]:
        """Project the kept tokens of every frame by itself.

        Args:
            tokens: ``(B, T, P + N, C)``.
            grid: rows and columns.

        Returns:
            ``(B * T, P + n, D)`` with n patches or blocks, and P, the prefix tokens that are kept.

        Raises:
            ConfigurationError: the tokens do not fit the grid or the width, or the grid does not fit the blocks.
        """
        prefix_tokens = count_prefix_tokens(tokens, grid, self.input_width)
        if not self.keep_prefix_tokens:
            tokens, prefix_tokens = tokens[:, :, prefix_tokens:], 0
        blocks = shuffle_patches(rearrange(tokens, "b t n c -> (b t) n c"), grid, self.downsampling)
        return self.vision_projector(blocks), prefix_tokens


class PixelShuffleConnector(Connector):
    """InternVL's connector: 2 x 2 patches to one token, LayerNorm, linear, GELU, linear; landmarks are ignored.

    ``(B, T, P + N, C)`` drops its prefix tokens, becomes ``(B, T, N / 4, 4 C)``, then ``(B, T * N / 4, D)``: 256 tokens
    for the 32 x 32 patches of InternViT at 448 px (Chen et al. 2024, arXiv 2404.16821, section 3.1).

    Args:
        input_width: C.
        output_width: D; the hidden layer has it too.
        factor: side of the block of patches that becomes one token; the inverse of InternVL's ``downsample_ratio``.

    Raises:
        ConfigurationError: factor or a width below one.
    """

    options: ClassVar = {"factor": int}

    def __init__(self, input_width: int, output_width: int, factor: int = 2) -> None:
        super().__init__()
        self.input_width = input_width
        self.output_width = output_width
        self.factor = factor
        self.layers = build_shuffle_projector(input_width, output_width, factor)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        reset_projector(self.layers)

    def tokens_per_frame(self, grid: tuple[int, int], num_prefix_tokens: int) -> int:
        """One token per block of patches.

        Raises:
            ConfigurationError: the grid is no multiple of the factor.
        """
        rows, columns = shuffled_grid(grid, self.factor)
        return rows * columns

    def forward(self, tokens: Tensor, grid: tuple[int, int], landmarks: Tensor | None = None) -> Tensor:
        """Shuffle the patches of every frame and project each block by itself.

        Args:
            tokens: ``(B, T, P + N, C)``.
            grid: rows and columns.
            landmarks: ignored.

        Returns:
            ``(B, T * n, D)`` with ``n = tokens_per_frame``.

        Raises:
            ConfigurationError: the tokens do not fit the grid or the width, or the grid does not fit the factor.
        """
        prefix_tokens = count_prefix_tokens(tokens, grid, self.input_width)
        blocks = shuffle_patches(tokens[:, :, prefix_tokens:], grid, self.factor)  # (B, T, n, factor² * C)
        return rearrange(self.layers(blocks), "b t n d -> b (t n) d")
