"""Export of a run's records to the formats of other tools, with a dataset card.

Formats that cannot be written are refused before the first call, because answers cost money; the export of an earlier
run is replaced as a whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from facekit import __version__
from facekit.counted import counted
from facekit.data.confinement import move_noted_folders
from facekit.data.counting import RecordCounts
from facekit.data.formats import CardDetails, check_card_place, detect_format, require_format, write_card, write_records
from facekit.data.records import iterate_records
from facekit.datagen.recipe import Recipe
from facekit.errors import ConfigurationError
from facekit.spec import closest_match_hint

EXPORTS = {"llava": "llava.json", "sharegpt": "sharegpt.json", "datasets": "datasets", "webdataset": "webdataset"}
"""Format to the name of the file or folder that is written."""


@dataclass(frozen=True)
class Provenance:
    """How a run's answers came about.

    Args:
        recipe: The recipe.
        annotators: Number of answers by model.
        judge: The model that rated them; None where none did, or an earlier run's.
        threshold: Lowest overall rating that was kept; None where answers were not rated.
        dropped: Number of answers and calls that were left out, by reason.
        source: Name of the records file.
    """

    recipe: Recipe
    annotators: Mapping[str, int]
    judge: str | None
    threshold: float | None
    dropped: Mapping[str, int]
    source: str

    def steps(self) -> list[str]:
        """One sentence for each step, for the card."""
        recipe = self.recipe
        versions = ", ".join(f"{aspect} {version}" for aspect, version in recipe.prompt_versions().items())
        models = (
            ", ".join(f"{model} ({counted(count, 'answer')})" for model, count in self.annotators.items()) or "nobody"
        )
        steps = [
            f"Faces: {self.source}.",
            f"Questions and prompts: facekit {__version__}, recipe {recipe.name}. {recipe.summary}".rstrip(),
            f"Prompt versions: {versions}.",
            f"Annotator: {models}. It was told the known labels; the stored questions do not hold them.",
        ]
        if self.threshold is None:
            steps.append("The answers were not rated.")
        else:
            judge = f" by {self.judge}" if self.judge else ""
            steps.append(f"The answers were rated{judge} from 1 to 10; those below {self.threshold:g} were left out.")
        steps += [f"Left out: {reason}, {counted(count, 'time')}." for reason, count in self.dropped.items()]
        return steps


def check_exports(folder: Path, formats: Sequence[str]) -> None:
    """Make sure that the formats and the card can be written.

    Args:
        folder: The output folder.
        formats: Of ``EXPORTS``.

    Raises:
        ConfigurationError: If there is no such format, or something else is where an export or the card would be.
        MissingExtraError: If a format needs a package that is not installed.
    """
    for format in formats:
        if format not in EXPORTS:
            raise ConfigurationError(
                f"datagen writes {', '.join(EXPORTS)} beside its records, not '{format}'"
                f"{closest_match_hint(format, EXPORTS)}"
            )
        require_format(format)
        path = folder / EXPORTS[format]
        if path.is_dir() and any(path.iterdir()) and detect_format(path) != format:
            raise ConfigurationError(f"{path} is in the way of the export; move it, or choose another folder")
    check_card_place(folder)


def write_exports(records: Path, formats: Sequence[str]) -> dict[str, Path]:
    """Write a run's records in further formats, beside them.

    Args:
        records: The records file.
        formats: Of ``EXPORTS``.

    Returns:
        The path that was written, by format.
    """
    written = {}
    for format in formats:
        path = records.parent / EXPORTS[format]
        if path.suffix:
            write_records(iterate_records(records, check_files=False), path, format)
        else:
            _replace_folder(records, path, format)
        written[format] = path
    return written


def _replace_folder(records: Path, path: Path, format: str) -> None:
    fresh, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    write_records(iterate_records(records, check_files=False), fresh, format)
    if path.exists():
        path.replace(old)
    fresh.replace(path)
    move_noted_folders(fresh, path)
    shutil.rmtree(old, ignore_errors=True)


def write_provenance_card(records: Path, provenance: Provenance) -> Path:
    """Write the dataset card beside a run's records.

    Args:
        records: The records file.
        provenance: How they came about.
    """
    counts = RecordCounts()
    for record in iterate_records(records, check_files=False):
        counts.add(record)
    details = CardDetails(
        title=records.parent.resolve().name,
        description="Pictures of faces with questions about them and a model's answers.",
        how_made=provenance.steps(),
        licence_notes=["Answers of a hosted model fall under the terms of its provider."],
    )
    return write_card(records.parent, counts, details)
