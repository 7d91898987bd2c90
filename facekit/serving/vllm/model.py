"""``FaceKitForVllm``: facekit's encoder and connector in front of a language model of vLLM's."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from vllm.multimodal import MULTIMODAL_REGISTRY

from facekit.compat.vllm.model import ComposedModel
from facekit.compat.vllm.processing import DummyMedia
from facekit.models import FaceKitConfig, FaceKitVisionModel
from facekit.models.image_processing import stack_media
from facekit.serving.vllm.processing import MARKS, FaceKitMediaInfo, FaceKitMediaProcessor


@MULTIMODAL_REGISTRY.register_processor(FaceKitMediaProcessor, info=FaceKitMediaInfo, dummy_inputs=DummyMedia)
class FaceKitForVllm(ComposedModel):
    """A checkpoint of facekit's, in vLLM."""

    vision: Any

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """What a chat's picture or clip becomes in its prompt."""
        return MARKS.get(modality)

    def build_vision(self, config: FaceKitConfig) -> nn.Module:
        """Build the encoders and the connector."""
        return FaceKitVisionModel(config)

    def encode(self, fields: dict[str, list[Tensor]]) -> list[Tensor]:
        """Encode pictures or clips, each as if it were alone."""
        frames = [len(pixels) for pixels in fields["pixel_values"]]
        features = self.vision.get_image_features(**stack_media(fields["pixel_values"], fields["landmarks"]))
        counts = [self.vision.count_visual_tokens(each) for each in frames]
        return [row[:count] for row, count in zip(features, counts, strict=True)]
