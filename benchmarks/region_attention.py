"""Region attention against every peer: time, memory, and how near each comes to the ceilings of the device.

    python -m benchmarks.region_attention                          # the essential points of this device
    python -m benchmarks.region_attention --frames 1 8 32          # other points: --widths --regions --patches --dtype
    python -m benchmarks.region_attention --suite full --peers all # the whole grid, compiled peers also on a CPU

Prints a table per point and writes JSON and a roofline plot to ``benchmarks/results/``. A peer that cannot run at a
point is recorded with the reason.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.harness import (
    Ceilings,
    Stopwatch,
    environment,
    measure_ceilings,
    peak_memory,
    results_path,
    synchronize,
    write_results,
)
from benchmarks.region_attention_peers import PEERS, Inputs, Peer, PreparedPeer, draw_inputs
from facekit.counted import counted
from facekit.kernels import region_attention

FULL = {
    "frames": (1, 8, 64, 256, 1024),
    "widths": (1024, 3584, 4096),
    "regions": (5, 9),
    "patches": (196, 256, 257, 1024),
}
BASELINE = "sdpa"
NUM_HEADS = 8
PASSES = ("forward", "forward+backward")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Point:
    """One shape: F frames of N patches and M regions, width D, H heads."""

    frames: int
    width: int
    regions: int
    patches: int
    num_heads: int = NUM_HEADS

    def flops(self, order: str) -> int:
        """Floating-point operations of the forward pass in the given order of products; softmax not counted."""
        frames, width, regions, patches = self.frames, self.width, self.regions, self.patches
        keys_and_values = 4 * regions * width**2
        per_frame = {
            "plain": keys_and_values + 4 * patches * width**2 + 4 * patches * regions * width,
            "absorbed": 2 * keys_and_values + 4 * patches * self.num_heads * regions * width,
            "stream": 4 * patches * self.num_heads * regions * width,
        }
        return frames * per_frame[order]

    def compulsory_bytes(self, order: str, element_size: int, backward: bool) -> int:
        """Bytes that must cross the memory bus if everything else stayed on chip.

        Forward: patches in and out, and the weights, or for the streaming half the two absorbed matrices. Backward:
        patches and the output's gradient in, the patches' gradient out, the weights read and their gradients written.
        """
        patches = self.frames * self.patches * self.width
        rows = 2 * self.num_heads * self.regions if order == "stream" else self.regions
        others = self.frames * rows * self.width + (0 if order == "stream" else 4 * self.width**2)
        return element_size * (5 * patches + 3 * others if backward else 2 * patches + others)

    def __str__(self) -> str:
        return f"{self.frames} frames, D {self.width}, N {self.patches}, M {self.regions}, H {self.num_heads}"


def essential_points(device: torch.device) -> list[Point]:
    """The points that answer the main questions, most important first; minutes on either device."""
    if device.type == "cpu":
        return [Point(frames, 4096, 9, 257) for frames in (8, 32, 1)]
    points = [Point(frames, 4096, 9, 257) for frames in (1024, 8, 1, 64, 256)]
    return [*points, Point(256, 3584, 9, 256), Point(256, 1024, 5, 196), Point(64, 4096, 9, 1024)]


def select_points(arguments: argparse.Namespace, device: torch.device) -> list[Point]:
    """The points that the command line asks for."""
    if arguments.suite == "essential" and not any(
        (arguments.frames, arguments.widths, arguments.regions, arguments.patches)
    ):
        return essential_points(device)
    defaults = (
        FULL if arguments.suite == "full" else {"frames": (8,), "widths": (4096,), "regions": (9,), "patches": (257,)}
    )
    axes = [getattr(arguments, axis) or defaults[axis] for axis in ("frames", "widths", "regions", "patches")]
    return [Point(*values, num_heads=arguments.heads) for values in itertools.product(*axes)]


def select_peers(names: list[str] | None, device: torch.device) -> list[Peer]:
    """The peers by name; by default all on a GPU, the eager ones elsewhere."""
    if names is None:
        return [peer for peer in PEERS if device.type == "cuda" or not (peer.compiled or peer.gpu_only)]
    known = [peer.name for peer in PEERS]
    unknown = [name for name in names if name not in known and name != "all"]
    if unknown:
        raise SystemExit(f"unknown peer {', '.join(unknown)}; choose among {', '.join(known)} or all")
    return [peer for peer in PEERS if peer.name in names or "all" in names]


def expected_output(inputs: Inputs, frames: int = 2) -> Tensor:
    """The first frames by the reference implementation in float64."""
    with torch.no_grad():
        return region_attention(
            inputs.patch_tokens[:frames].double(),
            inputs.region_tokens[:frames].double(),
            type(inputs.weights)(*(None if weight is None else weight.double() for weight in inputs.weights)),
            num_heads=inputs.num_heads,
            grid=inputs.grid,
            region_positions=inputs.region_positions[:frames].double(),
            num_prefix_tokens=inputs.num_prefix_tokens,
            implementation="reference",
        )


def build_call(prepared: PreparedPeer, backward: bool, output_gradient: Tensor) -> Callable[[], object]:
    """The timed call: a forward without autograd, or a forward and the gradients of all leaves."""
    if backward:
        return lambda: torch.autograd.grad(prepared.forward(), prepared.leaves, output_gradient)

    def forward() -> Tensor:
        with torch.no_grad():
            return prepared.forward()

    return forward


def result_bytes(prepared: PreparedPeer, backward: bool, output: Tensor) -> int:
    """Bytes of what a call returns, which no implementation can avoid."""
    tensors: Iterable[Tensor] = prepared.leaves if backward else [output]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def describe_failure(error: BaseException) -> str:
    """One line of why a peer cannot run."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"


def measure_point(
    point: Point, peers: list[Peer], passes: list[str], dtype: torch.dtype, stopwatch: Stopwatch, seconds: float
) -> list[dict[str, Any]]:
    """Run every peer at one point, in every pass; failures become rows with a reason."""
    device = stopwatch.device
    torch._dynamo.reset()  # each point is a new static shape, and the limit on recompilations is per function
    inputs = draw_inputs(point.frames, point.patches, point.regions, point.width, point.num_heads, device, dtype)
    expected = expected_output(inputs)
    output_gradient = torch.ones_like(inputs.patch_tokens)
    rows: list[dict[str, Any]] = []
    for name in passes:
        backward = name == "forward+backward"
        calls, measured = {}, {}
        for peer in peers:
            row = {**asdict(point), "dtype": str(dtype).removeprefix("torch."), "pass": name, "peer": peer.name}
            try:
                prepared = peer.prepare(inputs)
                call = build_call(prepared, backward, output_gradient)
                with torch.no_grad():
                    output = prepared.forward()
                error = (output[:2].double() - expected).norm() / expected.norm()
                call()
                synchronize(device)
                held = peak_memory(call, device)
            except Exception as failure:  # noqa: BLE001  # any peer may fail in any way; the table says how
                rows.append({**row, "failure": describe_failure(failure)})
                continue
            beyond = None if held is None else max(0, held - result_bytes(prepared, backward, output))
            row |= {"relative_error": error.item(), "peak_bytes_beyond_results": beyond}
            calls[peer.name], measured[peer.name] = call, (peer, row)
            del output
        for peer_name, timing in stopwatch.time_in_turns(calls, seconds).items():
            peer, row = measured[peer_name]
            flops = point.flops(peer.order) * (3 if backward else 1)
            moved = point.compulsory_bytes(peer.order, dtype.itemsize, backward)
            row |= {f"{field}_seconds" if field != "repeats" else field: x for field, x in asdict(timing).items()}
            row |= {"flops": flops, "flops_per_second": flops / timing.median}
            rows.append(row | {"compulsory_bytes": moved, "bytes_per_second": moved / timing.median})
    return rows


def build_table(point: Point, name: str, rows: list[dict[str, Any]], ceilings: Ceilings) -> Table:
    """One table of one point and pass, fastest first; failures are not in it."""
    table = Table(title=f"{point}: {name}")
    for column in (
        "peer",
        "median ms",
        "quartiles ms",
        "processor ms",
        f"x {BASELINE}",
        "beyond results MiB",
        "of copy",
        "of matmul",
        "error",
    ):
        table.add_column(column, justify="left" if column == "peer" else "right")
    done = sorted((row for row in rows if "failure" not in row), key=lambda row: row["median_seconds"])
    baseline = next((row["median_seconds"] for row in done if row["peer"] == BASELINE), None)
    for row in done:
        beyond, processor = row["peak_bytes_beyond_results"], row["processor_median_seconds"]
        table.add_row(
            row["peer"],
            f"{1e3 * row['median_seconds']:.3f}",
            f"{1e3 * row['lower_quartile_seconds']:.3f}–{1e3 * row['upper_quartile_seconds']:.3f}",
            "" if processor is None else f"{1e3 * processor:.3f}",
            f"{baseline / row['median_seconds']:.2f}" if baseline and not row["peer"].endswith("stream") else "",
            "" if beyond is None else f"{beyond / 2**20:.0f}",
            f"{100 * row['bytes_per_second'] / ceilings.bytes_per_second:.0f} %",
            f"{100 * row['flops_per_second'] / ceilings.flops_per_second:.0f} %",
            f"{row['relative_error']:.1e}",
        )
    return table


def format_milliseconds(seconds: float) -> str:
    """Three digits, without an exponent."""
    milliseconds = 1e3 * seconds
    return f"{milliseconds:,.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


_NAMES: dict[str, Callable[[int], str]] = {
    "frames": lambda frames: counted(frames, "frame"),
    "width": "D {}".format,
    "regions": "M {}".format,
    "patches": "N {}".format,
}
_PLACES = [(9, -10, "left"), (9, 5, "left"), (-9, -10, "right"), (-9, 5, "right"), (9, -20, "left"), (9, 15, "left")]


def plot_roofline(path: Path, rows: list[dict[str, Any]], ceilings: Ceilings, title: str) -> None:
    """FLOP/s over arithmetic intensity (FLOPs per compulsory byte) of every forward row, under the two ceilings."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter

    done = [row for row in rows if "failure" not in row and row["pass"] == "forward"]
    figure, axes = plt.subplots(figsize=(8, 5.5), layout="constrained")
    intensities = [row["flops"] / row["compulsory_bytes"] for row in done]
    line = [min(intensities, default=1.0) / 4, max([*intensities, 1.0]) * 4]
    line = sorted([*line, ceilings.flops_per_second / ceilings.bytes_per_second])
    roof = [min(x * ceilings.bytes_per_second, ceilings.flops_per_second) / 1e9 for x in line]
    axes.plot(line, roof, color="black", linewidth=1.5, label="copy and matrix product, measured")
    markers = dict(zip(dict.fromkeys(row["peer"] for row in done), itertools.cycle("osD^vP*Xhd<>p"), strict=False))
    for name, marker in markers.items():
        own = [(x, row) for x, row in zip(intensities, done, strict=True) if row["peer"] == name]
        heights = [row["flops_per_second"] / 1e9 for _, row in own]
        axes.scatter([x for x, _ in own], heights, marker=marker, s=45, alpha=0.8, label=name)
    axes.set(xscale="log", yscale="log", xlabel="FLOPs per compulsory byte", ylabel="GFLOP/s", title=title)
    for axis, steps in ((axes.xaxis, (1.0,)), (axes.yaxis, (1.0, 2.0, 5.0))):
        axis.set_major_locator(LogLocator(subs=steps))
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3, which="both")
    legend = axes.legend(fontsize=8)
    figure.canvas.draw()
    if done:
        label_groups(axes, done, [legend.get_window_extent()])
    figure.savefig(path, dpi=130)
    plt.close(figure)


def label_groups(axes: Any, rows: list[dict[str, Any]], taken: list[Any]) -> list[Any]:
    """Write beside the peers of each point and order of products what the point is and how long they take.

    Args:
        axes: Where they are drawn, laid out.
        rows: The rows that are drawn.
        taken: Boxes in pixels beside the peers' on which nothing is written; a label without room is left out.

    Returns:
        The boxes of the labels.
    """
    from matplotlib.transforms import Bbox

    told = [name for name in _NAMES if len({row[name] for row in rows}) > 1] or ["frames"]
    groups: dict[tuple[int, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((*(row[name] for name in _NAMES), row["flops"]), []).append(row)
    pixels = axes.transData.transform(
        [[row["flops"] / row["compulsory_bytes"], row["flops_per_second"] / 1e9] for row in rows]
    )
    taken = [*taken, *(Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in pixels)]
    written: list[Any] = []
    for group in groups.values():
        seconds = sorted(row["median_seconds"] for row in group)
        times = list(dict.fromkeys(format_milliseconds(each) for each in (seconds[0], seconds[-1])))
        text = f"{', '.join(_NAMES[name](group[0][name]) for name in told)}: {' to '.join(times)} ms"
        height = sorted(row["flops_per_second"] for row in group)[len(group) // 2] / 1e9
        place = (group[0]["flops"] / group[0]["compulsory_bytes"], height)
        for across, up, side in _PLACES:
            label = axes.annotate(
                text, place, xytext=(across, up), textcoords="offset points", ha=side, fontsize=8, color="#333333"
            )
            box = label.get_window_extent()
            if (
                axes.bbox.containsx(box.x0)
                and axes.bbox.containsx(box.x1)
                and not box.count_overlaps([*taken, *written])
            ):
                written.append(box)
                break
            label.remove()
    return written


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.region_attention", description=__doc__.splitlines()[0])
    parser.add_argument("--suite", choices=("essential", "full"), default="essential")
    for axis in ("frames", "widths", "regions", "patches"):
        parser.add_argument(f"--{axis}", type=int, nargs="+", help=f"default of the full suite: {FULL[axis]}")
    parser.add_argument("--heads", type=int, default=NUM_HEADS)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=tuple(DTYPES), help="default: bfloat16 on a GPU, float32 elsewhere")
    parser.add_argument("--peers", nargs="+", help="names, or all")
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=list(PASSES))
    parser.add_argument("--seconds", type=float, help="of timing per point and pass; default 2 on a GPU, 15 elsewhere")
    parser.add_argument("--budget", type=float, default=400.0, help="seconds after which no further point is begun")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/region_attention-DEVICE.json")
    parser.add_argument(
        "--redraw", type=Path, metavar="JSON", help="draw the plot of an earlier run, and measure nothing"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write; results are written after every point, so that an interrupted run keeps them."""
    options = parse_arguments(arguments)
    if options.redraw:
        document = json.loads(options.redraw.read_text(encoding="utf-8"))
        rows, ceilings = document["results"], Ceilings(**document["ceilings"])
        title = f"{document['environment']['device']}, {rows[0]['dtype']}"
        plot_roofline(options.redraw.with_suffix(".png"), rows, ceilings, title)
        return
    device = torch.device(options.device)
    dtype = DTYPES[options.dtype or ("bfloat16" if device.type == "cuda" else "float32")]
    seconds = options.seconds or (2.0 if device.type == "cuda" else 15.0)
    peers = select_peers(options.peers, device)
    path = options.output or results_path("region_attention", device, "json")
    logging.getLogger("torch").setLevel(logging.ERROR)  # compilers warn about every shape they cannot take
    console, start = Console(width=140), time.perf_counter()

    facts, ceilings = environment(device), measure_ceilings(device, dtype)
    console.print(
        f"{facts['device']}, torch {facts['torch']}, {dtype}: copy {ceilings.bytes_per_second / 1e9:.1f} GB/s, "
        f"matrix product {ceilings.flops_per_second / 1e9:.0f} GFLOP/s, load {facts['load_average_at_start']}"
    )
    stopwatch, rows = Stopwatch(device), []
    points = select_points(options, device)
    for index, point in enumerate(points):
        if time.perf_counter() - start > options.budget:
            console.print(f"the budget of {options.budget:.0f} s is spent; {len(points) - index} points not begun")
            break
        measured = measure_point(point, peers, options.passes, dtype, stopwatch, seconds)
        rows += measured
        for name in options.passes:
            rows_of_pass = [row for row in measured if row["pass"] == name]
            console.print(build_table(point, name, rows_of_pass, ceilings))
            for row in rows_of_pass:
                if "failure" in row:
                    console.print(f"  {row['peer']}: {row['failure']}", style="dim", highlight=False)
        write_results(path, facts, ceilings, rows)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    plot_roofline(path.with_suffix(".png"), rows, ceilings, f"{facts['device']}, {str(dtype).removeprefix('torch.')}")
    console.print(f"results: {path}\nplot: {path.with_suffix('.png')}")


if __name__ == "__main__":
    main()
