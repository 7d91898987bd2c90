"""Records in the formats of other tools, written and read back; names load when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "FORMATS": "exchange",
    "CardDetails": "card",
    "base_folder": "exchange",
    "detect_format": "exchange",
    "read_records": "exchange",
    "verify_shards": "shards",
    "write_card": "card",
    "write_records": "exchange",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
