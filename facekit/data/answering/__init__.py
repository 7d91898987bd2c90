"""Answering all questions of a record set, or one's own about a folder of pictures: ``facekit ask --batch``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.data.answering.entries import Entries, Entry, open_entries
    from facekit.data.answering.run import AnsweringResult, answer_entries

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "entries": ["Entries", "Entry", "open_entries"],
        "run": ["AnsweringResult", "answer_entries"],
    },
)
