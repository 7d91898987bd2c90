"""The ledger of calls to endpoints: answers, failures and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.data.ledger.ledger import FINISHED, LEDGER_NAME, OUTDATED, SUBMITTED, Entry, Ledger, now
    from facekit.data.ledger.placing import LedgerStore, PlacedCall, call_key

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ledger": ["FINISHED", "LEDGER_NAME", "OUTDATED", "SUBMITTED", "Entry", "Ledger", "now"],
        "placing": ["LedgerStore", "PlacedCall", "call_key"],
    },
)
