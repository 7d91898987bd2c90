"""Opening and reading a data source by its registered name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facekit.catalog import current_registry
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source
from facekit.data.sources.summary import SourceSummary
from facekit.errors import ConfigurationError
from facekit.spec import option_types, read_options

__all__ = ["open_source", "read_source"]


def open_source(name: str, root: str | Path, **options: Any) -> Source:
    """Find a dataset's files.

    Args:
        name: A dataset's name, as ``facekit list datasets`` shows it.
        root: The folder (or, for finished corpora, the file) that holds it.
        **options: ``split``, ``check_images``, and the dataset's own, such as ``fold``.

    Returns:
        The source, ready to be iterated.

    Raises:
        UnknownPartError: No dataset of that name; the message has the closest one.
        InvalidSpecError: It has no such option, or an option cannot be read.
        ConfigurationError: The part is not a source, or it has no such split.
        RecordError: The root is not what the dataset expects.
    """
    kind = current_registry().load("dataset", name)
    if not (isinstance(kind, type) and issubclass(kind, Source)):
        raise ConfigurationError(f"'{name}' makes a dataset and reads none; name one that is distributed as files")
    return kind(root, **read_options(f"dataset '{name}'", options, option_types(kind)))


def read_source(
    name: str, root: str | Path, *, split: str | None = None, check_images: bool = False, **options: Any
) -> tuple[Iterator[FaceRecord], SourceSummary]:
    """Read a dataset as a stream of records.

    Args:
        name: A dataset's name, as ``facekit list datasets`` shows it.
        root: The folder (or, for finished corpora, the file) that holds it.
        split: One split; None for all that are there.
        check_images: Open every picture and leave out those that are broken.
        **options: The dataset's own options, such as ``fold``.

    Returns:
        The records, with paths relative to the root, and the summary, which fills while they are read.

    Raises:
        UnknownPartError: No dataset of that name; the message has the closest one.
        InvalidSpecError: It has no such option, or an option cannot be read.
        ConfigurationError: No such split.
        RecordError: The root is not what the dataset expects; while reading, a label is malformed or out of its range.
    """
    source = open_source(name, root, split=split, check_images=check_images, **options)
    return iter(source), source.summary
