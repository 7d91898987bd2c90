"""Bring your own vision encoder: a class of your own, registered by name, trained in a model with region attention.

    python examples/bring_your_encoder.py faces/records.jsonl runs/resnet --backbone hf:Qwen/Qwen2.5-0.5B-Instruct \
        --encoder "resnet:resnet50?weights=DEFAULT&image_size=224"
    python examples/bring_your_encoder.py runs/demo/data/train/records.jsonl runs/resnet

The first downloads weights and wants a GPU; the second trains tiny parts on two CPU cores. A registered part mixes with
all others; as a package with an entry point it is known to the command line, too (docs/bring-your-own.md).
"""

import argparse
from pathlib import Path
from typing import Any, Self

import torchvision
from einops import rearrange
from torch import Tensor, nn

import facekit
from facekit.data import RecordSet
from facekit.encoders import ImageTransform, VisionEncoder
from facekit.reports import ProgressDisplay
from facekit.spec import PositiveInt
from facekit.training import TrainingSettings, train

STRIDE = 16


@facekit.register_part("encoder", "resnet", summary="a ResNet's third stage", licence="BSD-3", source="this example")
class ResNetEncoder(VisionEncoder):
    """The feature map of a ResNet of torchvision, cell by cell: patches of 16 x 16 pixels."""

    def __init__(self, network: str, image_size: int, weights: str | None = None) -> None:
        super().__init__()
        resnet = torchvision.models.get_model(network, weights=weights)
        stem = (resnet.conv1, resnet.bn1, resnet.relu, resnet.maxpool)
        self.layers = nn.Sequential(*stem, resnet.layer1, resnet.layer2, resnet.layer3)
        self.network, self.image_size = network, image_size
        self.hidden_size = resnet.layer4[0].conv1.in_channels
        self.grid = (image_size // STRIDE, image_size // STRIDE)
        self.num_prefix_tokens = 0
        self.transform = ImageTransform(image_size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Frames (F, 3, H, W) to tokens (F, N, C), row by row."""
        return rearrange(self.layers(frames), "f c rows cols -> f (rows cols) c")

    @classmethod
    def from_spec(
        cls, argument: str | None = None, *, image_size: PositiveInt = 96, weights: str | None = None
    ) -> Self:
        """What stands behind the colon of a spec, and its options."""
        return cls(argument or "resnet18", image_size, weights)

    def to_config(self) -> dict[str, Any]:
        """What rebuilds the architecture; a checkpoint has the weights."""
        return {"network": self.network, "image_size": self.image_size}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """The architecture, without its weights."""
        return cls(**config)


def main() -> None:
    """Compose, train, save, load, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--encoder", default="resnet:resnet18")
    parser.add_argument("--backbone", default="tiny")
    parser.add_argument("--epochs", type=int, default=1)
    arguments = parser.parse_args()

    model, processor = facekit.create(
        encoder=arguments.encoder, connector="region", backbone=arguments.backbone, seed=0
    )
    print(f"{model.encoder.num_patches} patches of width {model.encoder.hidden_size}, {model.tokens_per_frame} tokens")
    settings = TrainingSettings(epochs=arguments.epochs, batch_size=8, learning_rate=2e-3, independent_turns=True)
    with ProgressDisplay() as progress:
        losses = train(
            model, processor, arguments.records, arguments.output, settings, on_progress=progress
        ).history.losses
    print(f"loss {losses[0]:.3f} to {losses[-1]:.3f}")

    model, processor = facekit.load(arguments.output)  # wherever the class above has been registered
    record = RecordSet.read(arguments.records).records[0]
    face = record.media_paths(arguments.records.parent)[0]
    print(facekit.ask(model, processor, face, "Which expression is shown?", landmarks=record.landmarks)[0])


if __name__ == "__main__":
    main()
