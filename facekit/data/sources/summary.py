"""The summary of a source: records read and samples left out, filled while records pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from facekit.counted import counted
from facekit.data.counting import RecordCounts

__all__ = ["Problems", "SourceSummary"]

EXAMPLES_KEPT = 10
_SHOWN_PER_LINE = 12


@dataclass
class Problems:
    """How often something was wrong, and the first few cases.

    Attributes:
        count: All cases.
        examples: The first ``EXAMPLES_KEPT`` of them.
    """

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: object) -> None:
        """Count one case."""
        self.count += 1
        if len(self.examples) < EXAMPLES_KEPT:
            self.examples.append("".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in str(example)))


@dataclass
class SourceSummary:
    """The report on one reading of a source; complete once the last record has been read.

    Attributes:
        name: The source's name in the registry.
        root: The folder or file that was read.
        counts: The records that were given out.
        missing: Files that the labels name and that are not there.
        broken: Pictures that cannot be opened (looked for on demand only) and landmark files that cannot be used.
        unmapped: Labels that have no counterpart here, such as AffectNet's "uncertain", with how often each occurred.
            Where nothing else is known about a face, its record is left out.
        repeated: Entries that name a file a second time.
        found: Files under the root, where the source looks at all of them; None where labels name the files.
        other: Files that are no pictures or videos, by suffix.
        failed: Files and folders that cannot be read under their name, by reason.
        linked: Links to what is read under another name.
        other_columns: Columns of a user's table that are kept in ``FaceRecord.source`` and mean nothing here.
    """

    name: str
    root: Path
    counts: RecordCounts = field(default_factory=RecordCounts)
    missing: Problems = field(default_factory=Problems)
    broken: Problems = field(default_factory=Problems)
    unmapped: Counter[str] = field(default_factory=Counter)
    repeated: Problems = field(default_factory=Problems)
    found: int | None = None
    other: Counter[str] = field(default_factory=Counter)
    failed: dict[str, Problems] = field(default_factory=dict)
    linked: Problems = field(default_factory=Problems)
    other_columns: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Files that should have become records and did not: missing, broken or failed."""
        return self.missing.count + self.broken.count + sum(problems.count for problems in self.failed.values())

    def count_outcomes(self) -> dict[str, int]:
        """In what count each entry is, each in one; where all files under a root were looked at, their sum is them."""
        counts = {
            "kept": self.counts.records,
            **{f"failed: {reason}": problems.count for reason, problems in self.failed.items()},
            "missing": self.missing.count,
            "broken": self.broken.count,
            "repeated": self.repeated.count,
            "linked": self.linked.count,
            **{f"unmapped: {name}": number for name, number in self.unmapped.items()},
            **{f"no picture or video: {kind}": number for kind, number in self.other.items()},
        }
        return {name: number for name, number in counts.items() if number or name == "kept"}

    def reset(self) -> None:
        """Forget an earlier reading."""
        fresh = SourceSummary(self.name, self.root)
        self.__dict__.update(fresh.__dict__)

    def __str__(self) -> str:
        counts = self.counts
        kinds = " and ".join(_count_of(kind, number) for kind, number in sorted(counts.media.items()))
        lines = [f"{self.name}: {counted(counts.records, 'record')} ({kinds or 'none'}) from {self.root}"]
        tables = [("split", counts.splits), ("labelled for", counts.tasks), ("expression", counts.expressions)]
        tables += sorted(counts.groups.items())
        lines += [f"  {title}: {_shares(table)}" for title, table in tables if table]
        named = [("missing", self.missing), ("broken", self.broken), ("repeated", self.repeated)]
        named += [(f"failed: {reason}", problems) for reason, problems in self.failed.items()]
        for title, problems in [*named, ("read under another name", self.linked)]:
            if problems.count:
                rest = ", …" if problems.count > len(problems.examples) else ""
                lines.append(f"  {title}: {counted(problems.count, 'file')}: {', '.join(problems.examples)}{rest}")
        if self.unmapped:
            lines.append(f"  unmapped labels: {_shares(self.unmapped)}")
        if self.other:
            lines.append(f"  no picture or video: {counted(self.other.total(), 'file')}: {_shares(self.other)}")
        if self.other_columns:
            lines.append(f"  columns that are no labels here, kept in source: {', '.join(self.other_columns)}")
        if self.found is not None:
            lines.append(f"  files under the root: {self.found:,}, each in one of these counts")
        return "\n".join(lines)


def _shares(counts: Counter[str]) -> str:
    shown = [f"{name} {number:,}" for name, number in counts.most_common(_SHOWN_PER_LINE)]
    return ", ".join([*shown, "…"] if len(counts) > _SHOWN_PER_LINE else shown)


def _count_of(kind: str, number: int) -> str:
    """How many media there are, in words."""
    if kind == "images":
        return f"{counted(number, 'set')} of images"
    return f"{number:,} {kind}{'s' * (number != 1)}"
