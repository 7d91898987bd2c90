"""Forward Triton kernels of the streaming half of region attention; ``triton_launch`` launches them.

``attention_weights_kernel`` takes a tile of a frame's patches past that frame's absorbed keys: products over all of D
accumulate in float32 registers, proximity is computed there from the region positions and the patch's index, and the
softmax of each head is a reduction of a reshaped register tile. Only the weights P, 2 % of X, go to memory; the
backward pass needs them, and saves nothing else that is new. The output ``X + P C + b`` takes one of two routes.

*Two kernels.* ``apply_weights_kernel`` keeps a slice of D of a frame's absorbed values in shared memory and runs the
frame's patches past it: values are read once, patches stream. *Fused.* The first kernel goes over its tile a second
time, from the end of D backwards so that what was read last is met first, and writes the output. That saves the
second read of X from memory where the tiles in flight stay in the L2 cache.

Traffic of one frame, bf16, D = 4096, N = 257, M = 9, H = 8: X and the output are 2.1 MB each and each absorbed table
0.59 MB, so that nothing can move less than 5.4 MB. Two kernels move 7.6 MB: X is read twice, P (0.04 MB) written and
read; both saturating the memory, they take 1.4 times the ideal. Fused, 132 programs of 64 rows have 69 MB of X in
flight, more than the 60 MB of an H200's cache, so that second reads miss, while every tile fetches both tables from
the cache. At D = 1024 it is 17 MB, and 1.4 MB are moved against 1.9 MB. ``triton_tiling`` decides by that footprint.
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
def _biased_scores(
    products,
    score_bias,
    region_positions,
    frame,
    present_regions,
    row,
    key,
    region,
    valid,
    grid_rows,
    grid_columns,
    num_prefix_tokens,
    HEADS: tl.constexpr,
    REGIONS: tl.constexpr,
) -> tl.tensor:
    """Scores of one block of columns: products plus bias plus proximity, minus infinity where there is no region."""
    readable = valid & (region < present_regions)
    bias = tl.load(score_bias + frame * (HEADS * REGIONS) + key, mask=readable, other=0.0)
    scores = products + bias.to(tl.float32)[None, :]
    if region_positions is not None:
        center_x, center_y, is_patch = patch_center(row, grid_rows, grid_columns, num_prefix_tokens)
        _, _, distance = offset_from_centers(region_positions, frame, region, readable, center_x, center_y, REGIONS)
        scores -= tl.where(is_patch[:, None], distance, 0.0)
    return tl.where((region < REGIONS)[None, :], scores, float("-inf"))


@triton.jit
def _softmax_by_head(
    main, tail, ROWS: tl.constexpr, GROUP_HEADS: tl.constexpr, MAIN: tl.constexpr, TAIL: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Softmax over the regions of each head, which lie in both blocks."""
    main = tl.reshape(main, (ROWS, GROUP_HEADS, MAIN))
    peak = tl.max(main, axis=2)
    if TAIL > 0:
        tail = tl.reshape(tail, (ROWS, GROUP_HEADS, TAIL))
        peak = tl.maximum(peak, tl.max(tail, axis=2))
    main = tl.exp(main - peak[:, :, None])
    total = tl.sum(main, axis=2)
    if TAIL > 0:
        tail = tl.exp(tail - peak[:, :, None])
        total += tl.sum(tail, axis=2)
    share = (1.0 / total)[:, :, None]
    main = tl.reshape(main * share, (ROWS, GROUP_HEADS * MAIN))
    tail = tl.reshape(tail * share, (ROWS, GROUP_HEADS * TAIL)) if TAIL > 0 else main
    return main, tail


@triton.jit
def attention_weights_kernel(
    patch_tokens,
    absorbed_keys,
    score_bias,
    absorbed_values,
    output_bias,
    region_positions,
    present,
    weights,
    output,
    num_patches,
    grid_rows,
    grid_columns,
    num_prefix_tokens,
    WIDTH: tl.constexpr,
    HEADS: tl.constexpr,
    REGIONS: tl.constexpr,
    GROUP_HEADS: tl.constexpr,
    GROUPS: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    FUSED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_WIDTH: tl.constexpr,
    STAGES: tl.constexpr,
    WIDEN: tl.constexpr,
) -> None:
    """Softmax weights of a (frame, tile of rows, group of heads); with FUSED also the output of that tile."""
    tiles = tl.cdiv(num_patches, BLOCK_ROWS)
    program = tl.program_id(0)
    group = program % GROUPS
    tile = (program // GROUPS) % tiles
    frame = (program // (GROUPS * tiles)).to(tl.int64)
    row = tile * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    row_exists = row < num_patches
    present_channels, present_regions = present_limits(present, frame, WIDTH, REGIONS)

    main, tail = stream_products(
        patch_tokens + frame * num_patches * WIDTH,
        absorbed_keys + frame * (HEADS * REGIONS * WIDTH),
        row, row_exists, group, present_channels,
        WIDTH, HEADS, REGIONS, GROUP_HEADS, MAIN, TAIL, BLOCK_ROWS, BLOCK_WIDTH, STAGES, WIDEN,
    )  # fmt: skip
    key, region, valid = table_columns(group, MAIN, 0, HEADS, REGIONS, GROUP_HEADS)
    main = _biased_scores(
        main, score_bias, region_positions, frame, present_regions, row, key, region, valid,
        grid_rows, grid_columns, num_prefix_tokens, HEADS, REGIONS,
    )  # fmt: skip
    if TAIL > 0:
        tail_key, tail_region, tail_valid = table_columns(group, TAIL, MAIN, HEADS, REGIONS, GROUP_HEADS)
        tail = _biased_scores(
            tail, score_bias, region_positions, frame, present_regions, row, tail_key, tail_region, tail_valid,
            grid_rows, grid_columns, num_prefix_tokens, HEADS, REGIONS,
        )  # fmt: skip
    main, tail = _softmax_by_head(main, tail, BLOCK_ROWS, GROUP_HEADS, MAIN, TAIL)

    dtype = weights.dtype.element_ty
    main = tl.where(present_regions > 0, main, 0.0).to(dtype)
    COLUMNS: tl.constexpr = GROUP_HEADS * (MAIN + TAIL)
    pointers = weights + frame * num_patches * (GROUPS * COLUMNS) + row[:, None] * (GROUPS * COLUMNS) + group * COLUMNS
    tl.store(pointers + tl.arange(0, GROUP_HEADS * MAIN)[None, :], main, mask=row_exists[:, None])
    if TAIL > 0:
        tail = tl.where(present_regions > 0, tail, 0.0).to(dtype)
        tail_column = GROUP_HEADS * MAIN + tl.arange(0, GROUP_HEADS * TAIL)
        tl.store(pointers + tail_column[None, :], tail, mask=row_exists[:, None])

    if FUSED:
        OUTPUT_WIDTH: tl.constexpr = BLOCK_WIDTH // 2
        tokens = patch_tokens + frame * num_patches * WIDTH
        values = absorbed_values + frame * (HEADS * REGIONS * WIDTH)
        for step in tl.range(0, WIDTH, OUTPUT_WIDTH, num_stages=STAGES):
            channel = (tl.cdiv(WIDTH, OUTPUT_WIDTH) - 1) * OUTPUT_WIDTH - step + tl.arange(0, OUTPUT_WIDTH)
            writable = row_exists[:, None] & (channel < WIDTH)[None, :]
            offset = row[:, None] * WIDTH + channel[None, :]
            readable = channel < present_channels
            x = tl.load(tokens + offset, mask=writable, other=0.0)
            main_table, tail_table = load_tables(
                values, 0, channel, readable, WIDTH, HEADS, REGIONS, GROUP_HEADS, MAIN, TAIL
            )
            enriched = product(main, main_table, None, WIDEN)
            if TAIL > 0:
                enriched = product(tail, tail_table, enriched, WIDEN)
            if output_bias is not None:
                enriched += tl.load(output_bias + channel, mask=readable, other=0.0).to(tl.float32)[None, :]
            tl.store(
                output + frame * num_patches * WIDTH + offset,
                (x.to(tl.float32) + enriched).to(dtype),
                mask=writable,
                eviction_policy="evict_first",
            )


@triton.jit
def _add_group(
    total,
    pointers,
    row_exists,
    main_table,
    tail_table,
    GROUP_HEADS: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    WIDEN: tl.constexpr,
) -> tl.tensor:
    """Add the product of a group's weights, read from memory, and its tables."""
    share = tl.load(pointers + tl.arange(0, GROUP_HEADS * MAIN)[None, :], mask=row_exists, other=0.0)
    total = product(share, main_table, total, WIDEN)
    if TAIL > 0:
        column = GROUP_HEADS * MAIN + tl.arange(0, GROUP_HEADS * TAIL)
        share = tl.load(pointers + column[None, :], mask=row_exists, other=0.0)
        total = product(share, tail_table, total, WIDEN)
    return total


@triton.jit
def apply_weights_kernel(
    base,
    weights,
    table,
    bias,
    present,
    output,
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
    """``base + weights @ table + bias`` for a (frame, slice of channels), running over the frame's rows.

    Frames are taken from the last to the first: the kernel before this one has left the last ones in the L2 cache.
    """
    COLUMNS: tl.constexpr = GROUP_HEADS * (MAIN + TAIL)
    CHUNKS: tl.constexpr = (WIDTH + BLOCK_WIDTH - 1) // BLOCK_WIDTH
    program = tl.program_id(0)
    frame = (num_frames - 1 - program // CHUNKS).to(tl.int64)
    channel = (program % CHUNKS) * BLOCK_WIDTH + tl.arange(0, BLOCK_WIDTH)
    inside = channel < WIDTH
    present_channels, _ = present_limits(present, frame, WIDTH, REGIONS)
    readable = channel < present_channels
    base += frame * num_patches * WIDTH
    output += frame * num_patches * WIDTH
    weights += frame * num_patches * (GROUPS * COLUMNS)
    table += frame * (HEADS * REGIONS * WIDTH)
    if bias is not None:
        shift = tl.load(bias + channel, mask=readable, other=0.0).to(tl.float32)
    if GROUPS == 1:
        main_table, tail_table = load_tables(
            table, 0, channel, readable, WIDTH, HEADS, REGIONS, GROUP_HEADS, MAIN, TAIL
        )
    for start in tl.range(0, num_patches, BLOCK_ROWS, num_stages=STAGES):
        row = start + tl.arange(0, BLOCK_ROWS)
        row_exists = (row < num_patches)[:, None]
        offset = row[:, None] * WIDTH + channel[None, :]
        pointers = weights + row[:, None] * (GROUPS * COLUMNS)
        tile = tl.load(base + offset, mask=row_exists & inside[None, :], other=0.0)
        total = tl.zeros((BLOCK_ROWS, BLOCK_WIDTH), tl.float32)
        if bias is not None:
            total += shift[None, :]
        if GROUPS == 1:
            total = _add_group(total, pointers, row_exists, main_table, tail_table, GROUP_HEADS, MAIN, TAIL, WIDEN)
        else:
            for group in tl.range(0, GROUPS):
                main_table, tail_table = load_tables(
                    table, group, channel, readable, WIDTH, HEADS, REGIONS, GROUP_HEADS, MAIN, TAIL
                )
                total = _add_group(
                    total,
                    pointers + group * COLUMNS,
                    row_exists,
                    main_table,
                    tail_table,
                    GROUP_HEADS,
                    MAIN,
                    TAIL,
                    WIDEN,
                )
        tl.store(
            output + offset,
            (tile.to(tl.float32) + total).to(output.dtype.element_ty),
            mask=row_exists & inside[None, :],
            eviction_policy="evict_first",
        )
