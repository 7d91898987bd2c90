"""The summary of a source: records read and samples left out, filled while records pass."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

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
            self.examples.append(str(example))


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
    """

    name: str
    root: Path
    counts: RecordCounts = field(default_factory=RecordCounts)
    missing: Problems = field(default_factory=Problems)
    broken: Problems = field(default_factory=Problems)
    unmapped: Counter[str] = field(default_factory=Counter)
    repeated: Problems = field(default_factory=Problems)

    def reset(self) -> None:
        """Forget an earlier reading."""
        fresh = SourceSummary(self.name, self.root)
        self.__dict__.update(fresh.__dict__)

    def __str__(self) -> str:
        counts = self.counts
        kinds = " and ".join(f"{number:,} {kind}{'s' * (number != 1)}" for kind, number in sorted(counts.media.items()))
        lines = [f"{self.name}: {counts.records:,} records ({kinds or 'none'}) from {self.root}"]
        tables = [("split", counts.splits), ("labelled for", counts.tasks), ("expression", counts.expressions)]
        tables += sorted(counts.groups.items())
        lines += [f"  {title}: {_shares(table)}" for title, table in tables if table]
        for title, problems in (("missing", self.missing), ("broken", self.broken), ("repeated", self.repeated)):
            if problems.count:
                rest = ", …" if problems.count > len(problems.examples) else ""
                lines.append(f"  {title}: {problems.count:,} files: {', '.join(problems.examples)}{rest}")
        if self.unmapped:
            lines.append(f"  unmapped labels: {_shares(self.unmapped)}")
        return "\n".join(lines)


def _shares(counts: Counter[str]) -> str:
    shown = [f"{name} {number:,}" for name, number in counts.most_common(_SHOWN_PER_LINE)]
    return ", ".join([*shown, "…"] if len(counts) > _SHOWN_PER_LINE else shown)
