"""Records in the formats of other tools, written and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.data.formats.card import CardDetails, check_card_place, write_card
    from facekit.data.formats.exchange import (
        FORMATS,
        base_folder,
        detect_format,
        read_records,
        require_format,
        write_records,
    )
    from facekit.data.formats.shards import verify_shards

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "card": ["CardDetails", "check_card_place", "write_card"],
        "exchange": ["FORMATS", "base_folder", "detect_format", "read_records", "require_format", "write_records"],
        "shards": ["verify_shards"],
    },
)
