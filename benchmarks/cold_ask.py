"""How long ``facekit ask`` takes from the shell, with its quick start and without.

Each call is a process of its own. Both ways take turns, after one call of each that warms the file system's cache.

    python -m benchmarks.cold_ask PICTURE                     # by the demo's model, runs/demo
    python -m benchmarks.cold_ask PICTURE --model runs/mine --calls 9
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

import facekit
from benchmarks.harness import Sample, Timing, environment, results_path, write_results
from facekit.cli.startup import ENVIRONMENT_VARIABLE

WAYS = {"quick start": "1", "plain": "0"}
QUESTION = "Which expression is shown?"


def time_call(model: Path, picture: Path, quick_start: str) -> tuple[Sample, str]:
    """Seconds of one call, of the clock and of all processors, and its answer."""
    command = [sys.executable, "-m", "facekit", "ask", str(picture), QUESTION, "--model", str(model)]
    variables = os.environ | {ENVIRONMENT_VARIABLE: quick_start}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=variables, check=True, stdout=subprocess.PIPE, text=True)
    clock = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(clock, processor), done.stdout


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and save both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", type=Path, default=Path("runs/demo"))
    parser.add_argument("--calls", type=int, default=5)
    device = torch.device("cpu")
    parser.add_argument("--output", type=Path, default=results_path("cold_ask", device, "json"))
    options = parser.parse_args(arguments)
    facts = environment(device) | {
        "parameters": sum(each.numel() for each in facekit.load(options.model)[0].parameters())
    }
    samples: dict[str, list[Sample]] = {way: [] for way in WAYS}
    answers = set()
    for turn in range(options.calls + 1):
        for way, variable in WAYS.items():
            sample, answer = time_call(options.model, options.picture, variable)
            answers.add(answer)
            if turn:
                samples[way].append(sample)
    if len(answers) > 1:
        raise SystemExit(f"both ways must answer alike, and did not: {sorted(answers)}")
    timings = {way: Timing.from_samples(found) for way, found in samples.items()}
    rows = [
        {"way": way, "of_plain": timing.median / timings["plain"].median, "timing": asdict(timing)}
        for way, timing in timings.items()
    ]
    write_results(options.output, facts, None, rows)
    for way, timing in timings.items():
        print(f"{way:12} {timing.median:5.2f} s, {timing.median / timings['plain'].median:.2f} of plain")
    print(f"results  {options.output}")


if __name__ == "__main__":
    main()
