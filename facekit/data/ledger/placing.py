"""Calls with their keys in a ledger, and the ledger as a pipeline's store of outcomes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from facekit.data.ledger.ledger import Entry, Ledger, now
from facekit.endpoints.outcomes import Outcome
from facekit.endpoints.requests import Reply, Request, Review
from facekit.errors import FaceKitError


@dataclass(frozen=True)
class PlacedCall:
    """A call with its key in the ledger; see ``facekit.endpoints.outcomes.Call``.

    Args:
        stage: What kind of call it is.
        record: The record's id.
        aspect: What is asked, or who is asked.
        version: The prompt version.
        request: What is asked; None where the record cannot be asked about, for the reason in ``problem``.
        review: Judges the reply.
        problem: Why there is no request.
        asked: What it is asked with, such as a digest of labels; None where its version says all.
    """

    stage: str
    record: str
    aspect: str
    version: str
    request: Request | None
    review: Callable[[Reply], Review]
    problem: str | None = None
    asked: str | None = None


def call_key(stage: str, record: str, aspect: str, version: str) -> str:
    """A short name of a call that does not show the record."""
    return hashlib.sha256("\0".join((stage, record, aspect, version)).encode()).hexdigest()[:32]


@dataclass
class _Batch:
    entries: list[Entry] = field(default_factory=list)
    is_stored: bool = False
    problem: FaceKitError | None = None


class LedgerStore:
    """Keeps the pipeline's outcomes in a ledger; see ``facekit.endpoints.outcomes.OutcomeStore``.

    What arrives in one turn of the event loop is stored in one transaction; nobody waits longer for that.

    Args:
        ledger: The ledger.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._batch = _Batch()

    async def store(self, call: PlacedCall, outcome: Outcome) -> None:
        """Return when an outcome is on disk; whoever has its next turn first stores the outcomes of all."""
        entry = Entry(call.stage, call.record, call.aspect, call.version, time=now(), asked=call.asked, **vars(outcome))
        batch = self._batch
        batch.entries.append(entry)
        await asyncio.sleep(0)
        if not batch.is_stored:
            self.flush()
        if batch.problem is not None:
            raise batch.problem

    def flush(self) -> None:
        """Store what has arrived."""
        batch, self._batch = self._batch, _Batch()
        if not batch.entries:
            return
        batch.is_stored = True
        try:
            self._ledger.store(*batch.entries)
        except FaceKitError as error:
            batch.problem = error
