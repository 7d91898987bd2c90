"""Cached tokens of frozen encoders in a run, in memory or on disk.

A frozen encoder that sees the same picture gives the same tokens, so a run of many epochs need not repeat its work.
In memory are those of small data sets; on disk any, and the next run finds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from facekit.data.cached_encoding import CachedEncoding, MediaIdentifier, Medium
from facekit.data.dataset import FaceDataset
from facekit.data.feature_cache import FeatureStorage
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.sessions.encoding import answering_mode
from facekit.models.visual_tokens import map_by_length
from facekit.reports import ProgressListener, ProgressMeter, as_listener
from facekit.training.recipes.settings import TrainingSettings


class KeptFeatures(Protocol):
    """Visual tokens that take the place of pixels in a run's batches."""

    def project(
        self, model: FaceKitForConditionalGeneration, indices: Tensor, landmarks: Tensor, counts: Tensor | None = None
    ) -> Tensor:
        """Return the visual tokens of a batch, as ``model.get_image_features`` does of pixels.

        Args:
            model: The model; gradients go to its connector.
            indices: ``(B,)``, indices of the records in the data set.
            landmarks: ``(B_media, T, 68, 2)``, padded to the longest clip.
            counts: ``(B,)``, how many media of each record are meant, the first ones; one of each by default.

        Returns:
            ``(B_media, n, D)`` with n the visual tokens of the longest; the rows of shorter ones end in zeros.

        Raises:
            ImageError, RecordError: A picture that was not kept cannot be opened.
        """
        ...

    def flush(self) -> None:
        """Write what waits to be written."""


class FeaturesInMemory:
    """The encoders' tokens of all media of a data set.

    Args:
        tokens: ``(T, P + N, C)`` of every picture and clip, on the CPU, record by record.
        counts: How many media each record has.
        autocasts: Whether the run computes in mixed precision.
    """

    def __init__(self, tokens: Sequence[Tensor], counts: Sequence[int], *, autocasts: bool = False) -> None:
        self.tokens = tokens
        self._autocasts = autocasts
        self._first = [0, *accumulate(counts)]

    def __len__(self) -> int:
        """How many pictures and clips there are."""
        return len(self.tokens)

    @property
    def nbytes(self) -> int:
        """Bytes of all tokens."""
        return sum(each.nbytes for each in self.tokens)

    def project(
        self, model: FaceKitForConditionalGeneration, indices: Tensor, landmarks: Tensor, counts: Tensor | None = None
    ) -> Tensor:
        """See ``KeptFeatures``."""
        wanted = [1] * len(indices) if counts is None else counts.tolist()
        records = zip(indices.tolist(), wanted, strict=True)
        media = [self.tokens[self._first[record] + place] for record, count in records for place in range(count)]

        def project(frames: int, rows: list[int]) -> Tensor:
            chosen = torch.stack([media[row] for row in rows]).to(landmarks.device)
            return model.project_tokens(chosen, landmarks[rows, :frames])

        lengths = [len(each) for each in media]
        with torch.autocast(landmarks.device.type, dtype=torch.bfloat16, enabled=self._autocasts):
            if len(set(lengths)) == 1:
                return project(lengths[0], list(range(len(media))))
            return pad_sequence(map_by_length(lengths, project), batch_first=True)

    def flush(self) -> None:
        """Nothing waits."""


def encode_dataset(
    model: FaceKitForConditionalGeneration,
    dataset: FaceDataset,
    *,
    batch_size: int = 64,
    autocasts: bool = False,
    on_progress: ProgressListener | None = None,
) -> FeaturesInMemory:
    """Encode every picture and clip of a data set.

    Args:
        model: Its encoders see images and clips.
        dataset: The records.
        batch_size: Records at a time.
        autocasts: Whether the run that they are kept for computes in mixed precision.
        on_progress: Called with a ``Progress`` after every batch.
    """
    meter = ProgressMeter(as_listener(on_progress, "encode_dataset"), "encode", len(dataset), "records")
    kept: list[Tensor] = []
    counts: list[int] = []

    def encode(media: list[Tensor], frames: int, rows: list[int]) -> Tensor:
        encoder = model.encoder_for(frames)
        parameter = next(encoder.parameters())
        tokens: Tensor = encoder(torch.stack([media[row] for row in rows]).to(parameter.device, parameter.dtype)).cpu()
        return tokens

    with answering_mode(model):
        for start in range(0, len(dataset), batch_size):
            indices = range(start, min(start + batch_size, len(dataset)))
            opened = [dataset.media_pixels(index) for index in indices]
            media = [pixels for record in opened for pixels in record]
            kept += map_by_length([len(pixels) for pixels in media], partial(encode, media))
            counts += [len(record) for record in opened]
            meter.report(indices.stop)
    tokens = [each.clone() if each.is_inference() else each for each in kept]
    return FeaturesInMemory(tokens, counts, autocasts=autocasts)


class FeaturesOnDisk:
    """The visual tokens of a run's batches by way of a cache on disk.

    Args:
        model: Its encoders stay as they are.
        dataset: The run's records; its examples need no pixels.
        settings: Say where the cache is and what it may hold.

    Raises:
        ConfigurationError: The cache's folder is a file.
    """

    def __init__(
        self, model: FaceKitForConditionalGeneration, dataset: FaceDataset, settings: TrainingSettings
    ) -> None:
        assert settings.feature_cache is not None
        dtype = getattr(torch, settings.feature_cache_dtype) if settings.feature_cache_dtype else None
        storage = FeatureStorage(settings.feature_cache, settings.feature_cache_bytes, dtype)
        images = dataset.processor.image_processor
        self.encoding = CachedEncoding(model.encoder, model.video_encoder, storage)
        self._identifier = MediaIdentifier(images.transform, images.num_frames)
        self._media: dict[int, list[Medium]] = {}
        self._dataset = dataset
        self._autocasts = settings.precision == "bfloat16"

    def project(
        self, model: FaceKitForConditionalGeneration, indices: Tensor, landmarks: Tensor, counts: Tensor | None = None
    ) -> Tensor:
        """See ``KeptFeatures``."""
        wanted = [1] * len(indices) if counts is None else counts.tolist()
        places = [
            (index, place)
            for index, count in zip(indices.tolist(), wanted, strict=True)
            for place in range(count)
        ]  # fmt: skip

        def open_pixels(row: int) -> Tensor:
            index, place = places[row]
            return FaceDataset.media_pixels(self._dataset, index)[place]

        tokens = self.encoding.encode([self._of_record(index)[place] for index, place in places], open_pixels)

        def project(frames: int, rows: list[int]) -> Tensor:
            return model.project_tokens(torch.stack([tokens[row] for row in rows]), landmarks[rows, :frames])

        with torch.autocast(tokens[0].device.type, dtype=torch.bfloat16, enabled=self._autocasts):
            features = map_by_length([len(each) for each in tokens], project)
        return pad_sequence(features, batch_first=True)

    def _of_record(self, index: int) -> list[Medium]:
        if index not in self._media:
            records = self._dataset.records
            self._media[index] = self._identifier.identify(records.records[index], records.folder)
        return self._media[index]

    def flush(self) -> None:
        """Write what waits to be written."""
        self.encoding.flush()
