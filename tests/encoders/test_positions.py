"""Position embeddings resampled to other grids and other numbers of frames."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.encoders.positions import resample_frame_positions, resample_patch_positions
from facekit.errors import CheckpointError


@settings(max_examples=20, deadline=None)
@given(side=st.integers(1, 5), rows=st.integers(1, 7), columns=st.integers(1, 7), prefix=st.integers(0, 2))
def test_a_constant_grid_stays_constant_and_prefix_tokens_stay(side, rows, columns, prefix):
    positions = torch.cat([torch.arange(prefix * 3.0).reshape(prefix, 3) + 5, torch.full((side * side, 3), 2.0)])
    resampled = resample_patch_positions(positions, (rows, columns), prefix)
    assert resampled.shape == (prefix + rows * columns, 3)
    assert torch.equal(resampled[:prefix], positions[:prefix])
    torch.testing.assert_close(resampled[prefix:], torch.full((rows * columns, 3), 2.0))


def test_rows_and_columns_are_kept_apart():
    rows = torch.arange(16.0).reshape(16, 1) // 4
    columns = torch.arange(16.0).reshape(16, 1) % 4
    larger = resample_patch_positions(torch.cat([rows, columns], dim=1), (8, 8), 0).reshape(8, 8, 2)
    assert float(larger[..., 0].std(dim=1).max()) < 1e-5
    assert (larger[1:, 0, 0] > larger[:-1, 0, 0]).all()
    assert (larger[0, 1:, 1] > larger[0, :-1, 1]).all()


def test_the_trained_grid_comes_back_untouched():
    positions = torch.randn(10, 4)
    assert resample_patch_positions(positions, (3, 3)) is positions


@pytest.mark.parametrize(("count", "prefix"), [(10, 2), (1, 1), (0, 0)])
def test_a_table_that_is_no_square_grid_is_refused(count, prefix):
    with pytest.raises(CheckpointError, match=f"{count} position embeddings are not {prefix} and a square grid"):
        resample_patch_positions(torch.zeros(count, 4), (3, 3), prefix)


def test_frames_are_resampled_along_a_line_with_its_ends_kept():
    line = torch.linspace(0, 7, 8).reshape(1, 8, 1)
    assert resample_frame_positions(line, 8) is line
    torch.testing.assert_close(resample_frame_positions(line, 15).flatten(), torch.linspace(0, 7, 15))
    torch.testing.assert_close(resample_frame_positions(line, 2).flatten(), torch.tensor([0.0, 7.0]))
    assert resample_frame_positions(line.bfloat16(), 3).dtype == torch.bfloat16
