"""Pictures and clips of vLLM's requests, whose ``mm_processor_kwargs`` are the options of ``prepare_media``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from facekit.compat.vllm.processing import MediaInfo, MediaProcessor
from facekit.models import FaceKitConfig, FaceKitProcessor
from facekit.models.chat import VIDEO_MARK
from facekit.models.sessions import MediumTensors
from facekit.serving.vllm.media import LANDMARKS, blank_landmarks, prepare_media, read_landmarks

MARKS = {"image": "<image>", "video": VIDEO_MARK}
"""What stands for media in the prompts of vLLM's chats, whatever the image token of the checkpoint is."""


class FaceKitMediaInfo(MediaInfo):
    """What vLLM asks about a checkpoint's pictures and clips."""

    marks = MARKS
    prepared = MediumTensors

    def get_hf_config(self) -> FaceKitConfig:
        """The checkpoint's configuration."""
        config: FaceKitConfig = self.ctx.get_hf_config(FaceKitConfig)
        return config

    def get_hf_processor(self, **kwargs: Any) -> FaceKitProcessor:
        """The checkpoint's processor; options of a request are none of its own."""
        processor: FaceKitProcessor = self.ctx.get_hf_processor(FaceKitProcessor)
        return processor

    def count_tokens(self, frames: int) -> int:
        """Visual tokens of a picture or a clip."""
        return self.get_hf_processor().count_visual_tokens(frames)

    @property
    def frames_per_clip(self) -> int:
        """Frames that the checkpoint chooses of a clip."""
        frames: int = self.get_hf_processor().image_processor.num_frames
        return frames


class FaceKitMediaProcessor(MediaProcessor):
    """Finds faces, and tells apart what was asked with other landmarks."""

    per_item = LANDMARKS

    def prepare(self, modality: Any, media: Sequence[Any], options: Mapping[str, Any]) -> Mapping[str, list[Any]]:
        """Find faces and return tensors, see ``prepare_media``."""
        return prepare_media(self.info.get_hf_processor().image_processor, modality, media, options)

    def count_frames(self, fields: Mapping[str, Any]) -> int:
        """Frames of what was prepared."""
        return len(fields["pixel_values"])

    def digest(self, modality: Any, entry: Any) -> bytes:
        """The bytes of landmarks."""
        points = read_landmarks(modality, entry)
        return b"" if points is None else points.tobytes()

    def dummy_entry(self, modality: Any) -> Any:
        """Landmarks of a blank picture or clip."""
        return blank_landmarks(modality, self.info.frames_per_clip)
