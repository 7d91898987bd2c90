"""Synthetic data sets on disk: pictures, records and the settings that made them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from facekit.data.atomic import write_text_atomically
from facekit.data.labels import TASKS
from facekit.data.records import FaceRecord, write_records
from facekit.data.synthetic.canvas import load_opencv
from facekit.data.synthetic.faces import check_image_size, draw_face, groups_of, labels_of
from facekit.data.synthetic.geometry import landmarks_of
from facekit.data.synthetic.sampling import sample_face, stream
from facekit.data.templates import write_conversation
from facekit.deprecations import renamed_arguments, warn_deprecated
from facekit.errors import ConfigurationError
from facekit.reports import ProgressListener, ProgressMeter, as_listener

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
RENDERER_VERSION = 1
"""Version of the renderer: the same version, split, seed and index give the same picture."""
RECORDS_NAME, SETTINGS_NAME, IMAGES_NAME = "records.jsonl", "synthetic.json", "images"
_INDEX_BITS, _SEED_BITS = 24, 26
_CHUNK = 32


@dataclass(frozen=True)
class SyntheticSettings:
    """Settings of a synthetic data set; equal settings make equal files.

    Attributes:
        count: Number of pictures.
        seed: Seed of the data set, below 2 ** 26.
        image_size: Side of the pictures in pixels.
        split: One of ``SPLITS``; splits never share a face.
        questions_per_image: Questions in each conversation, at most one per task.
        renderer_version: Version of the drawing.
    """

    count: int
    seed: int
    image_size: int = 96
    split: str = "train"
    questions_per_image: int = len(TASKS)
    renderer_version: int = RENDERER_VERSION

    def __post_init__(self) -> None:
        if not 0 < self.count <= 1 << _INDEX_BITS:
            raise ConfigurationError(f"count={self.count} is out of range; use 1 to {1 << _INDEX_BITS}")
        if not 0 <= self.questions_per_image <= len(TASKS):
            raise ConfigurationError(
                f"questions_per_image={self.questions_per_image} is out of range; there are {len(TASKS)} tasks"
            )
        check_image_size(self.image_size)
        face_seed(self.split, self.seed, 0)


def face_seed(split: str, seed: int, index: int) -> int:
    """Number of one face of a data set; no two splits, seeds or indices share one.

    Args:
        split: One of ``SPLITS``.
        seed: Seed of the data set, 0 to 2 ** 26 - 1.
        index: Index in the data set, 0 to 2 ** 24 - 1.

    Returns:
        A number below 2 ** 53, so that any JSON reader keeps it.

    Raises:
        ConfigurationError: If an argument is out of its range.
    """
    if split not in SPLITS:
        raise ConfigurationError(f"there is no split {split!r}; the splits are {', '.join(SPLITS)}")
    if not 0 <= seed < 1 << _SEED_BITS:
        raise ConfigurationError(f"seed={seed} is out of range; use 0 to {(1 << _SEED_BITS) - 1}")
    if not 0 <= index < 1 << _INDEX_BITS:
        raise ConfigurationError(f"index={index} is out of range; use 0 to {(1 << _INDEX_BITS) - 1}")
    return ((SPLITS.index(split) + 1 << _SEED_BITS) + seed << _INDEX_BITS) + index


@renamed_arguments(folder="output_dir")
def write_synthetic_dataset(
    output_dir: str | Path,
    count: int,
    *,
    seed: int,
    image_size: int = 96,
    split: str = "train",
    questions_per_image: int = len(TASKS),
    workers: int = 1,
    on_progress: ProgressListener | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw a data set: PNG pictures and a records file with landmarks, labels, groups and conversations.

    An interrupted run continues where it stopped; a finished one is left as it is.

    Args:
        output_dir: Where to write; made if it is not there.
        count: Number of pictures.
        seed: Seed of the data set; train and test sets may share it, their faces differ all the same.
        image_size: Side of the pictures in pixels.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        questions_per_image: Questions in each conversation, in random order, at most one per task.
        workers: Processes that draw; 1 draws in this one.
        on_progress: Called with a ``Progress`` after every few pictures.
        progress: The earlier name of ``on_progress``, called with the number of finished pictures and ``count``.

    Returns:
        The records file.

    Raises:
        ConfigurationError: If a setting is out of range, or the folder holds something else.
        MissingExtraError: If OpenCV is not installed.

    Examples:
        >>> from facekit.data.synthetic import write_synthetic_dataset
        >>> write_synthetic_dataset("drawn", 3, seed=0).name
        'records.jsonl'
    """
    listener = _listener(on_progress, progress)
    settings = SyntheticSettings(count, seed, image_size, split, questions_per_image)
    folder = Path(output_dir)
    _claim(folder, settings)
    records_path = folder / RECORDS_NAME
    missing = [index for index in range(count) if not _picture_path(folder, index).is_file()]
    if records_path.is_file() and not missing:
        logger.info("%s holds these %d faces already", folder, count)
        return records_path
    load_opencv()
    (folder / IMAGES_NAME).mkdir(exist_ok=True)
    done = count - len(missing)
    meter = ProgressMeter(listener, f"draw {split} faces", count, "faces", done=done)
    for finished in _draw_chunks(folder, settings, missing, workers):
        done += finished
        meter.report(done)
    return write_records(records_path, (synthetic_record(settings, index) for index in range(count)))


def _listener(
    on_progress: ProgressListener | None, progress: Callable[[int, int], None] | None
) -> ProgressListener | None:
    if progress is None:
        return as_listener(on_progress, "write_synthetic_dataset")
    warn_deprecated(
        "progress of write_synthetic_dataset is deprecated; pass on_progress, a callback of one "
        "facekit.reports.Progress"
    )
    return lambda state: progress(state.done, state.total)


def synthetic_record(settings: SyntheticSettings, index: int) -> FaceRecord:
    """The record of one face of a data set, without drawing it.

    Args:
        settings: The data set.
        index: Index in the data set.

    Returns:
        A record whose image path is relative to the data set's folder.
    """
    number = face_seed(settings.split, settings.seed, index)
    face = sample_face(number)
    labels = labels_of(face)
    return FaceRecord(
        id=f"synthetic-{settings.split}-{settings.seed}-{index:06d}",
        image=_picture_path(Path(), index).as_posix(),
        landmarks=[[round(float(value), 5) for value in point] for point in landmarks_of(face)],
        labels=labels,
        groups=groups_of(face),
        conversations=write_conversation(labels, stream(number, "questions"), questions=settings.questions_per_image),
        independent_questions=True,
        source={"dataset": "synthetic", "seed": number, "image_size": settings.image_size},
        split=settings.split,
    )


def _picture_path(folder: Path, index: int) -> Path:
    return folder / IMAGES_NAME / f"{index:06d}.png"


def _claim(folder: Path, settings: SyntheticSettings) -> None:
    """Mark an empty folder with the settings, or check that it bears the same ones."""
    path = folder / SETTINGS_NAME
    wanted = asdict(settings)
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigurationError(f"{path} is not JSON ({error}); choose another folder") from error
        if found != wanted:
            raise ConfigurationError(
                f"{folder} holds another synthetic data set ({_differences(found, wanted)}); choose another folder"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is not empty and is no synthetic data set; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps(wanted, indent=2) + "\n")


def _differences(found: object, wanted: dict[str, object]) -> str:
    if not isinstance(found, dict):
        return "unknown settings"
    return ", ".join(
        f"{name} {found.get(name)!r} there, {value!r} wanted"
        for name, value in wanted.items()
        if found.get(name) != value
    )


def _draw_chunks(folder: Path, settings: SyntheticSettings, indices: list[int], workers: int) -> Iterator[int]:
    """Draw pictures and yield how many each chunk had."""
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    draw = partial(_draw_chunk, folder, settings)
    if workers <= 1 or len(chunks) < 2:
        yield from map(draw, chunks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(draw, chunks)


def _draw_chunk(folder: Path, settings: SyntheticSettings, indices: list[int]) -> int:
    cv2 = load_opencv()
    for index in indices:
        face = draw_face(face_seed(settings.split, settings.seed, index), image_size=settings.image_size)
        path = _picture_path(folder, index)
        encoded = cv2.imencode(".png", face.image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 3])[1]
        part = path.with_suffix(".part")
        part.write_bytes(encoded.tobytes())
        part.replace(path)
    return len(indices)
