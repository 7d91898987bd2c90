"""ArcFace and AdaFace as encoders: patches of an aligned face and, on request, its identity embedding.

The network itself and the names of the two checkpoint kinds are in ``iresnet_network``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor

from facekit.encoders.base import VisionEncoder
from facekit.encoders.checkpoints import load_strictly, read_weights
from facekit.encoders.iresnet_network import ALIGNED_SIZE, IResNet, IResNetSettings, depth_of, insightface_names
from facekit.encoders.layers import resolve_layer
from facekit.encoders.transform import ImageTransform
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.spec import PositiveInt

NUM_STAGES = 4


class IResNetEncoder(VisionEncoder):
    """A stage of an IResNet trained for face recognition: at 112 pixels, 7 x 7 patches of width 512 from the last.

    The networks were trained on faces aligned to ArcFace's five-point template at 112 pixels; other crops work less
    well. The features of the last stage are taken after its norm, as the network's own embedding reads them. Batch
    norms keep their stored statistics in training.

    **The embedding identifies people.** With ``identity=True`` the 512 numbers by which recognition systems tell one
    person from another are given out as a prefix token, and so reach the language model. It is off by default; turn it
    on only where the people pictured have agreed, and the law allows, that they are recognised. Weights of stages
    alone are not anonymous either: they were trained to tell people apart.

    Args:
        settings: The architecture.
        layer: A stage: 1 is the first, -1 the last.
        identity: Whether the identity embedding is a prefix token; it needs the last stage and frames of 112 pixels.
        image_size: Height and width of the frames, a multiple of the stage's stride (16 for the last).

    Raises:
        InvalidSpecError: There is no such stage.
        ConfigurationError: The size does not fit the stride, or the embedding cannot be made.
    """

    def __init__(
        self,
        settings: IResNetSettings,
        *,
        layer: int = -1,
        identity: bool = False,
        image_size: int = ALIGNED_SIZE,
    ) -> None:
        super().__init__()
        stages = resolve_layer("iresnet", layer, NUM_STAGES) + 1
        stride = 2**stages
        if image_size % stride:
            raise ConfigurationError(
                f"encoder 'iresnet' takes an image_size that is a multiple of {stride} for layer={layer}, "
                f"not {image_size}"
            )
        if identity and image_size != ALIGNED_SIZE:
            raise ConfigurationError(
                f"the identity embedding of encoder 'iresnet' is made from {ALIGNED_SIZE} pixels, not {image_size}; "
                "leave identity or image_size out"
            )
        self.settings, self.layer, self.identity = settings, layer, identity
        self.image_size = image_size
        self.grid = (image_size // stride, image_size // stride)
        self.hidden_size = settings.stage_widths[stages - 1]
        self.num_prefix_tokens = int(identity)
        self.transform = ImageTransform(image_size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
        self.network = IResNet(settings, stages, identity=identity)
        self.train(self.training)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Encode frames ``(F, 3, H, W)``, red first, to ``(F, P + N, C)``; P is 1 with the identity embedding, else 0.

        AdaFace was trained with blue first, so its network gets the channels turned round.
        """
        frames = frames.to(self.network.conv1.weight.dtype)
        if self.settings.adaface:
            frames = frames.flip(1)
        features, embedding = self.network(frames)
        patches = rearrange(features, "f c rows cols -> f (rows cols) c")
        return patches if embedding is None else torch.cat([embedding.unsqueeze(1), patches], dim=1)

    @classmethod
    def from_spec(
        cls,
        argument: str | None = None,
        *,
        layer: int = -1,
        identity: bool = False,
        image_size: PositiveInt = ALIGNED_SIZE,
        depth: PositiveInt | None = None,
        width: PositiveInt | None = None,
    ) -> Self:
        """Build ``iresnet[:PATH][?layer=-1&identity=false&image_size=112&depth=50&width=64]``.

        PATH is a state dict of insightface's ``arcface_torch`` or a checkpoint of AdaFace (IR-50, IR-101), told apart
        by their names; the depth is read from it. A training checkpoint that pickles more than tensors and plain values
        is refused: save its state dict alone. Without PATH the weights are random, and ``depth`` (18, 34, 50, 100) and
        ``width`` choose the network.

        Raises:
            InvalidSpecError: An option does not go with a path, or there is no such stage.
            CheckpointError: The weights are missing, of another network, or hold pickled code.
            ConfigurationError: Sizes do not fit each other.
        """
        sizes: dict[str, Any] = {name: size for name, size in (("depth", depth), ("width", width)) if size is not None}
        if argument is None:
            return cls(IResNetSettings(**sizes), layer=layer, identity=identity, image_size=image_size)
        if sizes:
            raise InvalidSpecError(f"encoder 'iresnet' reads {' and '.join(sizes)} from the weights; leave it out")
        weights, adaface = insightface_names(read_weights(argument))
        width = len(weights["conv1.weight"]) if "conv1.weight" in weights else IResNetSettings.width
        settings = IResNetSettings(depth_of(weights, argument), width, adaface)
        encoder = cls(settings, layer=layer, identity=identity, image_size=image_size)
        encoder.load_network(weights, argument)
        return encoder

    def load_network(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Load a whole network under insightface's names; later stages and an unused embedding are left out.

        Raises:
            CheckpointError: Weights are missing, left over or of another shape; the message names some.
        """
        stages = self.network.num_stages
        unused = tuple(f"layer{stage}." for stage in range(stages + 1, NUM_STAGES + 1))
        unused += ("bn2.",) if stages < NUM_STAGES else ()
        unused += () if self.identity else ("fc.", "features.")
        load_strictly(self.network, {name: weights[name] for name in weights if not name.startswith(unused)}, source)

    def to_config(self) -> dict[str, Any]:
        """Return the architecture, the stage, whether the embedding is given out, and the size."""
        return {
            "settings": asdict(self.settings),
            "layer": self.layer,
            "identity": self.identity,
            "image_size": self.image_size,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build the architecture with untrained weights."""
        return cls(IResNetSettings(**config["settings"]), **{k: v for k, v in config.items() if k != "settings"})
