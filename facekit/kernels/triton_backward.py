"""Backward Triton kernels of the streaming half of region attention: no atomics, so gradients are deterministic.

``score_gradient_kernel`` mirrors the forward pass: a tile of rows of the output's gradient is streamed past the
absorbed values, and with the saved weights P gives the gradient of the scores, ``dS = P (dP - sum P dP)``.
``column_sums_kernel`` reads only that, and sums it into the gradients of the score bias and of the region positions.
``table_gradient_kernel`` owns a slice of D of one frame: it runs over the frame's rows once and accumulates
``dA = dSᵀ X`` and ``dC = Pᵀ dY`` in registers, writing ``dX = dY + dS A`` on the way.

Traffic of one frame, bf16, D = 4096, N = 257, M = 9, H = 8, in MB: the first kernel reads dY 2.1 and C 0.6; the second
reads X and dY 4.2 and A 0.6 and writes dX 2.1 and both tables' gradients 1.2; P and dS are 0.04 each. Together 11.0,
where each tensor moved once would be 8.7: 79 % of the ideal when memory is saturated.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

from facekit.kernels.triton_columns import (
    load_tables,
    offset_from_centers,
    patch_center,
    present_limits,
    product,
    stream_products,
    table_columns,
)


@triton.jit
def score_gradient_kernel(
    output_gradient,
    absorbed_values,
    weights,
    present,
    score_gradient,
    num_patches,
    WIDTH: tl.constexpr,
    HEADS: tl.constexpr,
    REGIONS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    STAGES: tl.constexpr,
    WIDEN: tl.constexpr,
) -> None:
    """Gradient of the scores of a (frame, tile of rows, group of heads), and the tile's column sums."""
    COLUMNS: tl.constexpr = GROUP_HEADS * (MAIN + TAIL)
    tiles = tl.cdiv(num_patches, BLOCK_ROWS)
    program = tl.program_id(0)
    group = program % GROUPS
    tile = (program // GROUPS) % tiles
    frame = (program // (GROUPS * tiles)).to(tl.int64)
    row = tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row_exists = row < num_patches
    present_channels, _ = present_limits(present, frame, WIDTH, REGIONS)

    main, tail = stream_products(
        output_gradient + frame * num_patches * WIDTH,
        absorbed_values + frame * (HEADS * REGIONS * WIDTH),
        row, row_exists, group, present_channels,
        WIDTH, HEADS, REGIONS, GROUP_HEADS, MAIN, TAIL, BLOCK_ROWS, BLOCK_WIDTH, STAGES, WIDEN,
    )  # fmt: skip

    saved = frame * num_patches * (GROUPS * COLUMNS) + group * COLUMNS
    offsets = row[:, None] * (GROUPS * COLUMNS) + tl.arange(0, GROUP_HEADS * MAIN)[None, :]
    share = tl.load(weights + saved + offsets, mask=row_exists[:, None], other=0.0)
    share = tl.reshape(share, (BLOCK_ROWS, GROUP_HEADS, MAIN)).to(tl.float32)
    main = tl.reshape(main, (BLOCK_ROWS, GROUP_HEADS, MAIN))
    mean = tl.sum(share * main, axis=2)
    if TAIL > 0:
        tail_offsets = row[:, None] * (GROUPS * COLUMNS) + (
            GROUP_HEADS * MAIN + tl.arange(0, GROUP_HEADS * TAIL)[None, :]
        )
        tail_share = tl.load(weights + saved + tail_offsets, mask=row_exists[:, None], other=0.0)
        tail_share = tl.reshape(tail_share, (BLOCK_ROWS, GROUP_HEADS, TAIL)).to(tl.float32)
        tail = tl.reshape(tail, (BLOCK_ROWS, GROUP_HEADS, TAIL))
        mean += tl.sum(tail_share * tail, axis=2)
        tail = tl.reshape(tail_share * (tail - mean[:, :, None]), (BLOCK_ROWS, GROUP_HEADS * TAIL))
        tl.store(
            score_gradient + saved + tail_offsets, tail.to(score_gradient.dtype.element_ty), mask=row_exists[:, None]
        )
    main = tl.reshape(share * (main - mean[:, :, None]), (BLOCK_ROWS, GROUP_HEADS * MAIN))
    tl.store(score_gradient + saved + offsets, main.to(score_gradient.dtype.element_ty), mask=row_exists[:, None])


@triton.jit
def column_sums_kernel(
    score_gradient,
    region_positions,
    present,
    sums,
    num_patches,
    grid_rows,
    grid_columns,
    num_prefix_tokens,
    HEADS: tl.constexpr,
    REGIONS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
) -> None:
    """Sums over a frame's rows of the scores' gradient, and of what it means for each column's region x and y.

    One program holds every column of a group, main and tail side by side, padded to a power of two. The proximity is
    minus a distance; at distance zero its gradient is taken as zero.
    """
    COLUMNS: tl.constexpr = GROUP_HEADS * (MAIN + TAIL)
    MAIN_COLUMNS: tl.constexpr = GROUP_HEADS * MAIN
    TABLE: tl.constexpr = HEADS * REGIONS
    program = tl.program_id(0)
    group = program % GROUPS
    frame = (program // GROUPS).to(tl.int64)
    column = tl.arange(0, triton.next_power_of_2(COLUMNS))
    in_tail = column >= MAIN_COLUMNS
    tail_column = column - MAIN_COLUMNS
    head = group * GROUP_HEADS + tl.where(in_tail, tail_column // max(TAIL, 1), column // MAIN)
    region = tl.where(in_tail, MAIN + tail_column % max(TAIL, 1), column % MAIN)
    valid = (column < COLUMNS) & (head < HEADS) & (region < REGIONS)
    _, present_regions = present_limits(present, frame, 1, REGIONS)
    readable = valid & (region < present_regions)

    total = tl.zeros(column.shape, tl.float32)
    total_x = tl.zeros(column.shape, tl.float32)
    total_y = tl.zeros(column.shape, tl.float32)
    score_gradient += frame * num_patches * (GROUPS * COLUMNS) + group * COLUMNS
    for start in tl.range(0, num_patches, BLOCK_ROWS, num_stages=3):
        row = start + tl.arange(0, BLOCK_ROWS)
        gradient = tl.load(
            score_gradient + row[:, None] * (GROUPS * COLUMNS) + column[None, :],
            mask=(row < num_patches)[:, None] & readable[None, :],
            other=0.0,
        ).to(tl.float32)
        total += tl.sum(gradient, axis=0)
        if region_positions is not None:
            center_x, center_y, is_patch = patch_center(row, grid_rows, grid_columns, num_prefix_tokens)
            offset_x, offset_y, distance = offset_from_centers(
                region_positions, frame, region, readable, center_x, center_y, REGIONS
            )
            moving = is_patch[:, None] & (distance > 0)
            pull = tl.where(moving, gradient / tl.where(moving, distance, 1.0), 0.0)
            total_x -= tl.sum(pull * offset_x, axis=0)
            total_y -= tl.sum(pull * offset_y, axis=0)
    sums += frame * (3 * TABLE) + head * REGIONS + region
    tl.store(sums, total, mask=valid)
    tl.store(sums + TABLE, total_x, mask=valid)
    tl.store(sums + 2 * TABLE, total_y, mask=valid)


@triton.jit
def _store_table(gradient, pointer, key, valid, channel, present_channels, WIDTH: tl.constexpr) -> None:
    """Write a (channels, columns) accumulator as rows of a table's gradient; zeros for an absent frame."""
    offsets = pointer + key[None, :] * WIDTH + channel[:, None]
    value = tl.where(present_channels > 0, gradient, 0.0).to(pointer.dtype.element_ty)
    tl.store(offsets, value, mask=valid[None, :] & (channel < WIDTH)[:, None])


@triton.jit
def table_gradient_kernel(
    patch_tokens,
    output_gradient,
    absorbed_keys,
    weights,
    score_gradient,
    present,
    key_gradient,
    value_gradient,
    patch_gradient,
    num_frames,
    num_patches,
    WIDTH: tl.constexpr,
    HEADS: tl.constexpr,
    REGIONS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    STAGES: tl.constexpr,
    WIDEN: tl.constexpr,
) -> None:
    """Gradients of both absorbed tables for a (frame, slice of channels, group of heads), and of the patches.

    ``patch_gradient`` is None where patches need no gradient, or where heads come in several groups and
    ``apply_weights_kernel`` makes it. Frames are taken from the last to the first, as the kernel before left them.
    """
    COLUMNS: tl.constexpr = GROUP_HEADS * (MAIN + TAIL)
    CHUNKS: tl.constexpr = (WIDTH + BLOCK_WIDTH - 1) // BLOCK_WIDTH
    program = tl.program_id(0)
    group = program % GROUPS
    frame = (num_frames - 1 - program // (GROUPS * CHUNKS)).to(tl.int64)
    channel = ((program // GROUPS) % CHUNKS) * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)
    inside = channel < WIDTH
    present_channels, _ = present_limits(present, frame, WIDTH, REGIONS)
    patch_tokens += frame * num_patches * WIDTH
    output_gradient += frame * num_patches * WIDTH
    weights += frame * num_patches * (GROUPS * COLUMNS) + group * COLUMNS
    score_gradient += frame * num_patches * (GROUPS * COLUMNS) + group * COLUMNS

    table_start = frame * (HEADS * REGIONS * WIDTH)
    key, _, valid = table_columns(group, MAIN, 0, HEADS, REGIONS, GROUP_HEADS)
    column = tl.arange(0, GROUP_HEADS * MAIN)
    key_main = tl.zeros((BLOCK_WIDTH, GROUP_HEADS * MAIN), tl.float32)
    value_main = tl.zeros((BLOCK_WIDTH, GROUP_HEADS * MAIN), tl.float32)
    if TAIL > 0:
        tail_key, _, tail_valid = table_columns(group, TAIL, MAIN, HEADS, REGIONS, GROUP_HEADS)
        tail_column = GROUP_HEADS * MAIN + tl.arange(0, GROUP_HEADS * TAIL)
        key_tail = tl.zeros((BLOCK_WIDTH, GROUP_HEADS * TAIL), tl.float32)
        value_tail = tl.zeros((BLOCK_WIDTH, GROUP_HEADS * TAIL), tl.float32)
    if patch_gradient is not None:
        patch_gradient += frame * num_patches * WIDTH
        readable = channel < present_channels
        main_table, tail_table = load_tables(
            absorbed_keys + table_start, group, channel, readable,
            WIDTH, HEADS, REGIONS, GROUP_HEADS, MAIN, TAIL,
        )  # fmt: skip
        # Negated here and subtracted below: the compiler chains a sum of products through one accumulator, in which
        # case it lays the first product out for twice the rows and converts it through shared memory.
        tail_table = (-tail_table.to(tl.float32)).to(tail_table.dtype)

    for start in tl.range(0, num_patches, BLOCK_ROWS, num_stages=STAGES):
        row = start + tl.arange(0, BLOCK_ROWS)
        row_exists = (row < num_patches)[:, None]
        offset = row[:, None] * WIDTH + channel[None, :]
        x = tl.load(patch_tokens + offset, mask=row_exists & inside[None, :], other=0.0)
        dy = tl.load(output_gradient + offset, mask=row_exists & inside[None, :], other=0.0)
        offsets = row[:, None] * (GROUPS * COLUMNS) + column[None, :]
        p = tl.load(weights + offsets, mask=row_exists, other=0.0)
        ds = tl.load(score_gradient + offsets, mask=row_exists, other=0.0)
        value_main = product(tl.trans(dy), p, value_main, WIDEN)
        key_main = product(tl.trans(x), ds, key_main, WIDEN)
        if patch_gradient is not None:
            dx = product(ds, main_table, None, WIDEN)
        if TAIL > 0:
            offsets = row[:, None] * (GROUPS * COLUMNS) + tail_column[None, :]
            p = tl.load(weights + offsets, mask=row_exists, other=0.0)
            ds = tl.load(score_gradient + offsets, mask=row_exists, other=0.0)
            value_tail = product(tl.trans(dy), p, value_tail, WIDEN)
            key_tail = product(tl.trans(x), ds, key_tail, WIDEN)
            if patch_gradient is not None:
                dx -= product(ds, tail_table, None, WIDEN)
        if patch_gradient is not None:
            tl.store(
                patch_gradient + offset,
                (dy.to(tl.float32) + dx).to(patch_gradient.dtype.element_ty),
                mask=row_exists & inside[None, :],
                eviction_policy="evict_first",
            )

    _store_table(key_main, key_gradient + table_start, key, valid, channel, present_channels, WIDTH)
    _store_table(value_main, value_gradient + table_start, key, valid, channel, present_channels, WIDTH)
    if TAIL > 0:
        _store_table(key_tail, key_gradient + table_start, tail_key, tail_valid, channel, present_channels, WIDTH)
        _store_table(value_tail, value_gradient + table_start, tail_key, tail_valid, channel, present_channels, WIDTH)
