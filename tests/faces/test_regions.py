import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.errors import ConfigurationError
from facekit.faces import FACE_REGIONS, REGION_LABELS, patch_centers, region_centroids, region_patch_proximity


def test_regions_have_the_names_and_order_of_the_released_weights():
    names = ["face", "eyebrow1", "eyebrow2", "nose", "nostril", "eye1", "eye2", "lips", "teeth"]
    assert list(FACE_REGIONS) == names
    assert list(REGION_LABELS) == names


def test_regions_divide_the_68_landmarks():
    bounds = [(points.start, points.stop) for points in FACE_REGIONS.values()]
    assert bounds == [(0, 17), (17, 22), (22, 27), (27, 31), (31, 36), (36, 42), (42, 48), (48, 60), (60, 68)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_centroids_are_the_means_of_their_points(dtype):
    landmarks = torch.rand(2, 3, 68, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)
    centroids = region_centroids(landmarks)
    assert centroids.shape == (2, 3, 9, 2)
    assert centroids.dtype == dtype
    nostrils = landmarks[1, 2, 31:36].double().sum(dim=0) / 5
    torch.testing.assert_close(centroids[1, 2, 4].double(), nostrils, atol=torch.finfo(dtype).eps, rtol=0)


def test_an_absent_face_has_nan_centroids_and_leaves_its_neighbours_alone():
    landmarks = torch.rand(2, 68, 2)
    landmarks[0] = math.nan
    centroids = region_centroids(landmarks)
    assert centroids[0].isnan().all()
    assert torch.equal(centroids[1], region_centroids(landmarks[1]))


def test_patch_centers_go_row_by_row_with_x_first():
    expected = [[1 / 6, 0.25], [0.5, 0.25], [5 / 6, 0.25], [1 / 6, 0.75], [0.5, 0.75], [5 / 6, 0.75]]
    torch.testing.assert_close(patch_centers(2, 3), torch.tensor(expected))
    assert patch_centers(2, 3, dtype=torch.float64).dtype == torch.float64


def test_proximity_is_minus_the_distance_of_each_patch_from_each_centroid():
    landmarks = torch.rand(4, 68, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    proximity = region_patch_proximity(landmarks, (3, 5))
    assert proximity.shape == (4, 15, 9)
    for patch in range(15):
        x, y = (patch % 5 + 0.5) / 5, (patch // 5 + 0.5) / 3
        eye = landmarks[2, 36:42].mean(dim=0)
        expected = -math.hypot(x - eye[0].item(), y - eye[1].item())
        assert proximity[2, patch, 5].item() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.floats(-1, 1), st.floats(-1, 1))
def test_proximity_is_at_most_zero_and_moves_by_no_more_than_the_face(rows, cols, shift_x, shift_y):
    landmarks = torch.rand(68, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    before = region_patch_proximity(landmarks, (rows, cols))
    after = region_patch_proximity(landmarks + torch.tensor([shift_x, shift_y]), (rows, cols))
    assert before.max() <= 0
    assert (after - before).abs().max() <= math.hypot(shift_x, shift_y) + 1e-6


def test_a_distance_of_exactly_zero_has_gradient_zero():
    landmarks = torch.full((68, 2), 0.5, requires_grad=True)
    proximity = region_patch_proximity(landmarks, (1, 1))
    assert torch.equal(proximity, torch.zeros(1, 9))
    proximity.sum().backward()
    assert torch.equal(landmarks.grad, torch.zeros(68, 2))


def test_gradients_agree_with_finite_differences():
    landmarks = torch.rand(2, 68, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    assert torch.autograd.gradcheck(lambda z: region_patch_proximity(z, (2, 3)), landmarks.requires_grad_())


def test_absent_landmarks_give_nan_proximity_not_zero():
    landmarks = torch.stack([torch.full((68, 2), math.nan), torch.rand(68, 2)])
    proximity = region_patch_proximity(landmarks, (2, 2))
    assert proximity[0].isnan().all()
    assert proximity[1].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_types_are_computed_wide(dtype):
    landmarks = torch.rand(68, 2, generator=torch.Generator().manual_seed(4)).to(dtype)
    proximity = region_patch_proximity(landmarks, (16, 16))
    assert proximity.dtype == dtype
    exact = region_patch_proximity(landmarks.double(), (16, 16))
    torch.testing.assert_close(proximity.double(), exact, atol=0, rtol=torch.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(67, 2), (68, 3), (2,), (136,)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ConfigurationError, match=r"\(\.\.\., 68, 2\)"):
        region_centroids(torch.rand(shape))


def test_integer_landmarks_are_refused():
    with pytest.raises(ConfigurationError, match=r"\.float\(\)"):
        region_patch_proximity(torch.zeros(68, 2, dtype=torch.int64), (2, 2))


@pytest.mark.parametrize(("rows", "cols"), [(0, 4), (4, -1)])
def test_an_empty_grid_is_refused(rows, cols):
    with pytest.raises(ConfigurationError, match="at least one row and one column"):
        patch_centers(rows, cols)
