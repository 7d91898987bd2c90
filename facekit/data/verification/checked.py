"""What was checked of one file or folder, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Checked"]

PROBLEMS_KEPT = 20


@dataclass
class Checked:
    """The report on one file or folder.

    Attributes:
        path: What was looked at.
        kind: Such as ``records`` or ``shards``.
        unit: What is counted.
        count: How many of them were looked at.
        faults: How many things are wrong.
        problems: The first ``PROBLEMS_KEPT`` of them, a sentence each.
    """

    path: Path
    kind: str
    unit: str
    count: int = 0
    faults: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, problem: object) -> None:
        """Note something that is wrong."""
        self.faults += 1
        if len(self.problems) < PROBLEMS_KEPT:
            self.problems.append(" ".join(str(problem).split()))
