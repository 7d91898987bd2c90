"""Training steps beside processes that keep cores busy, with waiting threads that spin for short and for long.

Under the command line OpenMP's waiting threads soon go to sleep (``GOMP_SPINCOUNT=10000``); by default they spin some
thirty times as long. Both train the demo's composition in a process of their own and take turns, on idle cores and
beside processes that keep one core busy each.

    python -m benchmarks.busy_cores
    python -m benchmarks.busy_cores --busy 0 1 2 --seconds 20
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.harness import environment, results_path, write_results
from benchmarks.serving_servers import compose, draw_picture, question

WAYS: Mapping[str, Mapping[str, str]] = {"long": {}, "short": {"GOMP_SPINCOUNT": "10000"}}
POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
BATCH = 16


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and save both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="other processes, each keeping a core busy")
    parser.add_argument("--seconds", type=float, default=10.0, help="of training in each turn")
    parser.add_argument("--turns", type=int, default=3)
    device = torch.device("cpu")
    parser.add_argument("--output", type=Path, default=results_path("busy_cores", device, "json"))
    options = parser.parse_args(arguments)
    rows = []
    table = Table(title=f"training steps of {BATCH} samples, a second")
    for column in ("other processes", *WAYS, "faster by"):
        table.add_column(column, justify="right")
    for busy in options.busy:
        steps: dict[str, list[float]] = {way: [] for way in WAYS}
        with busy_processes(busy):
            for _ in range(options.turns):
                for way in WAYS:
                    steps[way].append(train_apart(way, options.seconds))
        middle = {way: statistics.median(found) for way, found in steps.items()}
        faster = middle["short"] / middle["long"]
        rows.append({"busy": busy, "steps_per_second": middle, "of_turns": steps, "faster_by": faster})
        table.add_row(str(busy), *(f"{middle[way]:.2f}" for way in WAYS), f"{faster:.2f}")
    write_results(options.output, environment(device), None, rows)
    Console(width=80).print(table)
    print(f"results  {options.output}")


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """So many processes that compute all the time."""
    began = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in began:
            process.kill()
            process.wait()


def train_apart(way: str, seconds: float) -> float:
    """Steps a second of a process that trains, whose threads wait in that way."""
    kept = {name: value for name, value in os.environ.items() if name not in POLICIES}
    command = [sys.executable, "-m", "benchmarks.busy_cores", "--train", str(seconds)]
    found = subprocess.run(command, env=kept | WAYS[way], check=True, stdout=subprocess.PIPE, text=True)
    return float(found.stdout)


def train(seconds: float) -> float:
    """Train the demo's composition for so long; return the steps a second."""
    model, processor = compose()
    pictures = [draw_picture(index) for index in range(BATCH)]
    prompts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question("a beard")}]}],
            add_generation_prompt=True,
        )
    ] * BATCH
    inputs = processor(images=pictures, text=prompts, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model.train()

    def step() -> None:
        loss = model(**inputs, labels=inputs["input_ids"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()
    count, began = 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        step()
        count += 1
    return count / taken


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        print(train(float(sys.argv[2])))
    else:
        main()
