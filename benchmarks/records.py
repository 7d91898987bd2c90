"""Opening a records file of landmarks and conversations: read whole, from its index, and from memory-mapped Arrow.

Each way is measured in processes of its own: seconds to open and to begin a run (its identity, its data set, and a
mixture of two halves by weight), resident memory beyond the libraries, and microseconds for a record drawn at random
(read whole, it is in memory already). The index is opened by four processes at once. Disk caches are warm. Reading
whole and Arrow are measured on ``--whole`` records only, because they take long; indexing a million takes minutes too
(``--indexed 1000000``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.harness import MEBIBYTE, environment, measure_ceilings, results_path, write_results
from facekit import create
from facekit.data.dataset import FaceDataset, RecordSet
from facekit.data.formats.hub import read_row, write_hub_dataset
from facekit.data.identity import describe_records
from facekit.data.lenient import read_leniently
from facekit.data.mixing import DataSource, mix_records
from facekit.data.records import FaceRecord, iterate_records, read_records
from facekit.models.processing import FaceKitProcessor

PROCESSES = 4
READS = 2000
_TURNS = [
    {"role": "user", "content": "Which expression does the face show?", "task": "expression"},
    {"role": "assistant", "content": "The lip corners are pulled up and the cheeks raised: happiness."},
    {"role": "user", "content": "How old is this person?", "task": "age"},
    {"role": "assistant", "content": "About 34 years old.", "task": "age"},
]  # fmt: skip


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.records", description=__doc__.splitlines()[0])
    parser.add_argument("--indexed", type=int, default=200_000, help="records of the file that is indexed")
    parser.add_argument(
        "--whole", type=int, default=20_000, help="records of the file that is read whole, and of that in Arrow"
    )
    parser.add_argument("--folder", type=Path, help="where the files are written; 2.1 GB for a million records")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/records-DEVICE.json")
    parser.add_argument("--measure", choices=("index", "indexed", "whole", "arrow"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = parse_arguments(arguments)
    if options.measure:
        print(json.dumps(measure(options.measure, options.file)))
        return
    rows = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for way, count, processes in (
            ("whole", options.whole, 1), ("arrow", options.whole, 1), ("index", options.indexed, 1),
            ("indexed", options.indexed, PROCESSES),
        ):  # fmt: skip
            path = Path(folder) / f"{count}.jsonl"
            if not path.exists():
                write_lines(path, count)
            if way == "arrow":
                path = write_arrow(path)
            found = in_processes(way, path, processes)
            rows.append({"way": way, "records": count, "bytes": bytes_of(path), "processes": processes, **found})
    show(rows)
    device = torch.device("cpu")
    facts = {**environment(device), "cores": len(os.sched_getaffinity(0)), "load_average": os.getloadavg()[0]}
    path = options.output or results_path("records", device, "json")
    write_results(path, facts, measure_ceilings(device, torch.float32), rows)


def write_lines(path: Path, count: int) -> None:
    """Records with landmarks of six digits and two questions each; a thousand shapes, told apart by their ids."""
    shapes = np.random.default_rng(0).random((1000, 68, 2)).round(6).tolist()
    rests = [json.dumps({"landmarks": shape, "labels": {"age": 34.0}, "conversations": _TURNS})[1:] for shape in shapes]
    with path.open("w", encoding="utf-8") as file:
        for index in range(count):
            file.write(f'{{"id": "{index:07d}", "image": "images/{index:07d}.jpg", {rests[index % len(rests)]}\n')


def in_processes(way: str, path: Path, processes: int) -> dict[str, float]:
    """Run ``measure`` in several processes at once and return the largest of each figure."""
    command = [sys.executable, "-m", "benchmarks.records", "--measure", way, "--file", str(path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    found = [json.loads(process.communicate()[0]) for process in running]
    return {name: max(each[name] for each in found) for name in found[0]}


def write_arrow(path: Path) -> Path:
    """The same records as a folder that ``datasets`` maps into memory."""
    folder = path.with_suffix(".arrow")
    write_hub_dataset(iterate_records(path, check_files=False), folder)
    return folder


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all in a folder."""
    return sum(each.stat().st_size for each in ([path] if path.is_file() else path.iterdir()))


def measure(way: str, path: Path) -> dict[str, float]:
    """Open a file in one way, begin a run with it and read records at random.

    Returns:
        Seconds to open and to begin; microseconds for a record, by the clock and of the processor; and MiB of resident
        memory beyond those before, in all, and of this process alone.
    """
    processor = create(encoder="tiny", connector="mlp", backbone="tiny")[1]
    before, started = resident(), time.perf_counter()
    records: Any = open_in(way, path)
    opened = time.perf_counter() - started
    begun = time.perf_counter()
    if way != "arrow":
        begin_run(records, processor)
    begun = time.perf_counter() - begun
    order = np.random.default_rng(os.getpid()).integers(0, len(records), READS).tolist()
    clock, busy = time.perf_counter(), time.process_time()
    for index in order:
        record = read_row(records[index], str(path)) if way == "arrow" else records.records[index]
        if not isinstance(record, FaceRecord) or int(record.id) != index:
            raise AssertionError(f"{path} has {record!r} for the index {index}")
    clock, busy = time.perf_counter() - clock, time.process_time() - busy
    return {
        "seconds_to_open": opened,
        "seconds_to_begin": begun,
        "microseconds_per_record": clock / READS * 1e6,
        "processor_microseconds_per_record": busy / READS * 1e6,
        "mebibytes": (resident() - before) / MEBIBYTE,
        "mebibytes_of_process": resident() / MEBIBYTE,
        "mebibytes_unshared": unshared() / MEBIBYTE,
    }


def open_in(way: str, path: Path) -> Any:
    """A record set, or for Arrow the data set of ``datasets``."""
    if way == "arrow":
        import datasets

        return datasets.load_from_disk(str(path))
    if way == "whole":
        return RecordSet(tuple(read_records(path, check_files=False)), path.parent)
    return read_leniently(path)


def begin_run(records: RecordSet, processor: FaceKitProcessor) -> None:
    """What a run does with all records before its first step, but for the check of each, which it remembers."""
    describe_records(records)
    FaceDataset(records, processor)
    halves = [records.select(range(start, len(records), 2)) for start in (0, 1)]
    describe_records(mix_records([DataSource(half, weight) for half, weight in zip(halves, (2.0, 1.0), strict=True)]))


def resident() -> int:
    """Bytes of this process that are in memory, those that it shares among them."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def unshared() -> int:
    """Bytes of memory that this process has for itself: neither libraries nor files that others map too."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    names = {
        "whole": "read whole",
        "arrow": "from Arrow",
        "index": "indexed for the first time",
        "indexed": "from its index",
    }
    table = Table(title="opening a records file; the largest figure of the processes")
    columns = (
        "way", "records", "processes", "to open, s", "to begin, s", "a record, µs (CPU)", "MiB more", "unshared",
        "in all",
    )  # fmt: skip
    for column in columns:
        table.add_column(column, justify="left" if column == "way" else "right")
    for row in rows:
        table.add_row(
            names[row["way"]], f"{row['records']:,}", str(row["processes"]), f"{row['seconds_to_open']:.3f}",
            f"{row['seconds_to_begin']:.3f}",
            f"{row['microseconds_per_record']:.0f} ({row['processor_microseconds_per_record']:.0f})",
            f"{row['mebibytes']:.0f}", f"{row['mebibytes_unshared']:.0f}", f"{row['mebibytes_of_process']:.0f}",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
