"""Telling that records have no landmarks where a model reads them: pictures of records are never looked for faces in.

Apart, because training, evaluation and batches of questions tell it alike.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import islice

from torch import nn

from facekit.counted import counted
from facekit.data.records import FaceRecord

__all__ = ["tell_absent_landmarks"]

_LOOKED_AT = 1000

logger = logging.getLogger(__name__)


def tell_absent_landmarks(model: nn.Module, records: Iterable[FaceRecord]) -> None:
    """Warn where a model reads landmarks and none of the first records has any.

    Args:
        model: A composed model, or a base in its own class.
        records: What it is to see; the first ``_LOOKED_AT`` are looked at, and those of text alone are passed over.
    """
    if not _reads_landmarks(model):
        return
    looked_at = list(islice(records, _LOOKED_AT))
    seen = [record.landmarks is not None for record in looked_at if record.file_names()]
    if seen and not any(seen):
        first = "the first " if len(looked_at) == _LOOKED_AT else ""
        logger.warning(
            "none of %s%s has landmarks, which the connector reads, and pictures of records are taken as they are; "
            "'facekit preprocess' finds faces, crops to them and writes their landmarks",
            first,
            counted(len(seen), "record"),
        )


def _reads_landmarks(model: nn.Module) -> bool:
    connector = getattr(model, "connector", None)
    parts = connector.values() if isinstance(connector, nn.ModuleDict) else [connector]
    return any(getattr(part, "uses_landmarks", False) for part in parts)
