"""Device functions that the forward and the backward Triton kernels of region attention share.

They are inlined into the kernels. A kernel holds the columns (head, region) of a group of heads as two tiles, ``main``
and ``tail``; ``triton_tiling.ColumnLayout`` says why. Where the layout has no tail, functions return ``main``
instead and callers do not look at it.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def table_columns(
    group,
    SPAN: tl.constexpr,
    FIRST: tl.constexpr,
    HEADS: tl.constexpr,
    REGIONS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Row of the absorbed table (``h * M + m``), region and validity of each column of one block of a group."""
    column = tl.arange(0, GROUP_HEADS * SPAN)
    head = group * GROUP_HEADS + column // SPAN
    region = FIRST + column % SPAN
    return head * REGIONS + region, region, (head < HEADS) & (region < REGIONS)


@triton.jit
def present_limits(present, frame, WIDTH: tl.constexpr, REGIONS: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """How many channels and regions of a frame to look at: all of them, or none where the frame is absent."""
    channels = WIDTH
    regions = REGIONS
    if present is not None:
        is_present = tl.load(present + frame) != 0
        channels = tl.where(is_present, WIDTH, 0)
        regions = tl.where(is_present, REGIONS, 0)
    return channels, regions


@triton.jit
def product(left, right, total, WIDEN: tl.constexpr) -> tl.tensor:
    """``total + left @ right`` in float32, without tf32; None for a total that starts at zero.

    WIDEN multiplies in float32 what is not: for the interpreter, which multiplies bfloat16 as if it were integers.
    """
    if WIDEN:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, total, input_precision="ieee")


@triton.jit
def stream_products(
    rows_pointer,
    table_pointer,
    row,
    row_exists,
    group,
    end,
    WIDTH: tl.constexpr,
    HEADS: tl.constexpr,
    REGIONS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    STAGES: tl.constexpr,
    WIDEN: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Products of a tile of rows with every column of a group, in float32, streaming over the first ``end`` channels.

    ``end`` is zero for absent frames: nothing is read then and the products are zero.
    """
    main_key, _, main_valid = table_columns(group, MAIN, 0, HEADS, REGIONS, GROUP_HEADS)
    main = tl.zeros((BLOCK_ROWS, GROUP_HEADS * MAIN), tl.float32)
    if TAIL > 0:
        tail_key, _, tail_valid = table_columns(group, TAIL, MAIN, HEADS, REGIONS, GROUP_HEADS)
        tail = tl.zeros((BLOCK_ROWS, GROUP_HEADS * TAIL), tl.float32)
    for start in tl.range(0, end, BLOCK_WIDTH, num_stages=STAGES):
        channel = start + tl.arange(0, BLOCK_WIDTH)
        inside = (channel < WIDTH)[None, :]
        tile = tl.load(
            rows_pointer + row[:, None] * WIDTH + channel[None, :], mask=row_exists[:, None] & inside, other=0.0
        )
        keys = tl.load(
            table_pointer + main_key[:, None] * WIDTH + channel[None, :], mask=main_valid[:, None] & inside, other=0.0
        )
        main = product(tile, tl.trans(keys), main, WIDEN)
        if TAIL > 0:
            keys = tl.load(
                table_pointer + tail_key[:, None] * WIDTH + channel[None, :],
                mask=tail_valid[:, None] & inside,
                other=0.0,
            )
            tail = product(tile, tl.trans(keys), tail, WIDEN)
    if TAIL == 0:
        tail = main
    return main, tail


@triton.jit
def load_tables(
    table,
    group,
    channel,
    readable,
    WIDTH: tl.constexpr,
    HEADS: tl.constexpr,
    REGIONS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """A slice of channels of the rows of an absorbed table that belong to a group, as (columns, channels) tiles."""
    key, _, valid = table_columns(group, MAIN, 0, HEADS, REGIONS, GROUP_HEADS)
    main = tl.load(table + key[:, None] * WIDTH + channel[None, :], mask=valid[:, None] & readable[None, :], other=0.0)
    tail = main
    if TAIL > 0:
        key, _, valid = table_columns(group, TAIL, MAIN, HEADS, REGIONS, GROUP_HEADS)
        tail = tl.load(
            table + key[:, None] * WIDTH + channel[None, :], mask=valid[:, None] & readable[None, :], other=0.0
        )
    return main, tail


@triton.jit
def patch_center(row, grid_rows, grid_columns, num_prefix_tokens) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Centre (x, y) of each token's patch in normalised image coordinates, and whether it is a patch at all."""
    patch = tl.maximum(row - num_prefix_tokens, 0)
    x = ((patch % grid_columns).to(tl.float32) + 0.5) / grid_columns
    y = ((patch // grid_columns).to(tl.float32) + 0.5) / grid_rows
    return x, y, row >= num_prefix_tokens


@triton.jit
def offset_from_centers(
    positions_pointer, frame, region, valid, center_x, center_y, REGIONS: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Offset (x, y) and distance from each patch centre to the region of each column, in float32."""
    position = positions_pointer + frame * (2 * REGIONS) + region * 2
    offset_x = tl.load(position, mask=valid, other=0.0).to(tl.float32)[None, :] - center_x[:, None]
    offset_y = tl.load(position + 1, mask=valid, other=0.0).to(tl.float32)[None, :] - center_y[:, None]
    return offset_x, offset_y, tl.sqrt(offset_x * offset_x + offset_y * offset_y)
