"""Ahead-of-time report on the Triton kernels of region attention: ``python -m benchmarks.kernel_report``.

Compiles every kernel, with the block sizes that a call would choose, for sm_80, sm_90 and sm_100; no GPU is needed.
Prints registers, spills, shared memory and matrix instructions, writes them to JSON, and exits with status 1 if any
kernel spills registers to memory. It is the place to look before and after changing ``triton_tiling``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from facekit.kernels.triton_tiling import TABLE_REGISTERS, Blocks, DeviceLimits, choose_tiling, column_layout

RESULTS = Path(__file__).parent / "results" / "kernel_report.json"
PATCHES, HEADS = 257, 8
# Multiprocessors, L2 bytes and shared memory of a program on an A100, an H200 and a B200.
DEVICES = {
    80: DeviceLimits(108, 40 << 20, 163 << 10),
    90: DeviceLimits(132, 60 << 20, 227 << 10),
    100: DeviceLimits(148, 126 << 20, 227 << 10),
}
MATRIX_INSTRUCTIONS = ("wgmma.mma_async", "tcgen05.mma", "mma.sync")
TOKEN_POINTERS = frozenset(
    (
        *("patch_tokens", "absorbed_keys", "score_bias", "absorbed_values", "output_bias", "weights", "output"),
        *("base", "table", "bias", "output_gradient", "score_gradient"),
        *("key_gradient", "value_gradient", "patch_gradient"),
    )
)
FLOAT_POINTERS = ("region_positions", "sums")


@dataclass(frozen=True)
class Case:
    """One kernel to compile.

    Attributes:
        kernel: its name in ``triton_forward`` or ``triton_backward``.
        role: what the launch does.
        architecture: compute capability times ten.
        dtype: Triton's name of the tokens' dtype.
        width: D.
        regions: M.
        blocks: sizes of the launch.
        constants: other compile-time arguments; None for a pointer that is not given.
    """

    kernel: str
    role: str
    architecture: int
    dtype: str
    width: int
    regions: int
    blocks: Blocks
    constants: tuple[tuple[str, int | bool | None], ...] = ()


@dataclass(frozen=True)
class Usage:
    """What the compiled kernel uses.

    Attributes:
        registers: per thread.
        stack_bytes: of a thread's frame in local memory.
        spills: local-memory loads and stores among the machine instructions.
        shared_bytes: shared memory of a program.
        programs: programs that fit on a multiprocessor at once.
        matrix_instructions: by name, how many the kernel's text has.
    """

    registers: int
    stack_bytes: int
    spills: int
    shared_bytes: int
    programs: int
    matrix_instructions: dict[str, int]


def cases(
    architectures: Iterable[int],
    dtypes: Iterable[str],
    widths: Iterable[int],
    regions: Iterable[int],
    frames: Iterable[int],
) -> Iterator[Case]:
    """Every launch of a forward and a backward pass of those shapes, each once."""
    seen = set()
    for frame_count in frames:
        for architecture in architectures:
            for dtype in dtypes:
                for width in widths:
                    for region_count in regions:
                        for case in _launches(architecture, dtype, width, region_count, frame_count):
                            if case not in seen:
                                seen.add(case)
                                yield case


def _launches(architecture: int, dtype: str, width: int, regions: int, frames: int) -> list[Case]:
    element_bytes = 4 if dtype == "fp32" else 2
    layout = column_layout(HEADS, regions)
    tiling = choose_tiling(frames, PATCHES, width, element_bytes, layout, DEVICES[architecture])

    def case(kernel: str, role: str, blocks: Blocks, **constants: int | bool | None) -> Case:
        return Case(kernel, role, architecture, dtype, width, regions, blocks, tuple(constants.items()))

    if tiling.fused is not None:
        forward = [case("attention_weights_kernel", "forward, fused", tiling.fused, FUSED=True)]
    else:
        missing = {"absorbed_values": None, "output_bias": None, "output": None}
        forward = [
            case("attention_weights_kernel", "forward, weights", tiling.scores, FUSED=False, **missing),
            case("apply_weights_kernel", "forward, output", tiling.apply),
        ]
    return [
        *forward,
        case("score_gradient_kernel", "backward, scores", tiling.scores),
        case("column_sums_kernel", "backward, bias and positions", Blocks(16, 0, 4, 0)),
        case("table_gradient_kernel", "backward, tables and patches", tiling.tables),
        case("table_gradient_kernel", "backward, tables alone", tiling.tables_alone, patch_gradient=None),
    ]


def _argument_type(name: str, dtype: str) -> str:
    if name in TOKEN_POINTERS:
        return f"*{dtype}"
    if name in FLOAT_POINTERS:
        return "*fp32"
    return "*u8" if name == "present" else "i32"


def compile_case(case: Case) -> Usage:
    """Compile one kernel and read what it uses out of its machine code.

    Raises:
        subprocess.CalledProcessError: if NVIDIA's disassembler, which Triton ships, fails.
    """
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from facekit.kernels import triton_backward, triton_forward

    kernel: Any = getattr(triton_forward, case.kernel, None) or getattr(triton_backward, case.kernel)
    constants: dict[str, Any] = {
        "WIDTH": case.width,
        "BLOCK_ROWS": case.blocks.rows,
        "BLOCK_WIDTH": case.blocks.width,
        "STAGES": case.blocks.stages,
        "WIDEN": False,
        **column_layout(HEADS, case.regions).constants(),
        **dict(case.constants),
    }
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    signature = {
        name: "constexpr" if name in constants else _argument_type(name, case.dtype) for name in kernel.arg_names
    }
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
    }
    options = {"num_warps": case.blocks.warps}
    if case.role == "backward, tables and patches":
        options["maxnreg"] = TABLE_REGISTERS
    compiled = triton.compile(
        ASTSource(kernel, signature, constexprs=constants, attrs=aligned),
        target=GPUTarget("cuda", case.architecture, 32),
        options=options,
    )
    return _usage(compiled, case, Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump")


def _usage(compiled: Any, case: Case, disassembler: Path) -> Usage:
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder) / "kernel.cubin"
        binary.write_bytes(compiled.asm["cubin"])
        listing = subprocess.run(
            [disassembler, "-res-usage", "-sass", binary], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", listing)
    if found is None:
        raise ValueError(f"{disassembler} printed no resource usage for {case.kernel}; its output has changed")
    registers, stack = int(found[1]), int(found[2])
    shared = compiled.metadata.shared
    by_registers = 65536 // (-(-registers // 8) * 8 * 32 * case.blocks.warps)
    by_shared = (DEVICES[case.architecture].shared_bytes + 1024) // (shared + 1024)
    counts = {name: compiled.asm["ptx"].count(name) for name in MATRIX_INSTRUCTIONS}
    return Usage(
        registers=registers,
        stack_bytes=stack,
        spills=len(re.findall(r"\b(?:LDL|STL)\b", listing)),
        shared_bytes=shared,
        programs=min(by_registers, by_shared, 64 // case.blocks.warps),
        matrix_instructions={name: count for name, count in counts.items() if count},
    )


def compile_all(chosen: list[Case], processes: int) -> list[Usage]:
    """Compile every case, in this process or in several."""
    if processes <= 1:
        return [compile_case(case) for case in chosen]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return list(pool.map(compile_case, chosen))


def print_table(chosen: list[Case], usages: list[Usage]) -> None:
    """Print one line per kernel."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Region attention kernels, N = {PATCHES}, H = {HEADS}")
    for heading in ("sm", "dtype", "D", "M", "launch", "rows x width x warps x stages", "registers", "spills"):
        table.add_column(heading)
    for heading in ("shared KiB", "programs/SM", "matrix instructions"):
        table.add_column(heading)
    for case, usage in zip(chosen, usages, strict=True):
        blocks = case.blocks
        matrix = ", ".join(f"{name} x{count}" for name, count in usage.matrix_instructions.items())
        table.add_row(
            str(case.architecture), case.dtype, str(case.width), str(case.regions), case.role,
            f"{blocks.rows} x {blocks.width} x {blocks.warps} x {blocks.stages}",
            str(usage.registers), f"[bold red]{usage.spills}[/]" if usage.spills else "0",
            f"{usage.shared_bytes / 1024:.0f}", str(usage.programs), matrix or "-",
        )  # fmt: skip
    Console(width=170 if not sys.stdout.isatty() else None).print(table)


def write_json(path: Path, chosen: list[Case], usages: list[Usage]) -> None:
    """Write cases, usages and Triton's version."""
    import triton

    rows = [
        {**asdict(case), "constants": dict(case.constants), **asdict(usage)}
        for case, usage in zip(chosen, usages, strict=True)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"triton": triton.__version__, "kernels": rows}, indent=1) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the report.

    Returns:
        1 if a kernel spills, else 0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architectures", type=int, nargs="+", choices=sorted(DEVICES), default=sorted(DEVICES))
    parser.add_argument("--dtypes", nargs="+", choices=("bf16", "fp16", "fp32"), default=["bf16", "fp32"])
    parser.add_argument("--widths", type=int, nargs="+", default=[1024, 3584, 4096])
    parser.add_argument("--regions", type=int, nargs="+", default=[5, 9])
    parser.add_argument("--frames", type=int, nargs="+", default=[1024], help="few frames choose smaller blocks")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    os.environ.pop("TRITON_INTERPRET", None)

    chosen = list(cases(options.architectures, options.dtypes, options.widths, options.regions, options.frames))
    usages = compile_all(chosen, options.processes)
    print_table(chosen, usages)
    write_json(options.output, chosen, usages)
    spilling = sum(usage.spills > 0 for usage in usages)
    print(f"{len(chosen)} kernels compiled, {spilling} spill; written to {options.output}")
    return 1 if spilling else 0


if __name__ == "__main__":
    sys.exit(main())
