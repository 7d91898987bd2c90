"""``plan_preprocessing``: what a run would do; no picture is opened, nothing written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from facekit.data.convert import describe_nothing, open_records
from facekit.data.preprocessing.pipeline import check_output
from facekit.data.preprocessing.settings import PreprocessSettings
from facekit.data.preprocessing.shards import cut_units, is_noted, require_webdataset
from facekit.errors import RecordError
from facekit.faces.landmarker import load_landmarker
from facekit.remote.uploads import output_place


@dataclass(frozen=True)
class PreprocessPlan:
    """What a run would do.

    Args:
        output: The folder of the shards.
        records: Records of the input.
        media: Records by what they have: ``image``, ``frames``, ``video`` or ``nothing``.
        shards: Shards that would be there.
        noted: Of them, those that an earlier run of the same records and settings noted as done. Whether their
            pictures have changed since, and whether the shards are whole, is only looked at by a run.
        settings: What would be done to a record.
    """

    output: Path
    records: int
    media: dict[str, int]
    shards: int
    noted: int
    settings: PreprocessSettings


def plan_preprocessing(
    origin: str,
    output_dir: str | Path,
    settings: PreprocessSettings | None = None,
    *,
    split: str | None = None,
    media_folder: str | Path | None = None,
) -> PreprocessPlan:
    """Say what ``preprocess`` would do.

    Args:
        origin: A file of records in any format, or a dataset as ``name:root``.
        output_dir: The folder that would be written.
        settings: What would be done to a record.
        split: Only the records of one split.
        media_folder: The folder that the paths in a file are relative to.

    Raises:
        RecordError: The input is not as expected, or has no record.
        UnknownPartError: There is no such dataset or landmarker.
        InvalidSpecError: The landmarker's argument or an option cannot be used.
        MissingExtraError: A package is not installed.
        ConfigurationError: The folder holds something else.
    """
    settings = settings or PreprocessSettings()
    output = output_place(output_dir).expanduser().resolve()
    check_output(output)
    require_webdataset()
    _ = load_landmarker(settings.landmarker)
    records, _, summary = open_records(origin, split=split, media_folder=media_folder)
    media: Counter[str] = Counter()
    shards = noted = 0
    for unit in cut_units(records, settings.records_per_shard):
        shards += 1
        noted += is_noted(unit, output, settings)
        media.update(_medium(record.image, record.video) for record in unit.records)
    if not shards:
        raise RecordError(describe_nothing(origin, split, summary))
    return PreprocessPlan(output, media.total(), dict(media), shards, noted, settings)


def _medium(image: object, video: object) -> str:
    if image is not None:
        return "image"
    if video is None:
        return "nothing"
    return "video" if isinstance(video, str) else "frames"
