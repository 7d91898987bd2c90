"""Cached tokens of frozen encoders in a run, in memory or on disk.

A frozen encoder that sees the same picture gives the same tokens, so a run of many epochs need not repeat its work.
In memory are those of small data sets with one length of clip; on disk any, and the next run finds them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from facekit.data.cached_encoding import CachedEncoding, MediaIdentifier, Medium
from facekit.data.dataset import FaceDataset
from facekit.data.feature_cache import FeatureStorage
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.visual_tokens import map_by_length
from facekit.reports import ProgressListener, ProgressMeter, as_listener
from facekit.training.recipes.settings import TrainingSettings


def encode_dataset(
    encoder: nn.Module,
    dataset: FaceDataset,
    *,
    batch_size: int = 64,
    on_progress: ProgressListener | None = None,
) -> Tensor:
    """Encode every picture of a data set.

    Args:
        encoder: Turns ``(B, T, 3, H, W)`` into ``(B, T, P + N, C)``.
        dataset: All its records have the same number of frames.
        batch_size: Pictures at a time.
        on_progress: Called with a ``Progress`` after every batch.

    Returns:
        ``(len(dataset), T, P + N, C)`` on the CPU.
    """
    meter = ProgressMeter(as_listener(on_progress, "encode_dataset"), "encode", len(dataset), "records")
    parameter = next(encoder.parameters())
    was_training = encoder.training
    encoder.eval()
    tokens: Tensor | None = None
    try:
        for start in range(0, len(dataset), batch_size):
            indices = range(start, min(start + batch_size, len(dataset)))
            pixels = torch.stack([dataset.pixel_values(index) for index in indices])
            with torch.inference_mode():
                encoded = encoder(pixels.to(parameter.device, parameter.dtype)).cpu()
            if tokens is None:
                tokens = encoded.new_empty((len(dataset), *encoded.shape[1:]))
            tokens[start : indices.stop] = encoded
            meter.report(indices.stop)
    finally:
        encoder.train(was_training)
    assert tokens is not None
    return tokens.clone() if tokens.is_inference() else tokens


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
        self._media: dict[int, Medium] = {}
        self._dataset = dataset
        self._autocasts = settings.precision == "bfloat16"

    def project(self, model: FaceKitForConditionalGeneration, indices: Tensor, landmarks: Tensor) -> Tensor:
        """Return the visual tokens of a batch, as ``model.get_image_features`` does of pixels.

        Args:
            model: The model; gradients go to its connector.
            indices: ``(B,)``, indices of the records in the data set.
            landmarks: ``(B, T, 68, 2)``, padded to the longest clip.

        Returns:
            ``(B, n, D)`` with n the visual tokens of the longest; the rows of shorter ones end in zeros.

        Raises:
            ImageError, RecordError: A picture that is not in the cache cannot be opened.
        """
        records = indices.tolist()
        media = [self._medium(index) for index in records]
        tokens = self.encoding.encode(media, lambda row: FaceDataset.pixel_values(self._dataset, records[row]))

        def project(frames: int, rows: list[int]) -> Tensor:
            return model.project_tokens(torch.stack([tokens[row] for row in rows]), landmarks[rows, :frames])

        with torch.autocast(tokens[0].device.type, dtype=torch.bfloat16, enabled=self._autocasts):
            features = map_by_length([len(each) for each in tokens], project)
        return pad_sequence(features, batch_first=True)

    def _medium(self, index: int) -> Medium:
        if index not in self._media:
            records = self._dataset.records
            self._media[index] = self._identifier.identify(records.records[index], records.folder)
        return self._media[index]

    def flush(self) -> None:
        """Write what waits to be written."""
        self.encoding.flush()
