"""Preprocessing with one landmarker beside another: pictures per second of one core, and memory on a long file.

Photographs are resized so that their longer side has a given number of pixels, and preprocessed in one process into
shards of 256-pixel crops, with each landmarker in turn, round after round; a first round is not counted. What is timed
is all of ``facekit preprocess``: reading, hashing, decoding, detection, landmarks, crop, encoding, shards. The clock's
seconds are those of the machine as it was; the processor's, those of the process and of any it started, are what one
core works, which others stretch less. Further runs take the parts apart: reading (hash, decoding), faces (detection
and landmarks, of which each of the networks of ``mesh``), and the rest (crop, encoding, shard). Every figure is the
median of the rounds. The ceilings are how many times faster than the first landmarker another would be that takes no
time at all (``ceiling``), that runs the network of its detector and nothing else (``ceiling_detector``), or its
networks and nothing else (``ceiling_networks``). Both landmarkers run as facekit has them by default: dlib enlarges a
picture only where it finds no face in it. ``--lines`` also runs a records file of so many lines, whose pictures are all
one, in a process of its own, and reports that process's peak memory, and by how much it grew over a run of one line,
beside those on a hundredth of the lines.

    python -m benchmarks.preprocess PHOTOGRAPHS...              # dlib against mesh at 256 to 2048 pixels
    python -m benchmarks.preprocess --lines 1000000 --sides 512 # and the memory of a million lines
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import skimage.data
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks.harness import environment, peak_memory, results_path, write_results
from facekit.catalog import current_registry
from facekit.data.preprocessing import PreprocessSettings, faces, preprocess
from facekit.data.records import FaceRecord, write_records
from facekit.faces.images import open_image
from facekit.faces.landmarker import DetectedFace, Landmarker
from facekit.faces.mesh_landmarker import DETECTOR_FILE, MESH_FILE
from facekit.faces.tflite import TfliteModel

SIDES = (256, 512, 768, 1024, 2048)
_MEBIBYTE = 2**20
_MEMORY_SIDE = 64


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preprocess", description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs="*", type=Path, help="pictures with faces; scikit-image's astronaut is in")
    parser.add_argument("--landmarkers", nargs="+", default=["dlib", "mesh"], help="specs; the first is the reference")
    parser.add_argument("--sides", nargs="+", type=int, default=list(SIDES), help="longer sides of the pictures")
    parser.add_argument("--copies", type=int, default=8, help="how often each photograph is in a run")
    parser.add_argument("--rounds", type=int, default=3, help="counted runs of each landmarker at each size")
    parser.add_argument("--lines", type=int, default=0, help="lines of a records file for the memory; 0 for none")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/preprocess-MACHINE.json")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    options = parse_arguments(arguments)
    if options.child is not None:
        _run_child(options.child)
        return
    device = torch.device("cpu")
    facts = environment(device)
    rows = []
    with tempfile.TemporaryDirectory(prefix="facekit-benchmark-") as name:
        photographs = [Image.fromarray(skimage.data.astronaut()), *map(open_image, options.photographs)]
        for side in options.sides:
            rows += _measure_side(Path(name), photographs, side, options)
        if options.lines:
            rows += [_measure_memory(Path(name), lines) for lines in (max(1, options.lines // 100), options.lines)]
    _print(rows)
    write_results(options.output or results_path("preprocess", device, "json"), facts, None, rows)


def _measure_side(
    folder: Path, photographs: list[Image.Image], side: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    records = _write_pictures(folder / str(side), photographs, side, options.copies)
    runs: dict[str, list[tuple[float, float]]] = {spec: [] for spec in options.landmarkers}
    made: dict[str, tuple[int, int]] = {}
    for number in range(options.rounds + 1):
        for index, spec in enumerate(options.landmarkers):
            output = folder / f"shards-{side}-{index}-{number}"
            clock, processor = time.perf_counter(), _processor_time()
            result = preprocess(str(records), output, PreprocessSettings(landmarker=spec))
            if number:
                runs[spec].append((time.perf_counter() - clock, _processor_time() - processor))
            made[spec] = (result.inputs, result.records)
    reference = _median(runs[options.landmarkers[0]], 1) / made[options.landmarkers[0]][0]
    speed = [
        {
            "part": "speed", "side": side, "landmarker": spec, "pictures": made[spec][0], "faces": made[spec][1],
            "rounds": options.rounds, "pictures_per_second": made[spec][0] / _median(runs[spec], 0),
            "pictures_per_processor_second": made[spec][0] / _median(runs[spec], 1),
            "times_the_first": reference * made[spec][0] / _median(runs[spec], 1),
        }
        for spec in options.landmarkers
    ]  # fmt: skip
    apart: dict[str, list[dict[str, float]]] = {spec: [] for spec in options.landmarkers}
    for number in range(options.rounds):
        for index, spec in enumerate(options.landmarkers):
            apart[spec].append(_take_apart(records, folder / f"parts-{side}-{index}-{number}", spec))
    return [*speed, *_summarise_parts(side, apart)]


def _summarise_parts(side: int, apart: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """A row for each landmarker: the medians of its runs, and the ceilings against the first landmarker."""
    rows: list[dict[str, Any]] = [
        {"part": "parts", "side": side, "landmarker": spec, **_medians(runs)} for spec, runs in apart.items()
    ]
    whole = sum(rows[0][name] for name in ("reading_ms", "faces_ms", "rest_ms"))
    for row in rows:
        around = row["reading_ms"] + row["rest_ms"]
        row["ceiling"] = whole / around
        row["ceiling_detector"] = whole / (around + row["detector_ms"])
        row["ceiling_networks"] = whole / (around + row["detector_ms"] + row["mesh_ms"])
    return rows


def _medians(runs: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _processor_time() -> float:
    """Seconds of the processor that this process and those it waited for have used."""
    used = [resource.getrusage(which) for which in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _take_apart(records: Path, output: Path, spec: str) -> dict[str, float]:
    """Milliseconds of the processor for a picture, by part, and how often it ran each network of ``mesh``."""
    landmarker = faces.shared_landmarker(spec)
    with (
        _timed(faces, "stamp_record") as hashing,
        _timed(faces, "open_image") as opening,
        _timed(type(landmarker), "detect_largest") as finding,
        _timed(TfliteModel, "run", of=DETECTOR_FILE) as detector,
        _timed(TfliteModel, "run", of=MESH_FILE) as mesh,
    ):
        start = time.process_time()
        result = preprocess(str(records), output, PreprocessSettings(landmarker=spec))
        whole = time.process_time() - start
    reading = sum(hashing) + sum(opening)
    seconds = {
        "reading": reading,
        "faces": sum(finding),
        "detector": sum(detector),
        "mesh": sum(mesh),
        "rest": whole - reading - sum(finding),
    }
    runs = {"detector_runs": len(detector) / result.inputs, "mesh_runs": len(mesh) / result.inputs}
    return {f"{name}_ms": 1e3 * value / result.inputs for name, value in seconds.items()} | runs


@contextmanager
def _timed(owner: object, name: str, of: str | None = None) -> Iterator[list[float]]:
    """Note the processor's seconds of each call of a function or method for as long as the context lasts.

    Args:
        owner: The module or class.
        name: The function or method.
        of: The name of a model file, where only the calls of that model's method are noted.
    """
    seconds: list[float] = []
    function: Callable[..., Any] = getattr(owner, name)

    def timed(*args: Any, **options: Any) -> Any:
        if of is not None and args[0].path.name != of:
            return function(*args, **options)
        start = time.process_time()
        try:
            return function(*args, **options)
        finally:
            seconds.append(time.process_time() - start)

    with mock.patch.object(owner, name, timed):
        yield seconds


def _median(runs: list[tuple[float, float]], which: int) -> float:
    return statistics.median(run[which] for run in runs)


def _write_pictures(folder: Path, photographs: list[Image.Image], side: int, copies: int) -> Path:
    folder.mkdir()
    records = []
    for index, photograph in enumerate(photographs):
        scale = side / max(photograph.size)
        size = (max(1, round(photograph.width * scale)), max(1, round(photograph.height * scale)))
        photograph.resize(size, Image.Resampling.LANCZOS).save(folder / f"{index}.jpg", quality=90)
        records += [FaceRecord(id=f"{index}-{copy}", image=f"{index}.jpg") for copy in range(copies)]
    return write_records(folder / "records.jsonl", records)


def _measure_memory(folder: Path, lines: int) -> dict[str, Any]:
    """The peak of a process that preprocesses a records file whose lines all name one picture, which has no face."""
    place = folder / f"lines-{lines}"
    place.mkdir()
    Image.new("RGB", (_MEMORY_SIDE, _MEMORY_SIDE), "grey").save(place / "a.png")
    write_records(place / "records.jsonl", (FaceRecord(id=str(index), image="a.png") for index in range(lines)))
    command = [sys.executable, "-m", "benchmarks.preprocess", "--child", str(place)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return {"part": "memory", "lines": lines, **json.loads(answer.stdout.splitlines()[-1])}


class Nobody(Landmarker):
    """Finds no face at once, so that what is measured is what preprocessing keeps in memory."""

    second_look = False

    @classmethod
    def from_spec(cls, argument: str | None = None) -> Nobody:
        """Build it."""
        return cls()

    def find_faces(self, image: Image.Image) -> list[DetectedFace]:
        """Return none."""
        return []


def _run_child(place: Path) -> None:
    current_registry().register("landmarker", "nobody", Nobody)
    done: list[int] = []

    def run(name: str) -> None:
        result = preprocess(str(place / name), place / f"{name}-shards", PreprocessSettings(landmarker="nobody"))
        done.append(result.inputs)

    write_records(place / "first.jsonl", [FaceRecord(id="first", image="a.png")])
    run("first.jsonl")  # what is imported and loaded once is no growth
    start = time.perf_counter()
    grown = peak_memory(lambda: run("records.jsonl"), torch.device("cpu"))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"records": done[-1], "seconds": seconds, "peak_bytes": peak, "grown_bytes": grown}))


def _print(rows: list[dict[str, Any]]) -> None:
    table = Table(title="Preprocessing, one process; pictures per second of the clock and of the processor")
    for name in ("longer side", "landmarker", "faces", "per second", "per core second", "times the first"):
        table.add_column(name, justify="right")
    for row in (row for row in rows if row["part"] == "speed"):
        table.add_row(
            f"{row['side']} px", row["landmarker"], f"{row['faces']} of {row['pictures']}",
            f"{row['pictures_per_second']:.1f}", f"{row['pictures_per_processor_second']:.1f}",
            f"{row['times_the_first']:.1f}",
        )  # fmt: skip
    console = Console(width=120)
    console.print(table)
    table = Table(title="Milliseconds of the processor for a picture; the ceilings are times the first")
    names = ("reading", "faces", "detector", "mesh", "rest")
    ceilings = ("ceiling", "ceiling_detector", "ceiling_networks")
    for name in ("longer side", "landmarker", *names, "no time", "detector alone", "networks alone"):
        table.add_column(name, justify="right")
    for row in (row for row in rows if row["part"] == "parts"):
        values = [row[f"{name}_ms"] for name in names] + [row[name] for name in ceilings]
        table.add_row(f"{row['side']} px", row["landmarker"], *(f"{value:.1f}" for value in values))
    console.print(table)
    for row in (row for row in rows if row["part"] == "memory"):
        grown = "" if row["grown_bytes"] is None else f", of which {row['grown_bytes'] / _MEBIBYTE:.0f} for the lines"
        peak = row["peak_bytes"] / _MEBIBYTE
        console.print(f"{row['lines']:,} lines: {peak:.0f} MiB{grown}, {row['seconds']:.0f} s")


if __name__ == "__main__":
    main()
