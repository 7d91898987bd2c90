"""Records, conversations and data sources."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.data.collation import FaceCollator
    from facekit.data.counting import RecordCounts
    from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
    from facekit.data.labels import (
        ACTION_UNITS,
        EXPRESSIONS,
        SYNTHETIC_ATTRIBUTES,
        TASKS,
        FaceLabels,
        age_group_of,
    )
    from facekit.data.mixing import DataSource, mix_records
    from facekit.data.records import FaceRecord, Turn, iterate_records, read_records, write_records
    from facekit.data.sources import SourceSummary, read_source
    from facekit.data.streaming import ShardLoader, ShardStream, StreamState
    from facekit.data.templates import canonical_question, phrase_answer, phrase_question, write_conversation

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "collation": ["FaceCollator"],
        "counting": ["RecordCounts"],
        "dataset": ["DatasetOptions", "FaceDataset", "RecordSet"],
        "labels": ["ACTION_UNITS", "EXPRESSIONS", "SYNTHETIC_ATTRIBUTES", "TASKS", "FaceLabels", "age_group_of"],
        "mixing": ["DataSource", "mix_records"],
        "records": ["FaceRecord", "Turn", "iterate_records", "read_records", "write_records"],
        "sources": ["SourceSummary", "read_source"],
        "streaming": ["ShardLoader", "ShardStream", "StreamState"],
        "templates": ["canonical_question", "phrase_answer", "phrase_question", "write_conversation"],
    },
)
