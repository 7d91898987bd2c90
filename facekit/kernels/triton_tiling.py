"""Shapes of the Triton kernels of region attention: how columns are padded and which block sizes a launch takes.

Plain arithmetic: importable without Triton, tested without a device, and read by the fake (shape-only) implementation
of the operator and by the ahead-of-time report. Sizes come from a fixed table rather than from timing at run time, so
that the first call does not stall and equal shapes always give equal bits.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import Any

from facekit.errors import ConfigurationError

TILING_VARIABLE = "FACEKIT_TRITON_TILING"
MAX_REGIONS = 64
# Registers per thread that the table kernel may use on NVIDIA devices. Left to itself, the assembler of some versions
# aims for two programs per multiprocessor, which shared memory does not allow anyway, and spills.
TABLE_REGISTERS = 255
_DOT_MINIMUM = 16
_GROUP_COLUMNS = 128


def next_power_of_two(number: int) -> int:
    """The smallest power of two that is at least ``number``."""
    return 1 << max(number - 1, 0).bit_length()


@dataclass(frozen=True)
class ColumnLayout:
    """How the H·M columns of a frame's scores are laid out in tiles whose sizes are powers of two.

    Heads are taken in groups of ``group_heads``. In a group, the first ``main`` regions of each head form one block
    of columns and the remaining regions, padded to ``tail``, a second one: nine regions cost 8 + 2 columns per head
    instead of 16. Either block is head-major, so reshaping it to (rows, heads, regions) separates the heads, and the
    softmax of a head is a reduction over the last axis of both blocks.

    Attributes:
        heads: H.
        regions: M.
        group_heads: heads in a group, a power of two.
        main: columns per head in the first block, a power of two.
        tail: columns per head in the second block, a power of two, or zero where one block holds all regions.
    """

    heads: int
    regions: int
    group_heads: int
    main: int
    tail: int

    @property
    def groups(self) -> int:
        """Groups that hold all heads."""
        return -(-self.heads // self.group_heads)

    @property
    def group_columns(self) -> int:
        """Padded columns of a group."""
        return self.group_heads * (self.main + self.tail)

    @property
    def padded_columns(self) -> int:
        """Padded columns of a frame: the last axis of the saved weights."""
        return self.groups * self.group_columns

    def constants(self) -> dict[str, int]:
        """Compile-time arguments that every kernel takes."""
        return {
            "HEADS": self.heads,
            "REGIONS": self.regions,
            "GROUP_HEADS": self.group_heads,
            "GROUPS": self.groups,
            "MAIN": self.main,
            "TAIL": self.tail,
        }


def column_layout(heads: int, regions: int) -> ColumnLayout:
    """The layout with the fewest padded columns.

    Args:
        heads: H, at least 1.
        regions: M, 1 to 64.
    """
    candidates = []
    for main in (next_power_of_two(regions), 1 << (regions.bit_length() - 1)):
        group = min(next_power_of_two(heads), max(_GROUP_COLUMNS // main, 1))
        minimum = -(-_DOT_MINIMUM // group)
        tail = max(next_power_of_two(regions - main), minimum) if regions > main else 0
        candidates.append(ColumnLayout(heads, regions, group, max(main, minimum), tail))
    return min(candidates, key=lambda layout: layout.padded_columns)


@dataclass(frozen=True)
class Blocks:
    """Sizes of one launch.

    Attributes:
        rows: patches per tile.
        width: channels of D per step.
        warps: warps per program.
        stages: depth of the software pipeline.
    """

    rows: int
    width: int
    warps: int
    stages: int


@dataclass(frozen=True)
class DeviceLimits:
    """What the choice of sizes needs to know about a device; the defaults are those of an H200.

    Attributes:
        multiprocessors: programs that can run at once, at one per multiprocessor.
        cache_bytes: size of the L2 cache.
        shared_bytes: shared memory that one program may use.
    """

    multiprocessors: int = 132
    cache_bytes: int = 60 << 20
    shared_bytes: int = 227 << 10


@dataclass(frozen=True)
class Tiling:
    """Sizes of every launch of one call.

    Attributes:
        scores: a row tile against all of D: softmax weights forward, their gradient backward.
        apply: a slice of D against all rows: the output forward, and the patches' gradient where heads come in
            several groups.
        tables: a slice of D against all rows: gradients of both absorbed tables and of the patches.
        tables_alone: the same where the patches need no gradient, as when all before the attention is frozen.
        fused: a row tile against all of D, twice: the whole forward pass in one kernel, instead of ``scores``
            and ``apply``; None where it takes two.
    """

    scores: Blocks
    apply: Blocks
    tables: Blocks
    tables_alone: Blocks
    fused: Blocks | None = None


# First the sizes for many frames, then smaller ones for when those would leave multiprocessors idle. Every row was
# compiled ahead of time for sm_80, sm_90 and sm_100 without spills: `python -m benchmarks.kernel_report`.
_HALF: dict[str, tuple[Blocks, ...]] = {
    "scores": (Blocks(128, 64, 8, 4), Blocks(64, 64, 4, 4), Blocks(32, 64, 4, 4), Blocks(16, 64, 4, 4)),
    "apply": (Blocks(64, 128, 4, 3), Blocks(64, 64, 4, 3), Blocks(64, 32, 4, 3)),
    "tables": (Blocks(64, 128, 8, 3), Blocks(64, 64, 8, 3)),
    "tables_alone": (Blocks(64, 128, 8, 2), Blocks(64, 64, 8, 2)),
    "tables, small device": (Blocks(32, 64, 8, 2),),
    "fused": (Blocks(64, 128, 4, 4),),
}
_HALF_WIDE: dict[str, tuple[Blocks, ...]] = {
    "scores": (Blocks(64, 64, 8, 3), Blocks(32, 64, 8, 3), Blocks(16, 64, 4, 3)),
    "apply": (Blocks(64, 64, 4, 2), Blocks(64, 32, 4, 2)),
    "tables": (Blocks(64, 64, 8, 2),),
    "tables, small device": (Blocks(16, 64, 8, 2),),
}
_SINGLE: dict[str, tuple[Blocks, ...]] = {
    "scores": (Blocks(64, 32, 4, 3), Blocks(16, 32, 4, 3)),
    "apply": (Blocks(32, 64, 4, 3), Blocks(32, 32, 4, 3)),
    "tables": (Blocks(16, 64, 8, 3), Blocks(16, 32, 4, 3)),
}
_SINGLE_WIDE: dict[str, tuple[Blocks, ...]] = {
    "scores": (Blocks(32, 32, 8, 3), Blocks(16, 32, 8, 3)),
    "apply": (Blocks(32, 32, 8, 2),),
    "tables": (Blocks(16, 32, 8, 2),),
}
_NARROW_COLUMNS = 96
_LARGE_SHARED_BYTES = 200 << 10
# Tiles in flight beyond this share of the cache are mostly gone before they are read again.
_CACHE_SHARE = 0.6


def tiling_table(element_bytes: int, layout: ColumnLayout) -> dict[str, tuple[Blocks, ...]]:
    """The rows of the table that a layout and a dtype select, by kind of launch."""
    wide = layout.group_columns > _NARROW_COLUMNS
    if element_bytes == 4:
        return _SINGLE_WIDE if wide else _SINGLE
    return _HALF_WIDE if wide else _HALF


def _smallest_that_fills(choices: tuple[Blocks, ...], programs: dict[Blocks, int], multiprocessors: int) -> Blocks:
    return next((blocks for blocks in choices if programs[blocks] >= multiprocessors), choices[-1])


def choose_tiling(
    num_frames: int,
    num_patches: int,
    width: int,
    element_bytes: int,
    layout: ColumnLayout,
    limits: DeviceLimits,
) -> Tiling:
    """Sizes of all launches for one shape; the environment variable ``FACEKIT_TRITON_TILING`` overrules parts of it.

    The variable is read at every call and reads like ``scores=128x64x8x4,apply=64x128x4x3,fused=0``: rows, width,
    warps and stages of a launch, all powers of two but the stages; ``fused=0`` asks for two kernels. It is meant for
    tuning on a device and for tests.

    Args:
        num_frames: F.
        num_patches: N.
        width: D.
        element_bytes: of the patches' dtype, 2 or 4.
        layout: of the columns.
        limits: of the device.

    Raises:
        ConfigurationError: if the variable cannot be read.
    """
    table = tiling_table(element_bytes, layout)

    def by_rows(choices: tuple[Blocks, ...]) -> Blocks:
        programs = {blocks: num_frames * -(-num_patches // blocks.rows) * layout.groups for blocks in choices}
        return _smallest_that_fills(choices, programs, limits.multiprocessors)

    def by_width(choices: tuple[Blocks, ...]) -> Blocks:
        programs = {blocks: num_frames * -(-width // blocks.width) for blocks in choices}
        return _smallest_that_fills(choices, programs, limits.multiprocessors)

    small_device = limits.shared_bytes < _LARGE_SHARED_BYTES and "tables, small device" in table
    tables = table["tables, small device" if small_device else "tables"]
    tiling = Tiling(
        scores=by_rows(table["scores"]),
        apply=by_width(table["apply"]),
        tables=by_width(tables),
        tables_alone=by_width(tables if small_device else table.get("tables_alone", tables)),
    )
    if "fused" in table and layout.groups == 1 and not small_device:
        fused = table["fused"][0]
        row_bytes = width * element_bytes
        stage_bytes = fused.stages * (fused.rows + layout.group_columns) * fused.width * element_bytes
        programs = limits.multiprocessors * max(limits.shared_bytes // stage_bytes, 1)
        fills = num_frames * -(-num_patches // fused.rows) >= programs
        if fills and programs * fused.rows * row_bytes <= _CACHE_SHARE * limits.cache_bytes:
            tiling = replace(tiling, fused=fused)
    return _overruled(tiling, layout)


def _overruled(tiling: Tiling, layout: ColumnLayout) -> Tiling:
    text = os.environ.get(TILING_VARIABLE, "")
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        sizes = value.split("x")
        if name not in {field.name for field in fields(Tiling)} or not (
            (len(sizes) == len(fields(Blocks)) and all(size.isdecimal() for size in sizes)) or part.strip() == "fused=0"
        ):
            raise ConfigurationError(
                f"environment variable {TILING_VARIABLE}: cannot read '{part}'; "
                "write scores=, apply=, tables=, tables_alone= or fused= ROWSxWIDTHxWARPSxSTAGES, or fused=0, "
                "separated by commas"
            )
        overrule: dict[str, Any] = {name: None if value == "0" else Blocks(*map(int, sizes))}
        tiling = replace(tiling, **overrule)
    return tiling if layout.groups == 1 else replace(tiling, fused=None)
