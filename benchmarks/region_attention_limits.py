"""What stands between region attention on a CPU and the processor's own matrix product: each part timed by itself.

    python -m benchmarks.region_attention_limits                                  # 32 frames, D 4096, float32
    python -m benchmarks.region_attention_limits --frames 8 --dtype bfloat16 --threads 1

Every product runs at its own shape, into memory that is there already, and so does what is done to each score and to
the residual. New memory is counted in page faults of the whole call and priced by what a fault costs here. The whole
call is timed twice, the second time in a process whose allocator keeps what was freed (glibc's ``mmap_max=0``). Times
are the fastest of the rounds, in turns, because a busy machine only ever adds to them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.harness import MEBIBYTE, Stopwatch, environment, measure_ceilings, results_path, write_results
from benchmarks.region_attention import DTYPES, PASSES, Point, build_call
from benchmarks.region_attention_peers import PEERS, draw_inputs

CPU = torch.device("cpu")
KEEPS_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=0x1000000000"
IMPLEMENTATIONS = ("facekit_absorbed", "facekit_lean")


@dataclass(frozen=True)
class Part:
    """One part of a pass.

    Attributes:
        name: what it does.
        kind: ``dense`` and ``stream`` for the products of either half, ``scores`` and ``residual`` for the rest.
        backward: whether it belongs to the backward pass.
        call: does it once.
        flops: of one call; zero for what is no product.
        times: that the pass does it: twice where keys and values both need it.
    """

    name: str
    kind: str
    backward: bool
    call: Callable[[], object]
    flops: int = 0
    times: int = 1


def _each(left: Tensor, right: Tensor, out: Tensor) -> None:
    for of_left, of_right, of_out in zip(left, right, out, strict=True):
        torch.mm(of_left, of_right, out=of_out)


def list_parts(point: Point, dtype: torch.dtype) -> list[Part]:
    """Every matrix product of both passes, and what is done to scores and residual, each ready to be timed."""
    frames, patches, width, heads = point.frames, point.patches, point.width, point.num_heads
    rows, head_width, columns = frames * point.regions, width // heads, heads * point.regions

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=dtype)

    tokens, weight, of_tokens, of_weight = (draw(size, width) for size in (rows, width, rows, width))
    folded, by_head, of_heads = draw(heads, rows, width), *(x.view(heads, -1, width) for x in (weight, of_weight))
    rows_by_head, of_rows = (x.view(rows, heads, head_width).transpose(0, 1) for x in (tokens, of_tokens))
    patch_tokens, result, table, of_table = (draw(frames, size, width) for size in (patches, patches, columns, columns))
    scores, bias = draw(frames, patches, columns), draw(width)
    weights = torch.softmax(torch.randn(frames, patches, heads, point.regions), dim=-1)

    def softmax() -> Tensor:
        shifted = scores.float().view(weights.shape) + weights
        return torch.softmax(shifted, dim=-1).to(dtype)

    def softmax_backward() -> Tensor:
        product = scores.float().view(weights.shape).mul(weights)
        return product.sub_(weights * product.sum(-1, keepdim=True)).to(dtype)

    dense, stream = 2 * rows * width**2, 2 * frames * patches * columns * width
    mm, bmm, add = torch.mm, torch.bmm, torch.add
    return [
        Part("project region tokens", "dense", False, partial(mm, tokens, weight.t(), out=of_tokens), dense, 2),
        Part("absorb the other projection", "dense", False, partial(_each, rows_by_head, by_head, folded), dense, 2),
        Part("scores", "stream", False, partial(bmm, patch_tokens, table.mT, out=scores), stream),
        Part("apply", "stream", False, partial(result.baddbmm_, scores, table), stream),
        Part("softmax", "scores", False, softmax),
        Part("residual and bias", "residual", False, partial(add, patch_tokens, bias, out=result)),
        Part("gradient of projected tokens", "dense", True, partial(_each, folded, by_head.mT, of_rows), dense, 2),
        Part("of absorbed projections", "dense", True, partial(_each, rows_by_head.mT, folded, of_heads), dense, 2),
        Part("of key and value projections", "dense", True, partial(mm, tokens.t(), tokens, out=of_weight), dense, 2),
        Part("of region tokens", "dense", True, partial(mm, tokens, weight, out=of_tokens), dense, 2),
        Part("of weights", "stream", True, partial(bmm, patch_tokens, table.mT, out=scores), stream),
        Part("of absorbed tables", "stream", True, partial(bmm, scores.mT, patch_tokens, out=of_table), stream, 2),
        Part("of patches", "stream", True, partial(result.baddbmm_, scores, table), stream),
        Part("of the softmax", "scores", True, softmax_backward),
        Part("copy of the residual's gradient", "residual", True, partial(result.copy_, patch_tokens)),
    ]


def whole_calls(point: Point, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Both implementations in both passes, by ``implementation, pass``."""
    inputs = draw_inputs(point.frames, point.patches, point.regions, point.width, point.num_heads, CPU, dtype)
    gradient = torch.ones_like(inputs.patch_tokens)
    peers = {peer.name: peer for peer in PEERS}
    return {
        f"{name}, {which}": build_call(peers[name].prepare(inputs), which == PASSES[1], gradient)
        for name in IMPLEMENTATIONS
        for which in PASSES
    }


def fastest(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """Seconds of the fastest round of each call, after one that is not counted."""
    for call in calls.values():
        call()
    return {name: timing.fastest for name, timing in Stopwatch(CPU).time_in_turns(calls, seconds).items()}


def count_faults(call: Callable[[], object]) -> int:
    """Page faults of one call, after one that is not counted."""
    call()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def seconds_of_a_fault(seconds: float) -> float:
    """What the first write to a page costs beyond a later one, of 128 MiB that were never written before."""
    size = 128 * MEBIBYTE
    old = torch.zeros(size, dtype=torch.uint8)

    def fill_new() -> Tensor:
        return torch.empty(size, dtype=torch.uint8).fill_(1)

    times = fastest({"new": fill_new, "old": lambda: old.fill_(1)}, seconds)
    return max(times["new"] - times["old"], 0.0) / max(count_faults(fill_new), 1)


def time_with_kept_memory(arguments: list[str]) -> dict[str, float] | None:
    """The whole calls in a process whose allocator gives nothing back; None where that process failed."""
    variables = {**os.environ, "GLIBC_TUNABLES": KEEPS_MEMORY}
    command = [sys.executable, "-m", "benchmarks.region_attention_limits", *arguments, "--whole-calls-only"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


def measure(point: Point, dtype: torch.dtype, seconds: float, arguments: list[str]) -> dict[str, Any]:
    """Everything that the table shows, in seconds."""
    product_rate = measure_ceilings(CPU, dtype).flops_per_second
    parts = list_parts(point, dtype)
    times = fastest({part.name: part.call for part in parts}, seconds)
    calls = whole_calls(point, dtype)
    whole, fault = fastest(calls, seconds), seconds_of_a_fault(min(seconds, 3.0))
    faults = {name: count_faults(call) for name, call in calls.items()}
    kept = time_with_kept_memory(arguments)
    rows = [
        {
            "name": part.name, "kind": part.kind, "backward": part.backward, "flops": part.flops * part.times,
            "seconds": times[part.name] * part.times,
        }
        for part in parts
    ]  # fmt: skip
    return {
        "flops_per_second": product_rate, "seconds_of_a_fault": fault, "parts": rows, "whole": whole,
        "faults": faults, "whole_with_kept_memory": kept,
    }  # fmt: skip


def summarise(measured: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per pass: its operations at the rate of the matrix product, its parts, and the whole calls."""
    summary = []
    for which in PASSES:
        parts = [part for part in measured["parts"] if which == PASSES[1] or not part["backward"]]
        by_kind = {
            kind: sum(part["seconds"] for part in parts if part["kind"] == kind)
            for kind in ("dense", "stream", "scores", "residual")
        }
        flops = sum(part["flops"] for part in parts)
        row: dict[str, Any] = {"pass": which, "flops": flops, "ideal": flops / measured["flops_per_second"], **by_kind}
        for name in IMPLEMENTATIONS:
            key = f"{name}, {which}"
            row[name] = measured["whole"][key]
            row[f"{name} faults"] = measured["faults"][key] * measured["seconds_of_a_fault"]
            row[f"{name} kept"] = (measured["whole_with_kept_memory"] or {}).get(key)
        summary.append(row)
    return summary


def build_table(title: str, summary: list[dict[str, Any]]) -> Table:
    """Milliseconds and the share of the matrix product's rate, a column per pass."""
    table = Table(title=title)
    table.add_column("ms (of the matrix product's rate)")
    for row in summary:
        table.add_column(row["pass"], justify="right")
    lines = [("all operations at the rate of a large matrix product", "ideal")]
    lines += [("dense products at their own shapes", "dense"), ("streaming products at their own shapes", "stream")]
    lines += [("softmax", "scores"), ("residual", "residual")]
    for name in IMPLEMENTATIONS:
        lines += [(f"{name}: page faults", f"{name} faults"), (f"{name}: whole call", name)]
        lines += [(f"{name}: whole call, memory kept", f"{name} kept")]
    for label, key in lines:
        cells = []
        for row in summary:
            value = row[key]
            share = f" ({100 * row['ideal'] / value:.0f} %)" if value and "whole" in label else ""
            cells.append("" if value is None else f"{1e3 * value:.1f}{share}")
        table.add_row(label, *cells)
    return table


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    description = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.region_attention_limits", description=description)
    for axis, default in (("frames", 32), ("width", 4096), ("regions", 9), ("patches", 257), ("heads", 8)):
        parser.add_argument(f"--{axis}", type=int, default=default)
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=15.0, help="of timing: the parts, and the whole calls")
    parser.add_argument("--whole-calls-only", action="store_true", help="time these, and print them as JSON")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/region_attention_limits-….json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    given = sys.argv[1:] if arguments is None else arguments
    options = parse_arguments(given)
    torch.set_num_threads(options.threads)
    dtype = DTYPES[options.dtype]
    point = Point(options.frames, options.width, options.regions, options.patches, options.heads)
    if options.whole_calls_only:
        print(json.dumps(fastest(whole_calls(point, dtype), options.seconds)))
        return
    facts = environment(CPU)
    measured = measure(point, dtype, options.seconds, given)
    summary = summarise(measured)
    console = Console(width=140)
    console.print(build_table(f"{point}, {options.dtype}, {facts['device']}", summary))
    name = "region_attention_limits" if dtype is torch.float32 else f"region_attention_limits-{options.dtype}"
    path = options.output or results_path(name, CPU, "json")
    write_results(path, facts, None, [{"point": str(point), "dtype": options.dtype, **measured, "summary": summary}])
    console.print(f"results: {path}")


if __name__ == "__main__":
    main()
