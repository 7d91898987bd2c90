"""False alarms, power and coverage of the fairness tests, over simulated answers of known fairness.

Subjects differ in how well a model reads them, so that pictures of one person are alike. Groups lie over them in four
designs: ``constant`` (each subject has one), ``ordered`` (every subject's pictures pass from one to the other in the
order of the file), ``random`` (each picture has its own) and ``ageing`` (some subjects pass, the others keep one).
Accuracy and error rates come from verdicts on manipulation, errors from estimated ages. Without a gap, a test that
rejects is a false alarm; with one it has power; intervals are of the gap between the two groups.

    python -m benchmarks.fairness_simulation             # about three minutes on one core
    python -m benchmarks.fairness_simulation --quick     # few repetitions, to see that it runs
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.harness import environment, results_path
from facekit.data.records import FaceRecord
from facekit.evaluation import AGE, MANIPULATION, GroupComparison, Task
from facekit.evaluation.fairness.disparities import compare_groups
from facekit.evaluation.fairness.groups import ScoredRows

DESIGNS = ("constant", "ordered", "random", "ageing")
LEVEL = 0.05
GROUPS = ("adult", "child")
SUBJECTS, PICTURES = 80, 5
SUBJECT_SPREAD = 0.1
"""Standard deviation of the subjects' rates of right answers, and, times 40, of their mean errors in years."""

RIGHT, GAP = 0.75, 0.15
YEARS, YEARS_GAP = 6.0, 2.0


@dataclass(frozen=True)
class Sample:
    """One simulated evaluation.

    Args:
        rows: The answers.
        gap: What the groups truly differ in: accuracy of the first minus that of the second, or years.
    """

    rows: ScoredRows
    gap: float


def lay_groups(design: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Subjects and groups of the pictures, both ``(n,)``."""
    subjects = np.repeat(np.arange(SUBJECTS), PICTURES)
    position = np.tile(np.arange(PICTURES), SUBJECTS)
    kept = rng.integers(2, size=SUBJECTS)[subjects]
    if design == "constant":
        return subjects, kept
    if design == "random":
        return subjects, rng.integers(2, size=len(subjects))
    passes = rng.integers(1, PICTURES, size=SUBJECTS)[subjects] if design == "ageing" else (PICTURES + 1) // 2
    passing = (position >= passes).astype(int)
    if design == "ordered":
        return subjects, passing
    return subjects, np.where((rng.random(SUBJECTS) < 0.5)[subjects], passing, kept)


@cache
def face_of(subject: int, code: int) -> FaceRecord:
    """A record of a subject as one of a group; its pictures need not be told apart."""
    return FaceRecord(
        id=f"{subject}-{code}", image="a.png", groups={"age_group": GROUPS[code]}, source={"person": str(subject)}
    )


def draw(task: Task, design: str, rng: np.random.Generator, *, is_fair: bool) -> Sample:
    """Answers of a model that is fair, or errs more about the second group."""
    subjects, codes = lay_groups(design, rng)
    effect = rng.normal(0, SUBJECT_SPREAD, SUBJECTS)[subjects]
    records = [face_of(int(subject), int(code)) for subject, code in zip(subjects, codes, strict=True)]
    if task is AGE:
        gap = 0.0 if is_fair else YEARS_GAP
        spread = np.maximum(YEARS + gap * codes + 40 * effect, 0.5)
        errors = spread * rng.exponential(1.0, len(subjects)) * rng.choice([-1, 1], len(subjects))
        truths = np.full(len(subjects), 500.0)
        return Sample(ScoredRows(records, truths.tolist(), (truths + errors).tolist()), -gap)
    gap = 0.0 if is_fair else GAP
    right = rng.random(len(subjects)) < np.clip(RIGHT - gap * codes + effect, 0, 1)
    verdicts = rng.random(len(subjects)) < 0.5
    return Sample(ScoredRows(records, verdicts.tolist(), (verdicts == right).tolist()), gap)


@dataclass
class Outcomes:
    """By measure, which simulated evaluations a test rejects, and whose interval holds the true gap."""

    rejected: dict[str, list[bool]] = field(default_factory=dict)
    held: dict[str, list[bool]] = field(default_factory=dict)


def simulate(
    design: str, task: Task, repetitions: int, *, is_fair: bool, resamples: int, permutations: int
) -> Outcomes:
    """Compare the groups of many simulated evaluations."""
    outcomes = Outcomes()
    for seed in range(repetitions):
        rng = np.random.default_rng((seed, DESIGNS.index(design), is_fair, task is AGE))
        sample = draw(task, design, rng, is_fair=is_fair)
        (found,) = compare_groups(task, sample.rows, resamples=resamples, permutations=permutations, seed=seed)
        for name, p_value, holds in measures(task, found, sample.gap):
            outcomes.rejected.setdefault(name, []).append(p_value <= LEVEL)
            if holds is not None:
                outcomes.held.setdefault(name, []).append(holds)
    return outcomes


def measures(task: Task, found: GroupComparison, gap: float) -> Iterator[tuple[str, float, bool | None]]:
    """What was measured, its p-value, and whether its interval holds the true gap."""
    sign = 1.0 if found.worst == GROUPS[1] else -1.0
    held = (
        None if found.gap_low is None or found.gap_high is None else found.gap_low <= sign * abs(gap) <= found.gap_high
    )
    yield ("errors" if task is AGE else "accuracy"), found.p_value or 1.0, held
    if found.rates:
        yield "odds", min(rate.p_value or 1.0 for rate in found.rates), None
    for rate in found.rates:
        sign = 1.0 if rate.worse == GROUPS[1] else -1.0
        if rate.low is not None and rate.high is not None:
            yield rate.rate, rate.p_value or 1.0, rate.low <= sign * abs(gap) <= rate.high


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--permutations", type=int, default=399)
    parser.add_argument("--resamples", type=int, default=600)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args(arguments)
    repetitions = 20 if options.quick else options.repetitions
    started, processor_started = time.perf_counter(), time.process_time()
    rows = []
    for design in DESIGNS:
        for task in (MANIPULATION, AGE):
            drawn = {"permutations": options.permutations, "resamples": options.resamples}
            fair = simulate(design, task, repetitions, is_fair=True, **drawn)
            unfair = simulate(design, task, max(1, repetitions // 3), is_fair=False, **drawn)
            rows += [
                {
                    "design": design,
                    "measure": name,
                    "false_alarms": float(np.mean(fair.rejected[name])),
                    "power": float(np.mean(unfair.rejected[name])),
                    "coverage": float(np.mean(fair.held[name] + unfair.held[name])) if name in fair.held else None,
                }
                for name in fair.rejected
            ]
    seconds, processor = time.perf_counter() - started, time.process_time() - processor_started
    table = Table(title=f"level {LEVEL:.0%}, {SUBJECTS} subjects with {PICTURES} pictures, {repetitions} repetitions")
    for name in ("design", "measure", "false alarms", "power", "coverage of intervals"):
        table.add_column(name)
    for row in rows:
        coverage = "" if row["coverage"] is None else f"{row['coverage']:.1%}"
        table.add_row(row["design"], row["measure"], f"{row['false_alarms']:.1%}", f"{row['power']:.1%}", coverage)
    Console().print(table)
    Console().print(f"{seconds:.0f} s, of them {processor:.0f} s of processor time")
    if options.output is not None or not options.quick:
        device = torch.device("cpu")
        path = options.output or results_path("fairness_simulation", device, "json")
        settings = {
            "subjects": SUBJECTS,
            "pictures": PICTURES,
            "repetitions": repetitions,
            "gap": GAP,
            "gap_in_years": YEARS_GAP,
            "permutations": options.permutations,
            "resamples": options.resamples,
        }
        document = {
            "environment": environment(device),
            "settings": settings,
            "seconds": seconds,
            "processor_seconds": processor,
            "results": rows,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
