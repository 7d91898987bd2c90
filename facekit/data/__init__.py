"""Records, conversations and data sources; names load when they are first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "counting": ["RecordCounts"],
        "mixing": ["DataSource", "mix_records"],
        "labels": ["ACTION_UNITS", "EXPRESSIONS", "FaceLabels", "SYNTHETIC_ATTRIBUTES", "TASKS"],
        "records": ["FaceRecord", "Turn", "iterate_records", "read_records", "write_records"],
        "sources": ["SourceSummary", "read_source"],
        "templates": ["canonical_question", "phrase_answer", "phrase_question", "write_conversation"],
    },
)
