"""Precomputing the tokens of frozen encoders for the faces in shards.

The cache lies beside the shards and goes by content, so it serves whether a run reads the shards or what was unpacked
of them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from facekit.backbones.base import read_dtype
from facekit.data.cached_encoding import CachedEncoding, MediaIdentifier
from facekit.data.feature_cache import FeatureStorage
from facekit.data.formats.shards import read_shards
from facekit.data.preprocessing.pipeline import FEATURES
from facekit.data.record_media import open_frames
from facekit.data.records import FaceRecord
from facekit.data.shard_index import count_samples
from facekit.deprecations import renamed_arguments
from facekit.encoders.base import VisionEncoder
from facekit.encoders.fusion import build_encoder
from facekit.encoders.transform import ImageTransform
from facekit.errors import ConfigurationError
from facekit.faces.frames import FRAMES_PER_CLIP
from facekit.remote.uploads import uploaded_folder
from facekit.reports import ProgressListener, ProgressMeter, as_listener


@dataclass(frozen=True)
class FeatureResult:
    """The result of encoding shards.

    Args:
        folder: The cache, for a recipe's ``feature_cache``.
        computed: Pictures and clips that were encoded.
        found: Those whose tokens were there.
        stopped: Why not all are kept, or None.
    """

    folder: Path
    computed: int
    found: int
    stopped: str | None


def check_encoders(encoder: str, video_encoder: str | None = None, *, dtype: str = "float32") -> None:
    """Build the encoders of ``encode_shards`` once, so that what is wrong with them is known before the faces are cut.

    Raises:
        ConfigurationError: The dtype does not exist, or the encoders take other pixels than each other.
        InvalidSpecError, UnknownPartError, CheckpointError: See ``build_encoder``.
    """
    _build_encoders(encoder, video_encoder, dtype)


@renamed_arguments(output="output_dir")
def encode_shards(
    output_dir: str | Path,
    encoder: str,
    video_encoder: str | None = None,
    *,
    dtype: str = "float32",
    limit: int = 50 << 30,
    num_frames: int = FRAMES_PER_CLIP,
    batch_size: int = 32,
    on_progress: ProgressListener | None = None,
) -> FeatureResult:
    """Fill the cache ``features`` in a folder of shards; may be stopped and started again.

    Args:
        output_dir: The folder of the shards, to which the cache is added.
        encoder: Spec of the encoder, as the model has it.
        video_encoder: Spec of that for clips, where the model has two.
        dtype: Floating type in which they compute, as the model has it, and in which tokens are kept.
        limit: Most bytes of the cache.
        num_frames: Frames taken of a video file, as the model's processor does.
        batch_size: Pictures or clips at a time.
        on_progress: Called with a ``Progress`` after every batch.

    Raises:
        RecordError: There are no shards, or they cannot be read.
        ImageError: A picture in them cannot be opened.
        ConfigurationError: The limit is below one byte, or the encoders take other pixels than each other.
        InvalidSpecError, UnknownPartError, CheckpointError: See ``build_encoder``.
    """
    on_progress = as_listener(on_progress, "encode_shards")
    with uploaded_folder(output_dir) as output:
        return _fill(output, encoder, video_encoder, dtype, limit, num_frames, batch_size, on_progress)


def _fill(
    output: Path,
    encoder: str,
    video_encoder: str | None,
    dtype: str,
    limit: int,
    num_frames: int,
    batch_size: int,
    on_progress: ProgressListener | None,
) -> FeatureResult:
    counts = count_samples(output)
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    parts = [part.to(device) for part in _build_encoders(encoder, video_encoder, dtype)]
    encoding = CachedEncoding(parts[0], parts[1] if len(parts) > 1 else None, FeatureStorage(output / FEATURES, limit))
    identifier = MediaIdentifier(parts[0].transform, num_frames)
    meter = ProgressMeter(on_progress, "encode", sum(counts.values()), "faces")
    done = 0
    for shard in counts:
        with tempfile.TemporaryDirectory(prefix="facekit-features-") as folder:
            records = read_shards(shard, extract_to=Path(folder))
            while batch := list(islice(records, batch_size)):
                _encode(batch, Path(folder), encoding, identifier)
                done += len(batch)
                meter.report(done)
        encoding.flush()
    stopped = next((cache.stopped for cache in encoding.caches if cache.stopped is not None), None)
    return FeatureResult(encoding.storage.folder, encoding.computed, encoding.found, stopped)


def _build_encoders(encoder: str, video_encoder: str | None, dtype: str) -> list[VisionEncoder]:
    kind = read_dtype(dtype)
    parts = [build_encoder(spec).to(dtype=kind) for spec in (encoder, video_encoder) if spec is not None]
    if parts[0].transform != parts[-1].transform:
        raise ConfigurationError(
            f"'{encoder}' and '{video_encoder}' take different pixels, but one processor serves both; choose two of "
            "the same image_size and normalisation"
        )
    return parts


def _encode(batch: list[FaceRecord], folder: Path, encoding: CachedEncoding, identifier: MediaIdentifier) -> None:
    found = [
        (record, index, each) for record in batch for index, each in enumerate(identifier.identify(record, folder))
    ]
    transform = encoding.encoder.transform

    def open_pixels(position: int) -> Tensor:
        record, index, _ = found[position]
        return _open_pixels(record, index, folder, transform, identifier.num_frames)

    encoding.encode([medium for _, _, medium in found], open_pixels)


def _open_pixels(record: FaceRecord, index: int, folder: Path, transform: ImageTransform, num_frames: int) -> Tensor:
    """The pixels ``(T, 3, H, W)`` of one of a record's media, as ``load_media`` makes them with a processor."""
    if record.images is not None:
        record = record.model_copy(update={"images": [record.images[index]], "landmarks": None})
    return torch.stack([transform(frame.image) for frame in open_frames(record, folder, num_frames)])
