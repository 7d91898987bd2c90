"""What makes a run the same run: facts by name, kept beside its results and compared when it is resumed.

A run that goes on with other records, settings or another model would finish without an error, as neither run. Training
and evaluation compare what they are by this one rule and say in the same words what differs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from facekit.data.atomic import write_text_atomically
from facekit.data.dataset import RecordSet
from facekit.data.lazy_records import content_of
from facekit.errors import CheckpointError


class Described(Protocol):
    """Records that a run does not hold, which say themselves what they are."""

    def describe(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class RunIdentity:
    """The facts that identify a run.

    Args:
        facts: JSON values by name: its settings, records, model.
    """

    facts: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            CheckpointError: It is missing or damaged.
        """
        try:
            return cls(dict(json.loads(path.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} of the run to be resumed cannot be read ({error}); start anew") from error

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_text_atomically(path, json.dumps(dict(self.facts), indent=2) + "\n")

    def differences(self, before: Self, defaults: Mapping[str, Any] | None = None) -> list[str]:
        """Sentences that say what was otherwise in the run to be resumed; none where it is the same.

        Args:
            before: The run to be resumed.
            defaults: What facts had in it that it does not name, because an earlier version wrote it.
        """
        return list_differences({**(defaults or {}), **before.facts}, self.facts)


def list_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Sentences such as ``"seed was 0 and is 1"``, one for each name of ``now`` whose value was another.

    Values are compared as JSON has them, so that a tuple and a list are the same.
    """
    was, is_now = (json.loads(json.dumps(dict(values))) for values in (before, now))
    return [
        f"{name} was {was.get(name)!r} and is {value!r}" for name, value in is_now.items() if was.get(name) != value
    ]


def describe_items(lines: Iterable[str]) -> str:
    """Number and hash of texts, in their order."""
    digest, count = hashlib.sha256(), 0
    for line in lines:
        digest.update(line.encode() + b"\n")
        count += 1
    return _describe(count, digest.hexdigest())


def describe_records(records: RecordSet | Described) -> str:
    """Number and hash of records; the pictures that they name are not read for it.

    Records that stay in their file are not read either: the hash of all of them is in its index.
    """
    if not isinstance(records, RecordSet):
        return records.describe()
    described = _describe(len(records), content_of(records.records))
    if records.mixture is None or records.mixture.weights is None:
        return described
    shares = ", ".join(f"{share.examples} of {share.records}" for share in records.mixture.shares())
    return f"{described}, by weights {shares}"


def _describe(count: int, digest: str) -> str:
    return f"{count} with the hash {digest[:16]}"
