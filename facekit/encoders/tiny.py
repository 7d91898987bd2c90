"""A small vision transformer with a convolutional stem, for runs on two CPU cores.

Faces of 96 pixels become a 6 x 6 grid. The stem is convolutional because fine texture, which tells age and
manipulation, is out of reach of a linear patch embedding of this size. Weights made from drawn faces by
``scripts/pretrain_tiny_encoder.py`` are part of the package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from facekit.encoders.base import VisionEncoder
from facekit.encoders.checkpoints import load_strictly, read_metadata, read_weights
from facekit.encoders.transform import ImageTransform
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError
from facekit.spec import PositiveInt

PATCH_SIZE = 16
HEAD_WIDTH = 32
_SIZES = ("image_size", "width", "depth")
SHIPPED_WEIGHTS = {"synthetic-faces": Path(__file__).with_name("tiny_synthetic_faces.safetensors")}


class TinyEncoder(VisionEncoder):
    """Convolutional stem of stride 16, class token, pre-norm transformer blocks, final norm.

    The design follows ViT (Dosovitskiy et al. 2021) with the early convolutions of Xiao et al. 2021, "Early
    Convolutions Help Transformers See Better".

    Args:
        image_size: Height and width in pixels, a multiple of 16; the default gives 36 patches.
        width: Token width C, a multiple of 32.
        depth: Number of transformer blocks.

    Raises:
        ConfigurationError: A size is not a positive multiple as stated.
    """

    num_prefix_tokens = 1

    def __init__(self, image_size: int = 96, width: int = 192, depth: int = 3) -> None:
        super().__init__()
        for name, value, unit in (("image_size", image_size, PATCH_SIZE), ("width", width, HEAD_WIDTH)):
            if value < 1 or value % unit:
                raise ConfigurationError(f"the tiny encoder takes a {name} that is a multiple of {unit}, not {value}")
        if depth < 1:
            raise ConfigurationError(f"the tiny encoder takes a depth of at least 1, not {depth}")
        self.hidden_size = width
        self.depth = depth
        self.image_size = image_size
        self.grid = (image_size // PATCH_SIZE, image_size // PATCH_SIZE)
        self.transform = ImageTransform(image_size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic")
        self.stem = ConvolutionalStem(width)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, self.num_patches, width))
        self.blocks = nn.ModuleList(TransformerBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the class token; set the position embeddings, which are learned, to two-dimensional sines."""
        nn.init.normal_(self.class_token, std=0.02)
        with torch.no_grad():
            self.positions.copy_(sine_positions(*self.grid, self.hidden_size))

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode frames ``(F, 3, H, W)`` to ``(F, 1 + N, C)``: class token, then patches row by row."""
        patches = self.stem(frames.to(self.class_token.dtype))
        patches = rearrange(patches, "f c rows cols -> f (rows cols) c") + self.positions
        tokens = torch.cat([self.class_token.to(patches.dtype).expand(frames.shape[0], -1, -1), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        image_size: PositiveInt | None = None,
        width: PositiveInt | None = None,
        depth: PositiveInt | None = None,
        pretrained: str | None = None,
    ) -> Self:
        """Build ``tiny[?image_size=96&width=192&depth=3&pretrained=synthetic-faces]``.

        ``pretrained`` names the weights in the package, or a file that ``scripts/pretrain_tiny_encoder.py`` wrote; the
        sizes then come from the file, and sizes that are given as well must agree with it.

        Raises:
            InvalidSpecError: There is an argument.
            CheckpointError: The weights are missing or of other sizes.
        """
        if argument is not None:
            raise InvalidSpecError(f"encoder 'tiny' takes options but no argument, not '{argument}'")
        chosen = {"image_size": image_size, "width": width, "depth": depth}
        sizes = {name: value for name, value in chosen.items() if value is not None}
        if pretrained is None:
            return cls(**sizes)
        path = SHIPPED_WEIGHTS.get(pretrained, Path(pretrained))
        if not path.is_file():
            raise CheckpointError(
                f"encoder 'tiny' found no weights '{pretrained}': it is no file, and no shipped weights "
                f"({', '.join(SHIPPED_WEIGHTS)})"
            )
        stored = {name: value for name, value in read_metadata(path).items() if name in _SIZES}
        for name, value in sizes.items():
            if stored.get(name, value) != value:
                raise CheckpointError(f"the weights '{pretrained}' have {name}={stored[name]}, not {value}")
        encoder = cls(**{**sizes, **stored})
        load_strictly(encoder, read_weights(path), str(path))
        return encoder

    def to_config(self) -> dict[str, Any]:
        """Return ``image_size``, ``width`` and ``depth``."""
        return {"image_size": self.image_size, "width": self.hidden_size, "depth": self.depth}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the architecture with untrained weights."""
        return cls(**config)


class ConvolutionalStem(nn.Module):
    """Four 3 x 3 convolutions of stride 2, with residual pairs between them while texture is still fine.

    Args:
        width: Channels of the result.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second, third = 32, 48, 96
        self.layers = nn.Sequential(
            _convolution(3, first, stride=2),
            _convolution(first, second, stride=2),
            ResidualConvolutions(second),
            _convolution(second, third, stride=2),
            ResidualConvolutions(third),
            nn.Conv2d(third, width, 3, stride=2, padding=1),
        )

    def forward(self, frames: Tensor) -> Tensor:
        """Turn ``(F, 3, H, W)`` into ``(F, C, H / 16, W / 16)``."""
        return self.layers(frames)


class ResidualConvolutions(nn.Module):
    """Two 3 x 3 convolutions added to their input before the activation (He et al. 2016).

    Args:
        channels: Channels of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(_convolution(channels, channels), *_convolution(channels, channels)[:2])

    def forward(self, features: Tensor) -> Tensor:
        """Keep the shape ``(F, channels, H, W)``."""
        return F.gelu(features + self.layers(features))


class TransformerBlock(nn.Module):
    """Self-attention and a GELU perceptron, each after a LayerNorm and added to its input.

    Args:
        width: Token width C, a multiple of 32; heads are 32 wide.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_heads = width // HEAD_WIDTH
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Keep the shape ``(F, 1 + N, C)``."""
        projected = self.queries_keys_values(self.attention_norm(tokens))
        queries, keys, values = rearrange(projected, "f n (three h d) -> three f h n d", three=3, h=self.num_heads)
        attended = F.scaled_dot_product_attention(queries, keys, values)
        tokens = tokens + self.attention_output(rearrange(attended, "f h n d -> f n (h d)"))
        return tokens + self.perceptron(self.perceptron_norm(tokens))


def sine_positions(rows: int, columns: int, width: int) -> Tensor:
    """Return ``(1, rows * columns, width)``: sines and cosines of the column, then of the row, a quarter of C each."""
    frequencies = 100.0 ** (-torch.arange(width // 4) / (width // 4))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [coordinate.flatten()[:, None] * frequencies for coordinate in (column, row)]
    waves = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
    return torch.cat(waves, dim=1)[None]


def _convolution(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, stride, padding=1, bias=False),
        nn.GroupNorm(channels_out // 16, channels_out),
        nn.GELU(),
    )
