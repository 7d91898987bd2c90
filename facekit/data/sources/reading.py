"""Opening a source by its name in the registry, and reading it with one call."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facekit.catalog import current_registry
from facekit.data.records import FaceRecord
from facekit.data.sources.base import Source
from facekit.data.sources.summary import SourceSummary
from facekit.errors import ConfigurationError

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
        ConfigurationError: The part is not a source, or it has no such option or split.
        RecordError: The root is not what the dataset expects.
    """
    kind = current_registry().load("dataset", name)
    if not (isinstance(kind, type) and issubclass(kind, Source)):
        raise ConfigurationError(f"'{name}' makes a dataset and reads none; name one that is distributed as files")
    known = _options_of(kind)
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigurationError(f"{name} has no option '{unknown[0]}'; it has {', '.join(sorted(known))}")
    return kind(root, **options)


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
        ConfigurationError: No such option or split.
        RecordError: The root is not what the dataset expects; while reading, a label is malformed or out of its range.
    """
    source = open_source(name, root, split=split, check_images=check_images, **options)
    return iter(source), source.summary


def _options_of(kind: type[Source]) -> set[str]:
    names: set[str] = set()
    for each in kind.__mro__:
        if "__init__" in vars(each) and each is not object:
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            names |= {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    return names
