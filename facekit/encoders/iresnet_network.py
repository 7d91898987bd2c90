"""The IResNet of face recognition, with insightface's parameter names and a mapping from AdaFace's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from einops import rearrange
from torch import Tensor, nn

from facekit.errors import CheckpointError, ConfigurationError

STAGE_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
RELEASED_WIDTH = 64
STRIDE = 16
ALIGNED_SIZE = 112
_BLOCK_NAME = re.compile(r"layer([1-4])\.(\d+)\.")
_BODY_NAME = re.compile(r"body\.(\d+)\.(.+)")
_ADAFACE_BLOCK = {
    "res_layer.0": "bn1",
    "res_layer.1": "conv1",
    "res_layer.2": "bn2",
    "res_layer.3": "prelu",
    "res_layer.4": "conv2",
    "res_layer.5": "bn3",
    "shortcut_layer.0": "downsample.0",
    "shortcut_layer.1": "downsample.1",
}
_ADAFACE_ENDS = {
    "input_layer.0": "conv1",
    "input_layer.1": "bn1",
    "input_layer.2": "prelu",
    "output_layer.0": "bn2",
    "output_layer.3": "fc",
    "output_layer.4": "features",
}


@dataclass(frozen=True)
class IResNetSettings:
    """The architecture of an IResNet (Duta et al. 2020; Deng et al. 2019, section 3.1).

    Args:
        depth: 18, 34, 50 or 100, which decides the blocks of the four stages.
        width: Channels of the first stage, which double with each stage; 64 in all released weights.
        adaface: Whether the details are AdaFace's: the first block of a stage that keeps its width has every second
            pixel as shortcut instead of a convolution, and the last norm has no scale and shift.

    Raises:
        ConfigurationError: The depth is another one, or the width is not positive.
    """

    depth: int = 50
    width: int = RELEASED_WIDTH
    adaface: bool = False

    def __post_init__(self) -> None:
        if self.depth not in STAGE_BLOCKS:
            raise ConfigurationError(f"IResNet has depths {', '.join(map(str, STAGE_BLOCKS))}, not {self.depth}")
        if self.width < 1:
            raise ConfigurationError(f"IResNet's width must be positive, not {self.width}")

    @property
    def stage_widths(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return tuple(self.width * 2**stage for stage in range(4))


class IResNet(nn.Module):
    """Stem and stages of an IResNet; after the last stage its norm, and the identity embedding where it is wanted.

    Args:
        settings: The architecture.
        num_stages: How many stages to build, 1 to 4; the norm ``bn2`` comes with the fourth.
        identity: Whether to build the embedding, ``fc`` and ``features``, for frames of 112 pixels.

    Raises:
        ConfigurationError: An embedding is wanted of fewer than four stages.
    """

    def __init__(self, settings: IResNetSettings, num_stages: int = 4, *, identity: bool = False) -> None:
        super().__init__()
        if identity and num_stages < 4:
            raise ConfigurationError("IResNet's identity embedding is made from the last stage; choose layer=-1")
        widths = settings.stage_widths
        self.num_stages, self.identity = num_stages, identity
        self.conv1 = nn.Conv2d(3, settings.width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(settings.width)
        self.prelu = nn.PReLU(settings.width)
        incoming = settings.width
        for stage, blocks in enumerate(STAGE_BLOCKS[settings.depth][:num_stages]):
            subsample = settings.adaface and incoming == widths[stage]
            first = Block(incoming, widths[stage], stride=2, convolve_shortcut=not subsample)
            rest = [Block(widths[stage], widths[stage]) for _ in range(blocks - 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, *rest))
            incoming = widths[stage]
        if num_stages == 4:
            self.bn2 = nn.BatchNorm2d(incoming)
        if identity:
            side = ALIGNED_SIZE // STRIDE
            self.fc = nn.Linear(incoming * side * side, incoming)
            self.features = nn.BatchNorm1d(incoming, affine=not settings.adaface)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the convolutions, and scale residual branches down so that untrained features stay finite."""
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        for block in blocks:
            nn.init.constant_(block.bn3.weight, len(blocks) ** -0.5)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """Turn ``(F, 3, H, W)`` into the last stage's features ``(F, C, H / s, W / s)`` and the embedding ``(F, C)``.

        s is 2 to the number of stages. The embedding is None where it is not built; it is not scaled to length one.
        """
        features = self.prelu(self.bn1(self.conv1(frames)))
        for stage in range(1, self.num_stages + 1):
            features = self.get_submodule(f"layer{stage}")(features)
        if self.num_stages == 4:
            features = self.bn2(features)
        if not self.identity:
            return features, None
        return features, self.features(self.fc(rearrange(features, "f c rows cols -> f (c rows cols)")))


class Block(nn.Module):
    """Norm, convolution, norm, PReLU, convolution, norm, and a shortcut.

    Args:
        incoming: Channels before.
        outgoing: Channels after.
        stride: Of the second convolution and the shortcut.
        convolve_shortcut: With a stride, whether the shortcut is a convolution with a norm, or every second pixel.
    """

    def __init__(self, incoming: int, outgoing: int, stride: int = 1, *, convolve_shortcut: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.bn1 = nn.BatchNorm2d(incoming)
        self.conv1 = nn.Conv2d(incoming, outgoing, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outgoing)
        self.prelu = nn.PReLU(outgoing)
        self.conv2 = nn.Conv2d(outgoing, outgoing, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outgoing)
        self.downsample: nn.Module | None = None
        if stride > 1 and convolve_shortcut:
            convolution = nn.Conv2d(incoming, outgoing, 1, stride, bias=False)
            self.downsample = nn.Sequential(convolution, nn.BatchNorm2d(outgoing))

    def forward(self, features: Tensor) -> Tensor:
        """Turn ``(F, C, H, W)`` into ``(F, C', H / stride, W / stride)``."""
        branch = self.prelu(self.bn2(self.conv1(self.bn1(features))))
        branch = self.bn3(self.conv2(branch))
        if self.downsample is not None:
            return branch + self.downsample(features)
        return branch + features[..., :: self.stride, :: self.stride]


def insightface_names(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Give weights insightface's names.

    AdaFace's checkpoints say ``model.input_layer``, ``model.body`` and ``model.output_layer``; their margin head
    (``head``), which only training needs, is left out. A name that neither has stays, for strict loading to report.

    Returns:
        The weights, and whether they are AdaFace's.
    """
    bare = {name.removeprefix("model."): value for name, value in weights.items()}
    if not any(name.startswith("input_layer.") for name in bare):
        return bare, False
    numbers = [int(match[1]) for name in bare if (match := _BODY_NAME.match(name))]
    starts = _stage_starts(max(numbers, default=-1) + 1)
    renamed = {_insightface_name(name, starts): value for name, value in bare.items() if not name.startswith("head.")}
    return renamed, True


def depth_of(weights: Mapping[str, Tensor], source: str) -> int:
    """Infer the depth from the names of insightface's state dict.

    Raises:
        CheckpointError: The blocks are not those of a known depth.
    """
    found = {(int(match[1]), int(match[2])) for name in weights if (match := _BLOCK_NAME.match(name))}
    counts = tuple(sum(stage == wanted for stage, _ in found) for wanted in range(1, 5))
    for depth, blocks in STAGE_BLOCKS.items():
        if blocks == counts:
            return depth
    some = ", ".join(f"'{name}'" for name in sorted(weights)[:3])
    raise CheckpointError(
        f"the weights of {source} are no IResNet of depth {', '.join(map(str, STAGE_BLOCKS))}: their four stages have "
        f"{counts} blocks, and their names are such as {some}"
    )


def _stage_starts(num_blocks: int) -> Sequence[int]:
    blocks = next((counts for counts in STAGE_BLOCKS.values() if sum(counts) == num_blocks), (num_blocks,))
    return [sum(blocks[:stage]) for stage in range(len(blocks))]


def _insightface_name(name: str, starts: Sequence[int]) -> str:
    stem, _, last = name.rpartition(".")
    if stem in _ADAFACE_ENDS:
        return f"{_ADAFACE_ENDS[stem]}.{last}"
    match = _BODY_NAME.match(stem)
    if match is None or match[2] not in _ADAFACE_BLOCK:
        return name
    number = int(match[1])
    stage = max(index for index, start in enumerate(starts) if start <= number)
    return f"layer{stage + 1}.{number - starts[stage]}.{_ADAFACE_BLOCK[match[2]]}.{last}"
