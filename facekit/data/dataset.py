"""Records as a torch data set: pictures as pixels, conversations as supervised tokens, seeded augmentation.

What an item is depends only on the settings, the epoch and the index, so that a resumed run sees what an
uninterrupted one would have seen.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from facekit.data.conversation_layout import ConversationLayout, encode_turns
from facekit.data.formats import base_folder
from facekit.data.formats import read_records as read_any_records
from facekit.data.lazy_records import LazyRecords
from facekit.data.mixture import Mixture
from facekit.data.record_facts import facts_of, frame_counts
from facekit.data.record_media import load_media, media_frames, open_frames
from facekit.data.records import FaceRecord, read_records
from facekit.data.skipping import SkippedRecord
from facekit.data.stored_files import require_stored_files
from facekit.data.stored_records import open_stored, require_whole
from facekit.data.usable import Arrangement, TokenLimit, UsableQuestions, find_usable
from facekit.errors import ConfigurationError, RecordError
from facekit.faces import NUM_LANDMARKS
from facekit.models.processing import FaceKitProcessor
from facekit.remote.mirror import local_copy

_MOST_KEPT = 100_000
"""Records whose landmarks and usable questions a data set remembers."""


@dataclass(frozen=True)
class RecordSet:
    """Records together with the folder that their paths are relative to.

    Args:
        records: The records: a tuple, or those of a large file, which stay in it; see ``facekit.data.stored_records``.
        folder: Folder of the records file.
        broken: Entries of the file that are no records, by their index among all of its entries, where it was read
            leniently; see ``facekit.data.lenient``.
        mixture: Which files they are from, and the share of each in an epoch; see ``facekit.data.mixing``.
    """

    records: Sequence[FaceRecord]
    folder: Path
    broken: tuple[SkippedRecord, ...] = ()
    mixture: Mixture | None = None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a records file, or a file in another format, checking every line.

        Raises:
            RecordError: If a line is malformed, a file is missing, or there are no records in it; the message has
                file and line.
        """
        path = local_copy(path)
        is_own = path.suffix == ".jsonl" or not path.exists()
        stored = open_stored(path) if is_own else None
        records: Sequence[FaceRecord]
        if stored is not None:
            require_whole(stored)
            require_stored_files(stored)
            records, folder = stored, path.parent
        elif is_own:
            records, folder = tuple(read_records(path)), path.parent
        else:
            records, folder = tuple(read_any_records(path, check_files=True)), base_folder(path)
        if not records:
            raise RecordError(f"records file {path} has no records; check the path, or write it again")
        return cls(records, folder)

    @classmethod
    def of(cls, records: RecordSet | str | Path) -> RecordSet:
        """Return a record set as it is, or read the file that a path names."""
        return records if isinstance(records, RecordSet) else cls.read(records)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def entry_indices(self) -> Sequence[int]:
        """The index of each record among all entries of its file, ascending."""
        taken = {entry.index for entry in self.broken}
        if not taken:
            return range(len(self.records))
        return array("q", (index for index in range(len(self.records) + len(taken)) if index not in taken))

    def select(self, indices: Sequence[int]) -> RecordSet:
        """The records at these indices."""
        mixture = None if self.mixture is None else self.mixture.select(indices)
        if isinstance(self.records, LazyRecords):
            return RecordSet(self.records.select(indices), self.folder, mixture=mixture)
        return RecordSet(tuple(self.records[index] for index in indices), self.folder, mixture=mixture)


@dataclass(frozen=True)
class DatasetOptions:
    """How records become training examples.

    Args:
        shuffle_turns: Reorder the questions of a record, each with its answer, anew in every epoch, where they stand
            alone (``FaceRecord.independent_questions``). A dialogue keeps its order.
        independent_turns: Let no question see another's answer, where they stand alone; see ``facekit.data.packing``.
            A dialogue keeps its context.
        turns_per_example: Keep only so many questions per epoch (after shuffling), of a dialogue the first ones; None
            keeps all.
        landmark_noise: Standard deviation of Gaussian noise on every landmark, as a fraction of the picture, drawn
            anew in every epoch; detected landmarks are never exact.
        landmark_dropout: Share of examples whose landmarks are withheld, so that the model learns to do without.
        max_tokens: Longest sequence. Questions that do not fit are left out, the same ones in every epoch; see
            ``facekit.data.usable``.
        context: The longest sequence that the language model reads, which counts where ``max_tokens`` is None.
        cache_pictures: Keep prepared pictures in memory; None decides by ``cache_limit``.
        cache_limit: Most bytes that ``cache_pictures=None`` may keep.
        seed: Seed of all randomness.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    shuffle_turns: bool = True
    independent_turns: bool = False
    turns_per_example: int | None = None
    landmark_noise: float = 0.0
    landmark_dropout: float = 0.0
    max_tokens: int | None = None
    context: int | None = None
    cache_pictures: bool | None = None
    cache_limit: int = 2 << 30
    seed: int = 0

    def __post_init__(self) -> None:
        if self.turns_per_example is not None and self.turns_per_example < 1:
            raise ConfigurationError(f"turns_per_example must be at least 1, not {self.turns_per_example}")
        if not 0.0 <= self.landmark_noise < 1.0:
            raise ConfigurationError(
                f"landmark_noise is a fraction of the picture in [0, 1), not {self.landmark_noise}"
            )
        if not 0.0 <= self.landmark_dropout <= 1.0:
            raise ConfigurationError(f"landmark_dropout is a share in [0, 1], not {self.landmark_dropout}")

    @property
    def limit(self) -> TokenLimit | None:
        """The longest sequence, if there is one."""
        if self.max_tokens is not None:
            return TokenLimit(self.max_tokens)
        if self.context is not None:
            return TokenLimit(self.context, "the language model's context", "shorten the texts, or set max_tokens")
        return None


@dataclass(frozen=True)
class FaceExample:
    """One training example.

    Args:
        index: Index of its record in the data set.
        pixel_values: ``(T, 3, H, W)``, or None where the caller has the encoder's tokens already.
        landmarks: ``(T, 68, 2)`` in [0, 1]; rows of NaN where absent. T is 0 for text alone.
        input_ids: ``(L,)``.
        labels: ``(L,)``; -100 outside the assistant's words.
        position_ids: ``(L,)``, where turns are independent.
        segments: ``(L,)``, where turns are independent: which question a token belongs to.
        frames: How the T frames are shared by several pictures; None for one picture or clip, or none.
    """

    index: int
    pixel_values: Tensor | None
    landmarks: Tensor
    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor | None = None
    segments: Tensor | None = None
    frames: tuple[int, ...] | None = None

    @property
    def media(self) -> tuple[int, ...]:
        """Frames of each picture and clip."""
        if self.frames is not None:
            return self.frames
        return (len(self.landmarks),) if len(self.landmarks) else ()

    def split(self, frames: Tensor | None) -> Sequence[Tensor]:
        """Cut what there is of every frame, ``(T, ...)``, into that of each picture or clip."""
        return () if frames is None else frames.split(self.media)


class FaceDataset(Dataset[FaceExample]):
    """Training examples of a record set.

    Args:
        records: The records; each needs a conversation.
        processor: The model's processor.
        options: How records become examples.
        with_pixels: Whether examples carry pixels.

    Attributes:
        keeps_pictures: Whether prepared pictures stay in memory.
        repetition: How often the record of the next example occurred in the epoch before; its order of questions and
            its noise are others each time.

    Raises:
        RecordError: There is no record, or one has no conversation.
    """

    def __init__(
        self,
        records: RecordSet,
        processor: FaceKitProcessor,
        options: DatasetOptions | None = None,
        *,
        with_pixels: bool = True,
    ) -> None:
        if not len(records):
            raise RecordError(f"there are no records in {records.folder} to make a data set of")
        self.records = records
        self._require_conversations()
        self.processor = processor
        self.options = options or DatasetOptions()
        self.with_pixels = with_pixels
        self.epoch = 0
        self.repetition = 0
        frames = int(frame_counts(facts_of(records.records), processor.image_processor.num_frames).sum())
        bytes_needed = frames * 12 * processor.image_processor.image_size**2
        caching = self.options.cache_pictures
        self.keeps_pictures = bytes_needed <= self.options.cache_limit if caching is None else caching
        self._pictures: dict[int, tuple[Tensor, Tensor]] = {}
        self._points: dict[int, Tensor] = {}
        self._kept: dict[int, tuple[int, ...]] = {}

    def _require_conversations(self) -> None:
        silent = np.flatnonzero(facts_of(self.records.records)["turns"] == 0)
        if len(silent):
            name = self.records.records[int(silent[0])].id
            raise RecordError(f"record {name!r} has no conversation; annotate the records first")

    def __len__(self) -> int:
        return len(self.records)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that seeds shuffling and augmentation; the trainer calls this before every epoch."""
        self.epoch = int(epoch)

    def __getitem__(self, index: int) -> FaceExample:
        """Return one example; raises ``RecordError`` or ``ImageError`` naming the record or file at fault."""
        pixels, points = self._media(index) if self.with_pixels else (None, self._landmarks_only(index))
        record = self.records.records[index]
        kept = self.kept_questions(index, len(points))
        moment = (self.epoch, self.repetition)
        return make_example(index, record, pixels, points, self.processor, self.options, moment, kept=kept)

    def kept_questions(self, index: int, frames: int) -> Sequence[int] | None:
        """Indices of the questions of a record that are trained on; None for all; see ``usable_questions``."""
        if self.options.limit is None:
            return None
        known = self._kept.get(index)
        if known is None:
            known = usable_questions(self.records.records[index], self.processor, self.options, frames).kept
            if len(self._kept) < _MOST_KEPT:
                self._kept[index] = known
        return known

    def pixel_values(self, index: int) -> Tensor:
        """The pixels ``(T, 3, H, W)`` of one record."""
        return self._media(index)[0]

    def media_pixels(self, index: int) -> list[Tensor]:
        """The pixels ``(T, 3, H, W)`` of each of a record's pictures or of its clip; none for text alone."""
        pixels = self._media(index)[0]
        return list(pixels.split(media_frames(self.records.records[index], len(pixels)))) if len(pixels) else []

    def drop_pixels(self) -> None:
        """Leave pixels out of the examples from now on, and out of memory."""
        self.with_pixels = False
        self._pictures.clear()

    def _media(self, index: int) -> tuple[Tensor, Tensor]:
        if index not in self._pictures:
            media = load_media(self.records.records[index], self.records.folder, self.processor)
            self._keep_points(index, media[1])
            if not self.keeps_pictures:
                return media
            self._pictures[index] = media
        return self._pictures[index]

    def _landmarks_only(self, index: int) -> Tensor:
        known = self._points.get(index)
        if known is None:
            count = self.processor.image_processor.num_frames
            frames = open_frames(self.records.records[index], self.records.folder, count)
            points = [frame.landmarks_or_absent for frame in frames]
            known = torch.from_numpy(np.stack(points)) if points else torch.zeros(0, NUM_LANDMARKS, 2)
            self._keep_points(index, known)
        return known

    def _keep_points(self, index: int, points: Tensor) -> None:
        """Remember landmarks; of a very large set only as many as take 100 MB."""
        if len(self._points) < _MOST_KEPT:
            self._points[index] = points


def make_example(
    index: int,
    record: FaceRecord,
    pixels: Tensor | None,
    points: Tensor,
    processor: FaceKitProcessor,
    options: DatasetOptions,
    epoch: int | tuple[int, int],
    *,
    kept: Sequence[int] | None = None,
) -> FaceExample:
    """Make an example of a record whose media are open; all randomness comes from the seed, the epoch and the index.

    Args:
        index: The record's number.
        record: The record.
        pixels: ``(T, 3, H, W)``, if any.
        points: Its landmarks ``(T, 68, 2)``.
        processor: The model's processor.
        options: How records become examples.
        epoch: The epoch, and how often the record occurred in it before, where it may occur more than once.
        kept: Indices of the questions that are trained on; by default all that have an answer.

    Raises:
        RecordError: Its conversation cannot be learned from.
    """
    number, repetition = (epoch, 0) if isinstance(epoch, int) else epoch
    rng = np.random.default_rng((options.seed, number, index, repetition)[: 4 if repetition else 3])
    frames = media_frames(record, len(points))
    try:
        tokens = encode_turns(
            record,
            processor,
            frames,
            rng,
            kept,
            shuffle=options.shuffle_turns,
            turns_per_example=options.turns_per_example,
            independent=options.independent_turns,
        )
    except RecordError as error:
        raise RecordError(f"record {record.id!r}: {error}") from error
    frames = _shown_media(processor, frames, tokens.input_ids)
    pixels, points = None if pixels is None else pixels[: sum(frames)], points[: sum(frames)]
    columns: dict[str, Any] = {name: torch.tensor(column) for name, column in vars(tokens).items()}
    columns["frames"] = frames if len(frames) > 1 else None
    return FaceExample(index, pixels, _disturb(points, options, rng), **columns)


def usable_questions(
    record: FaceRecord, processor: FaceKitProcessor, options: DatasetOptions, frames: int
) -> UsableQuestions:
    """Find out which questions of a record can be trained on; whatever the epoch, they are the same ones.

    Args:
        record: The record.
        processor: The model's processor.
        options: How records become examples.
        frames: Frames of its clip, or how many pictures it has.

    Raises:
        RecordError: None can.
        ConfigurationError: The chat template refuses the conversation.
    """
    if not record.conversations:
        raise RecordError("it has no conversation; annotate the records first")
    media = media_frames(record, frames)
    layout = ConversationLayout.of(record, media)
    is_packed = options.independent_turns and layout.stands_alone
    # Positions of a packed question go on from the picture, so what counts for the context is each question by itself.
    at_once = 1 if is_packed and options.max_tokens is None else options.turns_per_example
    arrangement = Arrangement(not layout.stands_alone, is_packed, at_once, options.limit, not layout.media_lead)
    return find_usable(processor, layout.opening, layout.exchanges, arrangement, frames=media)


def _shown_media(processor: FaceKitProcessor, frames: tuple[int, ...], input_ids: Sequence[int]) -> tuple[int, ...]:
    """The media that stand in a text; those of turns that were dropped from its end do not."""
    if len(frames) < 2:
        return frames
    left, shown = list(input_ids).count(processor.image_token_id), 0
    while shown < len(frames) and left > 0:
        left -= processor.count_visual_tokens(frames[shown])
        shown += 1
    return frames[:shown]


def _disturb(points: Tensor, options: DatasetOptions, rng: np.random.Generator) -> Tensor:
    if options.landmark_dropout and rng.random() < options.landmark_dropout:
        return torch.full_like(points, float("nan"))
    if options.landmark_noise:
        noise = rng.normal(0.0, options.landmark_noise, points.shape)
        return points + torch.from_numpy(noise).to(points.dtype)
    return points
