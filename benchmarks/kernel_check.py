"""Every implementation of region attention against float64: values and all gradients, odd shapes, every dtype.

    python -m benchmarks.kernel_check                        # on a GPU, Triton's kernels among them
    TRITON_INTERPRET=1 python -m benchmarks.kernel_check --shapes small   # without one, in Triton's interpreter

The oracle is the textbook order of products in float64 on the same rounded inputs. Prints a row per implementation and
dtype with the largest relative error, writes every case to JSON, and exits with status 1 where one is beyond its
tolerance or could not run. On the small shapes Triton's kernels are checked by every route: the sizes that a call
chooses, large blocks in two kernels, and one fused kernel.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.harness import environment, results_path, write_results
from benchmarks.region_attention_peers import Inputs, draw_inputs
from facekit.errors import first_line
from facekit.kernels import RegionAttentionWeights, region_attention

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOLERANCE = {"float32": (1e-5, 2e-5), "bfloat16": (2e-2, 4e-2), "float16": (1e-2, 2e-2)}
"""Largest relative error of the value, and of a gradient, by dtype; bfloat16 rounds by 4e-3, and several times."""
ROUTES = {
    "absorbed": "",
    "lean": "",
    "triton": "",
    "triton, large blocks": "scores=128x64x8x4,apply=64x128x4x3,tables=64x128x8x3,fused=0",
    "triton, fused": "fused=64x128x4x4",
}


@dataclass(frozen=True)
class Shape:
    """F frames of N patches and M regions, width D, H heads."""

    frames: int
    patches: int
    regions: int
    width: int
    heads: int


SMALL = (
    Shape(2, 36, 9, 72, 2), Shape(1, 6, 9, 40, 8), Shape(2, 14, 1, 50, 1), Shape(1, 25, 5, 33, 3),
    Shape(1, 25, 17, 40, 5),
)  # fmt: skip
LARGE = (
    *SMALL,
    Shape(3, 257, 9, 1024, 8), Shape(2, 196, 5, 1000, 8), Shape(5, 257, 9, 4096, 8), Shape(2, 1024, 9, 3584, 8),
    Shape(1, 577, 33, 1152, 16), Shape(7, 65, 64, 96, 3), Shape(64, 257, 9, 1024, 8),
)  # fmt: skip


def run_case(shape: Shape, dtype: torch.dtype, route: str, device: torch.device) -> dict[str, float]:
    """Relative errors of the ``result`` and of every gradient, by name."""
    inputs = draw_inputs(shape.frames, shape.patches, shape.regions, shape.width, shape.heads, device, dtype)
    gradient = torch.randn(inputs.patch_tokens.shape, generator=torch.Generator().manual_seed(1))
    gradient = gradient.to(device, dtype)
    with mock.patch.dict(os.environ, {"FACEKIT_TRITON_TILING": ROUTES[route]}):
        found = _value_and_gradients(inputs, route.partition(",")[0], gradient)
    expected = _value_and_gradients(_in_float64(inputs), "reference", gradient.double())
    largest = max(float(tensor.norm()) for tensor in expected.values())
    return {name: _relative_error(found[name], expected[name], largest) for name in expected}


def _in_float64(inputs: Inputs) -> Inputs:
    def widen(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.detach().double().requires_grad_()

    return replace(
        inputs,
        patch_tokens=widen(inputs.patch_tokens),
        region_tokens=widen(inputs.region_tokens),
        weights=RegionAttentionWeights(*map(widen, inputs.weights)),
        region_positions=inputs.region_positions.double(),
    )


def _value_and_gradients(inputs: Inputs, implementation: str, gradient: Tensor) -> dict[str, Tensor]:
    leaves = {"patch_tokens": inputs.patch_tokens, "region_tokens": inputs.region_tokens}
    leaves |= {name: weight for name, weight in inputs.weights._asdict().items() if weight is not None}
    value = region_attention(
        inputs.patch_tokens, inputs.region_tokens, inputs.weights, num_heads=inputs.num_heads, grid=inputs.grid,
        region_positions=inputs.region_positions, num_prefix_tokens=inputs.num_prefix_tokens,
        implementation=implementation,
    )  # fmt: skip
    gradients = torch.autograd.grad(value, list(leaves.values()), gradient)
    return {"result": value.detach(), **dict(zip(leaves, gradients, strict=True))}


def _relative_error(found: Tensor, expected: Tensor, largest: float) -> float:
    """Of norms; what is zero in truth, such as the gradient of a key's bias, is held against the largest gradient."""
    scale = float(expected.norm())
    return float((found.double() - expected).norm()) / (scale if scale > 1e-9 * largest else largest)


def is_within(errors: dict[str, float], dtype: str) -> bool:
    """Whether all errors are within the tolerance of a dtype; NaN is not."""
    forward, backward = TOLERANCE[dtype]
    return all(error <= (forward if name == "result" else backward) for name, error in errors.items())


def check(shapes: tuple[Shape, ...], device: torch.device, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield a row per shape, dtype and route, until the time is over."""
    start = time.perf_counter()
    runs_triton = device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    for shape in shapes:
        for dtype in DTYPES:
            for route in ROUTES if shape in SMALL else ("absorbed", "lean", "triton"):
                row: dict[str, Any] = {"shape": asdict(shape), "dtype": dtype, "route": route}
                if route.startswith("triton") and not runs_triton:
                    yield {**row, "skipped": "Triton needs a GPU, or TRITON_INTERPRET=1"}
                elif time.perf_counter() - start > seconds:
                    yield {**row, "skipped": f"the budget of {seconds:.0f} s is spent"}
                else:
                    yield {**row, **_run(shape, dtype, route, device)}


def _run(shape: Shape, dtype: str, route: str, device: torch.device) -> dict[str, Any]:
    try:
        errors = run_case(shape, DTYPES[dtype], route, device)
    except Exception as error:  # noqa: BLE001 - whatever fails is a result, and the next case runs
        return {"passed": False, "failure": f"{type(error).__name__}: {first_line(error)}"}
    return {"passed": is_within(errors, dtype), "errors": errors}


def build_table(rows: list[dict[str, Any]]) -> Table:
    """The largest errors of each route and dtype."""
    table = Table(title="largest relative error against float64", title_justify="left")
    for column in ("route", "dtype", "cases", "result", "gradient", "failed", "skipped"):
        table.add_column(column, justify="left" if column in ("route", "dtype") else "right")
    for route, dtype in dict.fromkeys((row["route"], row["dtype"]) for row in rows):
        own = [row for row in rows if (row["route"], row["dtype"]) == (route, dtype)]
        errors = [row["errors"] for row in own if "errors" in row]
        value = max((each["result"] for each in errors), default=None)
        gradient = max((error for each in errors for name, error in each.items() if name != "result"), default=None)
        table.add_row(
            route, dtype, str(len(errors)), *("-" if each is None else f"{each:.1e}" for each in (value, gradient)),
            str(sum(row.get("passed") is False for row in own)), str(sum("skipped" in row for row in own)),
        )  # fmt: skip
    return table


def main(arguments: list[str] | None = None) -> None:
    """Check, print, write; exits with status 1 where something is beyond its tolerance."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernel_check", description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", choices=("small", "large"), help="default: large on a GPU, small elsewhere")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=100.0, help="after which no further case is begun")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/kernel_check-DEVICE.json")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    torch.backends.cuda.matmul.allow_tf32 = False
    shapes = LARGE if (options.shapes or ("large" if device.type == "cuda" else "small")) == "large" else SMALL
    rows = list(check(shapes, device, options.seconds))
    console = Console(width=120)
    console.print(build_table(rows))
    failed = [row for row in rows if row.get("passed") is False]
    for row in failed:
        console.print(row, style="red", highlight=False)
    path = options.output or results_path("kernel_check", device, "json")
    write_results(path, environment(device), None, rows)
    console.print(f"written to {path}")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
