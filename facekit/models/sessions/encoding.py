"""Encoding media to visual tokens: each medium once, batched by length."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.visual_tokens import map_by_length


@dataclass(frozen=True, eq=False)
class MediumTensors:
    """A picture or clip before the encoder.

    Args:
        pixel_values: ``(T, 3, H, W)``; T is 1 for a picture.
        landmarks: ``(T, 68, 2)``, x then y in [0, 1] of these pixels; NaN rows are absent.
        is_clip: Whether prompts speak of a clip.
    """

    pixel_values: Tensor
    landmarks: Tensor
    is_clip: bool = False

    def digest(self) -> bytes:
        """Return 16 bytes by which media are told apart: those of the pixels, the landmarks and ``is_clip``."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((tuple(self.pixel_values.shape), self.is_clip)).encode())
        for tensor in (self.pixel_values, self.landmarks):
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.digest()


@dataclass(frozen=True, eq=False)
class EncodedMedia:
    """The pictures and clips that a question is about, encoded and projected.

    Args:
        features: ``(n, D)`` of each, with n its visual tokens.
        frames: Frames of each.
        is_clip: Of each, whether prompts speak of a clip.
    """

    features: tuple[Tensor, ...]
    frames: tuple[int, ...]
    is_clip: tuple[bool, ...]


def encode_media(
    model: FaceKitForConditionalGeneration, subjects: Sequence[Sequence[MediumTensors]]
) -> list[EncodedMedia]:
    """Encode the media of several subjects; those with the same number of frames go through the encoder together.

    Args:
        model: The model.
        subjects: Pictures and clips of each subject, in the order in which prompts show them.
    """
    media = [medium for subject in subjects for medium in subject]

    def encode(frames: int, rows: list[int]) -> Tensor:
        pixels = torch.stack([media[row].pixel_values for row in rows]).to(model.device)
        landmarks = torch.stack([media[row].landmarks for row in rows]).to(model.device)
        return model.get_image_features(pixels, landmarks)

    with answering_mode(model):
        features = iter(map_by_length([len(medium.pixel_values) for medium in media], encode))
    return [
        EncodedMedia(
            tuple(next(features) for _ in subject),
            tuple(len(medium.pixel_values) for medium in subject),
            tuple(medium.is_clip for medium in subject),
        )
        for subject in subjects
    ]


def join_features(media: Sequence[EncodedMedia]) -> dict[str, Tensor]:
    """The visual arguments of ``forward`` and ``generate`` for a batch of prompts, one entry of ``media`` each."""
    features = [each for subject in media for each in subject.features]
    if not features:
        return {}
    if len({len(each) for each in features}) == 1:
        return {"image_features": torch.stack(features)}
    frames = torch.tensor([each for subject in media for each in subject.frames])
    return {"image_features": pad_sequence(features, batch_first=True), "num_frames": frames}


@contextmanager
def answering_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; modules that were in training mode return to it afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True
