"""Every benchmark by name: one way to run it, tables of its result, and one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from facekit.errors import ConfigurationError, UnknownPartError
from facekit.evaluation.benchmarks.face_human_bench import run_face_human_bench
from facekit.evaluation.benchmarks.facebench import run_facebench
from facekit.evaluation.benchmarks.facexbench import run_facexbench
from facekit.evaluation.benchmarks.mer_unibench import run_mer_unibench
from facekit.evaluation.biometrics.attack_sets import ATTACK_SETS
from facekit.evaluation.biometrics.attacks import detect_attacks
from facekit.evaluation.biometrics.pair_lists import PAIR_LISTS
from facekit.evaluation.biometrics.verification import verify_pairs
from facekit.evaluation.report.benchmark_page import write_benchmark_page
from facekit.evaluation.report.benchmark_tables import face_human_bench_tables, facebench_tables, mer_unibench_tables
from facekit.evaluation.report.biometric_tables import attack_tables, verification_tables
from facekit.evaluation.report.tables import facexbench_tables
from facekit.evaluation.tasks.questions import ModelUnderTest
from facekit.reports import ProgressListener


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Args:
        title: Its name for people.
        run: Called with model, folder and, by name, those of the other options that it takes.
        tables: Of its result.
        options: Names of the options that it takes beside those of every benchmark: ``output_dir``, ``resume``,
            ``limit``, ``max_new_tokens`` and ``on_progress``.
    """

    title: str
    run: Callable[..., Any]
    tables: Callable[[Any], list[Table]]
    options: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class BenchmarkOutcome:
    """A benchmark's result.

    Args:
        result: The numbers, a data class of the benchmark.
        tables: The same as tables.
        page: The page that was written; None where nothing was.
    """

    result: Any
    tables: tuple[Table, ...]
    page: Path | None


def _verification(name: str, title: str) -> Benchmark:
    return Benchmark(title, partial(_named, verify_pairs, name), verification_tables, ("scoring",))


def _attacks(name: str, title: str) -> Benchmark:
    return Benchmark(title, partial(_named, detect_attacks, name), attack_tables, ("scoring",))


def _named(run: Callable[..., Any], name: str, model: ModelUnderTest, root: Path, **options: Any) -> Any:
    return run(model, name, root, **options)


_TITLES = {
    "lfw": "LFW", "calfw": "CALFW", "cplfw": "CPLFW", "cfp-ff": "CFP, frontal to frontal", "rfw": "RFW",
    "cfp-fp": "CFP, frontal to profile", "agedb-30": "AgeDB-30", "pairs": "face verification",
    "records": "face verification on records",
    "celeba-spoof": "CelebA-Spoof", "siw-mv2": "SiW-Mv2", "attacks": "attack detection",
}  # fmt: skip

BENCHMARKS: dict[str, Benchmark] = {
    "facexbench": Benchmark("FaceXBench", run_facexbench, lambda result: [*facexbench_tables(result)], ("setting",)),
    "face-human-bench": Benchmark(
        "Face-Human-Bench", run_face_human_bench, face_human_bench_tables, ("setting", "extractor")
    ),
    "facebench": Benchmark("FaceBench", run_facebench, facebench_tables),
    "mer-unibench": Benchmark(
        "MER-UniBench", run_mer_unibench, mer_unibench_tables, ("setting", "extractor", "wheels")
    ),
    **{name: _verification(name, _TITLES[name]) for name in PAIR_LISTS},
    **{name: _attacks(name, _TITLES[name]) for name in ATTACK_SETS},
}
"""Name to benchmark."""


def run_benchmark(
    model: ModelUnderTest,
    name: str,
    root: str | Path,
    *,
    output_dir: str | Path | None = None,
    resume: bool = True,
    limit: int | None = None,
    max_new_tokens: int | None = None,
    on_progress: ProgressListener | None = None,
    **options: Any,
) -> BenchmarkOutcome:
    """Put a benchmark to a model.

    Args:
        model: The model.
        name: A key of ``BENCHMARKS``.
        root: The benchmark's folder, or its list.
        output_dir: Where answers as they come, the result as JSON, and ``report.html`` go; None writes nothing.
        resume: Go on with the answers that are there.
        limit: Ask so many questions; results say how many there are.
        max_new_tokens: Longest answer in tokens; by default the benchmark's own.
        on_progress: Called with a ``Progress`` after every answer.
        options: Those of the benchmark (``setting``, ``scoring``, ``extractor``, ``wheels``); None stands for its own
            default.

    Raises:
        UnknownPartError: There is no such benchmark.
        ConfigurationError: It has no such option, or the folder has another run's answers.
        RecordError: The benchmark's files are missing or malformed.
    """
    if name not in BENCHMARKS:
        raise UnknownPartError(f"there is no benchmark '{name}'; there are {', '.join(sorted(BENCHMARKS))}")
    benchmark = BENCHMARKS[name]
    given = {option: value for option, value in options.items() if value is not None}
    unknown = next((option for option in given if option not in benchmark.options), None)
    if unknown is not None:
        known = ", ".join(benchmark.options) or "none"
        raise ConfigurationError(f"{benchmark.title} has no option '{unknown}'; it has {known}")
    limits = {"limit": limit, "max_new_tokens": max_new_tokens}
    given |= {option: value for option, value in limits.items() if value is not None}
    result = benchmark.run(model, root, output_dir=output_dir, resume=resume, on_progress=on_progress, **given)
    tables = tuple(benchmark.tables(result))
    page = None
    if output_dir is not None:
        page = write_benchmark_page(output_dir, benchmark.title, model.name, tables)
    return BenchmarkOutcome(result, tables, page)
