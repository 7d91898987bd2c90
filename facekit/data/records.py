"""Records: one face per line, exchanged by data sources, annotators, training and evaluation.

A records file is JSON lines; paths inside it are relative to the folder of the file. Reading is strict, so that a
wrong key or a missing picture is reported with its line before a run starts rather than in the middle of it.
"""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from facekit.counted import counted
from facekit.data.atomic import open_atomically
from facekit.data.confinement import Confinement, OutsideFolders
from facekit.data.labels import FaceLabels
from facekit.data.marks import find_sources, join_parts
from facekit.data.moved_paths import path_mover
from facekit.data.record_files import open_record_file
from facekit.errors import ConfigurationError, RecordError
from facekit.faces.array_files import read_array
from facekit.remote.addresses import place_of
from facekit.remote.mirror import file_is_there, require_here
from facekit.spec import closest_match

__all__ = ["FaceLabels", "FaceRecord", "Turn", "iterate_records", "read_records", "write_records"]

NUM_LANDMARKS = 68
_LANDMARK_RANGE = 2.0

Points = list[list[float]]
NonEmpty = Annotated[str, Field(min_length=1)]


class Turn(BaseModel):
    """One message of a conversation about the face.

    Attributes:
        role: Who speaks.
        content: What is said; never blank. Pictures that do not simply stand before the first question are marked
            ``<image>`` (clips ``<video>``) where they stand. A list of entries as in Hugging Face's messages
            (``{"type": "image"}``, ``{"type": "text", "text": ...}``) is read as such words.
        task: Which of ``TASKS`` (or a user's own task) the message belongs to, where that is known.
    """

    model_config = ConfigDict(extra="forbid")

    role: Literal["user", "assistant", "system"]
    content: str
    task: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _joined(cls, content: Any) -> Any:
        return join_parts(content) if isinstance(content, list) else content

    @field_validator("content")
    @classmethod
    def _not_blank(cls, content: str) -> str:
        if not content.strip():
            raise ValueError("a turn needs words")
        return content


class FaceRecord(BaseModel):
    """One face image or clip, or several pictures, with what is known and said about it.

    One of ``image``, ``images`` and ``video`` is given; none of them where the conversation is text alone.

    Attributes:
        id: Unique within its file.
        image: Path of a picture, relative to the folder of the records file; or, as for all paths, an address such as
            ``s3://bucket/faces/1.jpg``.
        images: Paths of several pictures that a conversation is about, in the order in which it shows them. They may
            stand in the conversation instead, as entries ``{"type": "image", "path": ...}``.
        video: Path of a video file, or the paths of its frames in order.
        frames: Which frames of the video file the record is about, counted from 0; ``None`` for the whole clip.
        landmarks: 68 iBUG points as ``[x, y]``, divided by the width and height of the picture; for a clip a list of
            such lists, one per frame, and for several pictures one per picture, with ``null`` where one has none; or
            the path of an ``.npy`` array of that shape, with rows of NaN for none. ``None`` where not annotated.
        labels: The annotations.
        same: Of two pictures, whether they show the same person; ``None`` where that is not recorded. It is the truth
            for face verification, on pairs that the user brings; nothing looks for a person among others.
        groups: Group names for fairness reports, such as ``{"age_group": "senior"}``.
        conversations: Questions and answers in order.
        independent_questions: Whether each question can be asked by itself, whatever stands before it. By default the
            conversation is a dialogue, whose later turns may refer to earlier ones.
        source: Where the record came from: a name, or a small table such as dataset and seed.
        split: Part of the data set it belongs to, such as ``"train"``.
        license: What the pictures may be used under: an identifier such as ``"cc-by-4.0"``, or words.
        consent: What the person in them agreed to, such as ``"research"`` or ``"none"``; ``None`` where not recorded.

    Examples:
        >>> from facekit.data import FaceLabels, FaceRecord, Turn
        >>> question = Turn(role="user", content="How old is this person?", task="age")
        >>> answer = Turn(role="assistant", content="About 34 years old.", task="age")
        >>> record = FaceRecord(
        ...     id="7", image="images/7.png", labels=FaceLabels(age=34), conversations=[question, answer]
        ... )
    """

    model_config = ConfigDict(extra="forbid")

    id: NonEmpty
    image: NonEmpty | None = None
    images: Annotated[list[NonEmpty], Field(min_length=1)] | None = None
    video: NonEmpty | Annotated[list[NonEmpty], Field(min_length=1)] | None = None
    frames: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    landmarks: Points | list[Points | None] | NonEmpty | None = None
    labels: FaceLabels = Field(default_factory=FaceLabels)
    same: bool | None = None
    groups: dict[str, str] = Field(default_factory=dict)
    conversations: list[Turn] = Field(default_factory=list)
    independent_questions: bool = False
    source: dict[str, str | int | float | bool | None] | str | None = None
    split: str | None = None
    license: NonEmpty | None = None
    consent: NonEmpty | None = None

    @model_validator(mode="before")
    @classmethod
    def _media_of_turns(cls, values: Any) -> Any:
        return _take_media_out(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _one_medium(self) -> FaceRecord:
        given = [name for name in ("image", "images", "video") if getattr(self, name) is not None]
        if len(given) > 1 or not (given or self.conversations):
            raise ValueError("give one of 'image', 'images' and 'video', or a conversation that is text alone")
        if self.frames is not None and not isinstance(self.video, str):
            raise ValueError("'frames' counts the frames of a video file; leave it out for pictures")
        if not given and self.landmarks is not None:
            raise ValueError("there are landmarks, but no picture that they belong to")
        if self.same is not None and len(self.images or ()) != 2:
            raise ValueError("'same' says whether two pictures show one person; give two 'images', or leave it out")
        if self.images is not None and isinstance(self.landmarks, list):
            found = _points_array(self.landmarks)
            count = 1 if found.ndim == 2 else len(found)
            if count != len(self.images):
                raise ValueError(
                    f"{counted(len(self.images), 'picture')} but landmarks for {count}; write null for none"
                )
        return self

    @field_validator("landmarks", mode="before")
    @classmethod
    def _normalised(cls, landmarks: Any) -> Any:
        if isinstance(landmarks, list):
            try:
                points = _points_array(landmarks)
            except (TypeError, ValueError) as error:
                raise ValueError(f"landmarks must be numbers in {NUM_LANDMARKS} pairs [x, y]") from error
            check_landmarks(points)
        return landmarks

    def media_paths(self, folder: str | Path) -> list[Path]:
        """Where the pixels are.

        Args:
            folder: Folder of the records file.

        Returns:
            One path for an image or a video file, several for a clip kept as frames and for several pictures, none for
            text alone. They need not exist.
        """
        names = self.image or self.images or self.video
        return [place_of(folder, name) for name in ([names] if isinstance(names, str) else names or [])]

    def file_names(self) -> list[str]:
        """The paths that the record names, as it names them: of its media, and of landmarks that are a file."""
        names = self.image or self.images or self.video or []
        names = [names] if isinstance(names, str) else list(names)
        return [*names, self.landmarks] if isinstance(self.landmarks, str) else names

    def rebased(self, old: str | Path, new: str | Path) -> FaceRecord:
        """The same record with paths that are relative to another folder.

        Args:
            old: The folder that the paths are relative to.
            new: The folder that they shall be relative to.

        Returns:
            A copy; absolute paths stay as they are.
        """
        return self.with_paths(path_mover(old, new))

    def with_paths(self, move: Callable[[str], str]) -> FaceRecord:
        """The same record with other paths.

        Args:
            move: Given a path, returns the one to have instead.
        """
        changes: dict[str, Any] = {}
        if self.image is not None:
            changes["image"] = move(self.image)
        if self.images is not None:
            changes["images"] = [move(name) for name in self.images]
        if self.video is not None:
            changes["video"] = move(self.video) if isinstance(self.video, str) else [move(name) for name in self.video]
        if isinstance(self.landmarks, str):
            changes["landmarks"] = move(self.landmarks)
        return self.model_copy(update=changes)

    def image_path(self, folder: str | Path) -> Path:
        """Path of the picture.

        Args:
            folder: Folder of the records file.

        Raises:
            RecordError: If the record is a video, several pictures, or text alone.
        """
        if self.image is None:
            has = "a video" if self.video else "several pictures" if self.images else "no picture"
            raise RecordError(f"record {self.id!r} has {has} and not one image; use media_paths")
        return place_of(folder, self.image)

    def landmark_array(self, folder: str | Path) -> np.ndarray | None:
        """The landmarks as numbers.

        Args:
            folder: Folder of the records file.

        Returns:
            float32 of shape (68, 2), or (T, 68, 2) for a clip or several pictures, normalised to the picture, with NaN
            for those without; ``None`` where the record has none.

        Raises:
            RecordError: If the ``.npy`` file is missing, is not an array of that shape, or is not normalised.
        """
        if self.landmarks is None:
            return None
        if not isinstance(self.landmarks, str):
            return _points_array(self.landmarks)
        path = place_of(folder, self.landmarks)
        try:
            require_here(path)
            points = read_array(path)
        except (OSError, ValueError) as error:
            raise RecordError(f"record {self.id!r}: landmarks {path} cannot be read as .npy ({error})") from error
        try:
            check_landmarks(points)
        except ValueError as error:
            raise RecordError(f"record {self.id!r}: {path}: {error}") from error
        landmarks: np.ndarray = points.astype(np.float32)
        return landmarks


def iterate_records(
    path: str | Path, *, check_files: bool = True, media_folder: str | Path | None = None
) -> Iterator[FaceRecord]:
    """Read records one at a time.

    Paths that lead out of the folder are refused; see ``facekit.data.confinement``.

    Args:
        path: A JSON-lines file; blank lines are skipped.
        check_files: Also require that the media and landmark files exist.
        media_folder: The folder that paths must not lead out of; None for that of the file.

    Yields:
        The records in the order of the file.

    Raises:
        RecordError: If the file is missing, or a line is malformed; the message has file, line number and field.
    """
    path = Path(path)
    lines = io.TextIOWrapper(open_record_file(path), encoding="utf-8")
    confinement = Confinement(path.parent if media_folder is None else media_folder, path)
    with lines:
        try:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield parse_line(line, path, number, confinement, check_files=check_files)
        except UnicodeDecodeError as error:
            raise RecordError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error


def read_records(path: str | Path, *, check_files: bool = True) -> list[FaceRecord]:
    """Read a whole records file.

    Args:
        path: A JSON-lines file; blank lines are skipped.
        check_files: Also require that the media and landmark files exist.

    Returns:
        The records in the order of the file.

    Raises:
        RecordError: If the file is missing, a line is malformed, or two records have the same id; the message has
            file, line number and field.

    Examples:
        >>> from facekit.data import read_records
        >>> records = read_records("faces/records.jsonl")
        >>> len(records), records[0].image
        (4, 'images/000000.png')
    """
    records = list(iterate_records(path, check_files=check_files))
    seen: set[str] = set()
    for record in records:
        if record.id in seen:
            raise RecordError(f"{path}: two records have the id {record.id!r}; ids must be unique in a file")
        seen.add(record.id)
    return records


def write_records(path: str | Path, records: Iterable[FaceRecord]) -> Path:
    """Write records as JSON lines; an interrupted write leaves the old file as it was.

    Where paths lead out of its folder, the folders that they lead to are noted beside it, so that it can be read here.

    Args:
        path: The file to write; its folder is made.
        records: The records, in order. Fields that are ``None`` or empty are left out.

    Returns:
        The path that was written.

    Raises:
        ConfigurationError: Path and records are exchanged.

    Examples:
        >>> from facekit.data import read_records, write_records
        >>> happy = [each for each in read_records("faces/records.jsonl") if each.labels.expression == "happiness"]
        >>> path = write_records("faces/happy.jsonl", happy)
    """
    if isinstance(records, str | Path):
        raise ConfigurationError(
            f"the path {records} comes before the records; facekit.data.formats.write_records takes them the other way"
        )
    path = Path(path)
    outside = OutsideFolders(path)
    with open_atomically(path) as lines:
        for record in records:
            outside.add(record.file_names())
            lines.write(f"{format_record(record)}\n")
    outside.write()
    return path


def format_record(record: FaceRecord) -> str:
    """One record as a JSON line without the newline; fields at their default are left out."""
    values = record.model_dump(mode="json", exclude_defaults=True)
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def read_line(line: str | bytes) -> FaceRecord:
    """A line as a record; a byte-order mark, with which Windows' programs begin a file, is passed over.

    Raises:
        ValidationError: It is no record.
    """
    plain = line.removeprefix("\ufeff") if isinstance(line, str) else line.removeprefix(codecs.BOM_UTF8)
    return FaceRecord.model_validate_json(plain)


def parse_line(line: str, path: Path, number: int, confinement: Confinement, *, check_files: bool) -> FaceRecord:
    """One line of a records file as a record.

    Args:
        line: The line.
        path: The file, for messages and for the folder that paths are relative to.
        number: The line's number, for messages.
        confinement: Where its files may be.
        check_files: Also require that the media and landmark files exist.

    Raises:
        RecordError: The line is malformed, a path leads elsewhere, or a file is not there.
    """
    try:
        record = read_line(line)
    except ValidationError as error:
        raise RecordError(f"{path}, line {number}: {describe_problem(error)}") from error
    confinement.check(record.file_names(), f"{path}, line {number}")
    if check_files:
        require_files(record, path, f"{path}, line {number}")
    return record


def require_files(record: FaceRecord, path: Path, where: str) -> None:
    """Make sure that a record's media and landmark files exist.

    Args:
        record: The record.
        path: Its records file.
        where: File and line, for the message.

    Raises:
        RecordError: One does not.
    """
    names = [*record.media_paths(path.parent)]
    if isinstance(record.landmarks, str):
        names.append(place_of(path.parent, record.landmarks))
    for name in names:
        if not file_is_there(name):
            kinds = [kind for kind in ("image", "images", "video") if getattr(record, kind) is not None]
            field = "landmarks" if name.suffix == ".npy" else kinds[0]
            raise RecordError(f"{where}, field '{field}': no file {name}; paths are relative to the records file")


def _points_array(landmarks: list[Any]) -> np.ndarray:
    """Landmarks as numbers, NaN for a picture or frame without."""
    absent = np.full((NUM_LANDMARKS, 2), np.nan, dtype=np.float32)
    return np.asarray([absent if each is None else each for each in landmarks], dtype=np.float32)


def _take_media_out(values: dict[str, Any]) -> dict[str, Any]:
    """A record's values with the paths that stand in its turns as its media."""
    turns = values.get("conversations")
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    sources = [source for content in contents if isinstance(content, list) for source in find_sources(content)]
    named = [path for _, path in sources if path is not None]
    if not named:
        return values
    kinds = {kind for kind, _ in sources}
    given = next((name for name in ("image", "images", "video") if values.get(name) is not None), None)
    if given is not None or len(named) < len(sources):
        raise ValueError("the pictures are named in the turns or beside them, each of them in one place")
    if "video" in kinds:
        if len(named) > 1:
            raise ValueError("a record has one clip, or pictures")
        return {**values, "video": named[0]}
    return {**values, **({"image": named[0]} if len(named) == 1 else {"images": named})}


def describe_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a record, with its field and the value that was found."""
    problem = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"there is no field '{field}'{_hint_at_field(problem['loc'])}"
    shown = repr(problem.get("input"))
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    where = f"field '{field}': " if field else ""
    return f"{where}{problem['msg'].removeprefix('Value error, ')} (got {shown})"


def _hint_at_field(place: tuple[int | str, ...]) -> str:
    """The field that was meant, where it stands: of a label beside ``labels``, ``labels.age``."""
    *above, name = map(str, place)
    here = FaceLabels if above[:1] == ["labels"] else Turn if above[:1] == ["conversations"] else FaceRecord
    fields = {each: each for each in here.model_fields}
    if here is FaceRecord:
        fields |= {each: f"labels.{each}" for each in FaceLabels.model_fields}
    meant = closest_match(name, fields)
    return "" if meant is None else f"; did you mean '{fields[meant]}'?"


def check_landmarks(points: np.ndarray) -> None:
    """Raise ``ValueError`` unless landmarks are (68, 2) or (T, 68, 2), finite, and divided by the picture's size."""
    if points.ndim not in (2, 3) or points.shape[-2:] != (NUM_LANDMARKS, 2) or len(points) == 0:
        shape = tuple(points.shape)
        raise ValueError(f"landmarks must be {NUM_LANDMARKS} pairs [x, y], or a list of these; the shape is {shape}")
    is_numeric = points.dtype.kind in "fiu"  # not all that NumPy calls a number: times and complex ones are, too
    seen = points[~np.isnan(points).all(axis=(1, 2))] if is_numeric and points.ndim == 3 else points
    if not is_numeric or not len(seen) or not np.isfinite(seen).all():
        raise ValueError(
            "landmarks must be finite numbers; leave the field out where there are none, and write NaN for whole "
            "frames of a clip in which the face is not seen"
        )
    largest = float(np.abs(seen).max())
    if largest > _LANDMARK_RANGE:
        raise ValueError(f"landmarks must be divided by the picture's width and height, but {largest:g} occurs")
