"""Samples per second with loading processes and without, beside a device that computes while they decode.

No GPU is used: for each batch the training process sleeps as long as one would compute (``--device-rate``), which
leaves the cores to the loading processes, as a GPU does. Pictures are JPEG files of 512 x 512 pixels, seen at 224, with
a conversation each, from a records file and from shards; what is loaded is what a run trains on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader

import facekit
from benchmarks.harness import environment, measure_ceilings, results_path, write_results
from facekit.data import FaceRecord, Turn
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.formats.shards import write_shards
from facekit.data.streaming import ShardStream
from facekit.training.loop.loading import choose_workers

BATCH = 16
SIDE = 512


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=512, help="of an epoch")
    parser.add_argument("--device-rate", type=float, default=100.0, help="samples per second of the sleeping device")
    parser.add_argument("--rounds", type=int, default=3, help="epochs of each way, in turns")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/loading-DEVICE.json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = parse_arguments(arguments)
    torch.set_num_threads(1)
    processor = facekit.create(
        encoder="tiny?image_size=224&width=32&depth=1", connector="mlp", backbone="tiny", seed=0
    )[1]
    with tempfile.TemporaryDirectory() as folder:
        records = write_pictures(Path(folder), options.samples)
        write_shards(records.records, Path(folder) / "shards", media_folder=records.folder, per_shard=128)
        uncached = DatasetOptions(cache_pictures=False)
        sources = {
            "files": FaceDataset(records, processor, uncached),
            "shards": ShardStream(Path(folder) / "shards", processor, uncached),
        }
        rows = measure(sources, options)
    show(rows)
    device = torch.device("cpu")
    facts = {**environment(device), "cores": len(os.sched_getaffinity(0)), "stand_in": "sleeps as a device computes"}
    path = options.output or results_path("loading", device, "json")
    write_results(path, facts, measure_ceilings(device, torch.float32), rows)


def write_pictures(folder: Path, count: int) -> RecordSet:
    """Pictures that compress as photographs do, and two questions about each."""
    generator = np.random.default_rng(0)
    words = (("user", "Which expression does the face show?"), ("assistant", "The face shows happiness."),
             ("user", "How old is this person?"), ("assistant", "About 34 years old."))  # fmt: skip
    turns = [Turn(role=role, content=text) for role, text in words]  # type: ignore[arg-type]
    records = []
    for index in range(count):
        noise = Image.fromarray(generator.integers(0, 256, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8))
        noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC).filter(ImageFilter.SHARPEN).save(
            folder / f"{index}.jpg", quality=92
        )
        records.append(FaceRecord(id=str(index), image=f"{index}.jpg", conversations=turns))
    return RecordSet(tuple(records), folder)


def measure(sources: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Go through epochs of every source with every number of loading processes, in turns."""
    default = choose_workers(sources["files"], torch.device("cuda"))
    pause = BATCH / options.device_rate
    epochs: dict[tuple[str, int], list[tuple[float, float]]] = {
        (name, workers): [] for name in sources for workers in sorted({0, default})
    }
    for _ in range(options.rounds):
        for (name, workers), taken in epochs.items():
            taken.append(go_through(sources[name], workers, pause))
    rows = []
    for (name, workers), taken in epochs.items():
        seconds, waited = min(taken)
        rows.append({
            "source": name, "workers": workers, "is_default": workers == default, "samples": options.samples,
            "device_rate": options.device_rate, "samples_per_second": options.samples / seconds,
            "share_waited": waited / seconds, "rounds": options.rounds,
        })  # fmt: skip
    return rows


def go_through(source: Any, workers: int, pause: float) -> tuple[float, float]:
    """Seconds of an epoch, and how many of them the device waited for a batch."""
    loader = DataLoader(source, BATCH, collate_fn=FaceCollator(0), num_workers=workers)
    if isinstance(source, ShardStream):
        source.batch_size = BATCH
    started = time.perf_counter()
    waited, asked = 0.0, started
    for _ in loader:
        waited += time.perf_counter() - asked
        time.sleep(pause)
        asked = time.perf_counter()
    return time.perf_counter() - started, waited


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(title=f"loading beside a device that takes {rows[0]['device_rate']:g} samples a second (it sleeps)")
    for column in ("from", "loading processes", "samples/s", "device waited"):
        table.add_column(column, justify="left" if column == "from" else "right")
    for row in rows:
        count = f"{row['workers']}{' (default)' if row['is_default'] else ''}"
        table.add_row(row["source"], count, f"{row['samples_per_second']:.1f}", f"{row['share_waited']:.0%}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
