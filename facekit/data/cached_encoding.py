"""Encoding the media of records through the feature cache on disk.

Training and preprocessing both do it, each with media of its own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from facekit.data.feature_cache import FeatureCache, FeatureStorage
from facekit.data.record_media import count_frames
from facekit.data.records import FaceRecord
from facekit.encoders.base import VisionEncoder
from facekit.encoders.transform import ImageTransform
from facekit.errors import ImageError, first_line
from facekit.models.visual_tokens import map_by_length
from facekit.remote.mirror import require_here

_VERSION = 1
"""Raised when the same file gives other pixels than before."""


@dataclass(frozen=True)
class Medium:
    """A picture or clip as an encoder sees it.

    Args:
        key: A hash of its content and of how it becomes pixels.
        is_clip: Whether it may have more than one frame.
    """

    key: str
    is_clip: bool


class MediaIdentifier:
    """Says which medium a record is about; its files are read for that.

    Args:
        transform: How pictures become pixels.
        num_frames: Frames taken of a video file.
    """

    def __init__(self, transform: ImageTransform, num_frames: int) -> None:
        self.num_frames = num_frames
        self._beginning = json.dumps([_VERSION, transform.to_config()], sort_keys=True)

    def identify(self, record: FaceRecord, folder: Path) -> list[Medium]:
        """Return a record's media, none for text alone; its landmarks and texts do not matter.

        Raises:
            ImageError: A file cannot be read.
        """
        paths = record.media_paths(folder)
        if record.images is not None:
            return [Medium(self._hash([path]), is_clip=False) for path in paths]
        which = json.dumps([self.num_frames, record.frames]) if isinstance(record.video, str) else ""
        is_clip = count_frames(record, self.num_frames) > 1
        return [Medium(self._hash(paths, which), is_clip=is_clip)] if paths else []

    def _hash(self, paths: Sequence[Path], which: str = "") -> str:
        digest = hashlib.sha256(self._beginning.encode())
        digest.update(which.encode())
        for path in paths:
            try:
                require_here(path)
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            except OSError as error:
                raise ImageError(f"{path} cannot be read ({error.strerror or first_line(error)})") from error
        return digest.hexdigest()[:32]


class CachedEncoding:
    """The encoders of a model with their caches.

    Args:
        encoder: Sees images, and clips where there is no other; it is in evaluation mode whenever it is used.
        video_encoder: Sees clips.
        storage: Where tokens are kept.

    Attributes:
        found: How often tokens were in the cache.
        computed: How many pictures and clips were encoded.
    """

    def __init__(self, encoder: VisionEncoder, video_encoder: VisionEncoder | None, storage: FeatureStorage) -> None:
        self.encoder, self.video_encoder, self.storage = encoder, video_encoder, storage
        encoders = [encoder] if video_encoder is None else [encoder, video_encoder]
        names = [storage.name_for(each) for each in encoders]
        self.caches = [
            FeatureCache(storage, each, name=name, in_use=names) for each, name in zip(encoders, names, strict=True)
        ]
        self.found = self.computed = 0

    def encode(self, media: Sequence[Medium], open_pixels: Callable[[int], Tensor]) -> list[Tensor]:
        """Return the tokens of media.

        They went through the floating type on disk whether they were there or not, so that a run does not depend on
        it.

        Args:
            media: Pictures and clips.
            open_pixels: Given an index into ``media``, returns its pixels ``(T, 3, H, W)``.

        Returns:
            ``(T, P + N, C)`` each, on the encoder's device and in its floating type.
        """
        tokens = self._read(media)
        if len(tokens) < len(media):
            for cache in self.caches:
                cache.refresh()
            tokens = self._read(media)
        missing = {media[index].key: index for index in range(len(media)) if index not in tokens}
        self.found += len(tokens)
        self.computed += len(missing)
        opened = [open_pixels(index) for index in missing.values()]
        lengths = [len(pixels) for pixels in opened]
        computed = map_by_length(
            lengths, lambda frames, rows: self._compute(frames, torch.stack([opened[row] for row in rows]))
        )
        for index, frames, encoded in zip(missing.values(), lengths, computed, strict=True):
            tokens[index] = encoded
            # A file of one frame that could have had more went through the encoder for images.
            if self.video_encoder is None or media[index].is_clip == (frames > 1):
                self._cache_of(media[index]).add({media[index].key: encoded})
        parameter = next(self.encoder.parameters())
        chosen = [tokens[index if index in tokens else missing[medium.key]] for index, medium in enumerate(media)]
        return [each.to(parameter.device, parameter.dtype) for each in chosen]

    def flush(self) -> None:
        """Write what waits to be written."""
        for cache in self.caches:
            cache.flush()

    def _read(self, media: Sequence[Medium]) -> dict[int, Tensor]:
        found = ((index, self._cache_of(medium).read(medium.key)) for index, medium in enumerate(media))
        return {index: tokens for index, tokens in found if tokens is not None}

    def _cache_of(self, medium: Medium) -> FeatureCache:
        return self.caches[-1] if medium.is_clip else self.caches[0]

    def _compute(self, frames: int, pixels: Tensor) -> Tensor:
        encoder = self.encoder if frames == 1 or self.video_encoder is None else self.video_encoder
        parameter, was_training = next(encoder.parameters()), encoder.training
        encoder.eval()
        try:
            with torch.no_grad():
                tokens = encoder(pixels.to(parameter.device, parameter.dtype))
        finally:
            encoder.train(was_training)
        kept: Tensor = tokens.to("cpu", self.storage.dtype or tokens.dtype)
        return kept
