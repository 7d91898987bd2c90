import pytest

from facekit.errors import ConfigurationError
from facekit.kernels.triton_tiling import (
    TILING_VARIABLE,
    Blocks,
    DeviceLimits,
    choose_tiling,
    column_layout,
    next_power_of_two,
    tiling_table,
)


def pairs_of_columns(layout):
    """(head, region) of every column that is not padding, as the kernels read the layout."""
    for group in range(layout.groups):
        for first, span in ((0, layout.main), (layout.main, layout.tail)):
            for column in range(layout.group_heads * span):
                head = group * layout.group_heads + column // span
                region = first + column % span
                if head < layout.heads and region < layout.regions:
                    yield head, region


@pytest.mark.parametrize("heads", [*range(1, 9), 12, 16, 32])
def test_every_head_and_region_has_exactly_one_column_in_tiles_that_triton_accepts(heads):
    for regions in range(1, 65):
        layout = column_layout(heads, regions)
        pairs = list(pairs_of_columns(layout))
        assert len(pairs) == heads * regions, layout
        assert len(set(pairs)) == heads * regions, layout
        for span in (layout.main, layout.tail):
            assert span == 0 or next_power_of_two(span) == span, layout
            assert span == 0 or layout.group_heads * span >= 16, layout
        assert layout.group_heads * layout.main <= 128, layout
        assert layout.group_columns <= 192, layout


def test_nine_regions_of_eight_heads_take_80_columns_and_not_128():
    assert column_layout(8, 9).padded_columns == 80
    assert column_layout(8, 5).padded_columns == 48
    assert column_layout(8, 16).padded_columns == 128


@pytest.mark.parametrize(("width", "fused"), [(896, True), (1024, True), (3584, False), (4096, False)])
def test_the_forward_pass_is_fused_only_where_the_tiles_in_flight_stay_in_the_cache(width, fused):
    tiling = choose_tiling(1024, 257, width, 2, column_layout(8, 9), DeviceLimits())
    assert (tiling.fused is not None) is fused


def test_few_frames_get_smaller_blocks_until_every_multiprocessor_has_work():
    layout = column_layout(8, 9)
    one = choose_tiling(1, 257, 4096, 2, layout, DeviceLimits())
    many = choose_tiling(1024, 257, 4096, 2, layout, DeviceLimits())

    assert one.scores.rows == 16
    assert many.scores.rows == 128
    assert one.tables.width < many.tables.width
    assert choose_tiling(1, 257, 1024, 2, layout, DeviceLimits()).fused is None


def test_a_device_with_little_shared_memory_gets_its_own_sizes():
    layout = column_layout(8, 9)
    small = choose_tiling(1024, 257, 1024, 2, layout, DeviceLimits(shared_bytes=99 << 10))

    assert small.tables == tiling_table(2, layout)["tables, small device"][0]
    assert small.fused is None


def test_the_environment_variable_overrules_what_it_names_and_nothing_else(monkeypatch):
    layout = column_layout(8, 9)
    chosen = choose_tiling(1024, 257, 4096, 2, layout, DeviceLimits())
    monkeypatch.setenv(TILING_VARIABLE, "scores=32x64x4x2, fused=16x64x4x3")
    overruled = choose_tiling(1024, 257, 4096, 2, layout, DeviceLimits())

    assert overruled.scores == Blocks(rows=32, width=64, warps=4, stages=2)
    assert overruled.fused == Blocks(rows=16, width=64, warps=4, stages=3)
    assert overruled.tables == chosen.tables


def test_fusing_can_be_switched_off(monkeypatch):
    monkeypatch.setenv(TILING_VARIABLE, "fused=0")
    assert choose_tiling(1024, 257, 1024, 2, column_layout(8, 9), DeviceLimits()).fused is None


def test_fusing_cannot_be_asked_for_where_heads_come_in_several_groups(monkeypatch):
    monkeypatch.setenv(TILING_VARIABLE, "fused=16x64x4x3")
    assert choose_tiling(8, 257, 512, 2, column_layout(32, 9), DeviceLimits()).fused is None


@pytest.mark.parametrize(
    "text", ["scores=64", "scores=64x64x4", "rows=64x64x4x3", "fused=1", "apply=0", "apply=axbxcxd"]
)
def test_an_unreadable_environment_variable_is_refused_with_its_form(monkeypatch, text):
    monkeypatch.setenv(TILING_VARIABLE, text)
    with pytest.raises(ConfigurationError, match="ROWSxWIDTHxWARPSxSTAGES"):
        choose_tiling(8, 257, 512, 2, column_layout(8, 9), DeviceLimits())
