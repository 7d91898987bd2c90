"""Geometry: every action unit moves its landmarks one way, poses mirror, curves pass through their points."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.data.labels import ACTION_UNITS
from facekit.data.synthetic.geometry import (
    MIRRORED_ORDER,
    HeadFrame,
    crown_outline,
    half_width,
    landmarks_of,
    smooth_curve,
)
from facekit.data.synthetic.parameters import FaceParameters, HeadShape, Pose

STILL = FaceParameters()


def with_units(**units):
    return landmarks_of(replace(STILL, action_units=units))


def gap(points, first, second, axis=1):
    """Distance from one landmark to another along an axis, downward or rightward."""
    return points[second, axis] - points[first, axis]


SIGNS = {
    "AU1": lambda p: -p[[21, 22], 1].mean(),
    "AU2": lambda p: -p[[18, 25], 1].mean(),
    "AU4": lambda p: p[[21, 22], 1].mean() - gap(p, 21, 22, 0),
    "AU5": lambda p: gap(p, 37, 41) + gap(p, 44, 46),
    "AU6": lambda p: -p[[40, 41, 46, 47], 1].mean(),
    "AU9": lambda p: -p[[31, 35], 1].mean(),
    "AU12": lambda p: gap(p, 48, 54, 0) - p[[48, 54], 1].mean(),
    "AU15": lambda p: p[[48, 54], 1].mean(),
    "AU17": lambda p: -p[[8, 57], 1].mean(),
    "AU20": lambda p: gap(p, 48, 54, 0),
    "AU25": lambda p: gap(p, 62, 66),
    "AU26": lambda p: p[8, 1],
}


@pytest.mark.parametrize("code", list(ACTION_UNITS))
@given(levels=st.tuples(st.floats(0, 5), st.floats(0, 5)))
def test_a_stronger_unit_moves_its_landmarks_further(code, levels):
    weak, strong = sorted(levels)
    measures = [SIGNS[code](with_units(**{code: level})) for level in (weak, strong)]
    assert measures[1] >= measures[0]
    if strong - weak > 0.1:
        assert measures[1] > measures[0]


@pytest.mark.parametrize("code", list(ACTION_UNITS))
def test_an_active_unit_moves_some_landmark_by_a_visible_distance(code):
    moved = np.abs(with_units(**{code: 2.0}) - with_units()).max()
    assert moved * 96 > 0.5


def test_jaw_drop_opens_the_mouth_further_than_parted_lips():
    parted, dropped = with_units(AU25=3.0), with_units(AU25=3.0, AU26=3.0)
    assert gap(dropped, 62, 66) > 2 * gap(parted, 62, 66)
    assert gap(with_units(AU26=3.0), 62, 66) == pytest.approx(0.0, abs=1e-12)


def test_units_of_the_brows_leave_the_mouth_alone():
    for code in ("AU1", "AU2", "AU4", "AU5"):
        np.testing.assert_array_equal(with_units(**{code: 5.0})[48:], with_units()[48:])


@given(
    yaw=st.floats(-30, 30),
    pitch=st.floats(-14, 14),
    roll=st.floats(-18, 18),
    smile=st.floats(0, 5),
    frown=st.floats(0, 5),
)
def test_the_opposite_turn_mirrors_the_landmarks(yaw, pitch, roll, smile, frown):
    units = {"AU12": smile, "AU4": frown}
    pose = Pose(yaw=yaw, pitch=pitch, roll=roll)
    points = landmarks_of(FaceParameters(action_units=units, pose=pose))
    other = landmarks_of(FaceParameters(action_units=units, pose=replace(pose, yaw=-yaw, roll=-roll)))
    np.testing.assert_allclose(other, (points * (-1, 1) + (1, 0))[MIRRORED_ORDER], atol=1e-12)


def test_mirroring_twice_is_the_same_order():
    np.testing.assert_array_equal(MIRRORED_ORDER[MIRRORED_ORDER], np.arange(68))


def test_turning_moves_the_nose_before_the_ears():
    front, turned = landmarks_of(STILL), landmarks_of(replace(STILL, pose=Pose(yaw=20)))
    assert turned[30, 0] - front[30, 0] > 0.08
    assert turned[30, 0] - front[30, 0] > 2 * abs(turned[0, 0] - front[0, 0])
    nodded = landmarks_of(replace(STILL, pose=Pose(pitch=10)))
    assert nodded[30, 1] > front[30, 1]


def test_roll_turns_about_the_centre_clockwise():
    points, rolled = landmarks_of(STILL) - 0.5, landmarks_of(replace(STILL, pose=Pose(roll=90))) - 0.5
    np.testing.assert_allclose(rolled, np.stack((-points[:, 1], points[:, 0]), axis=-1), atol=1e-12)


def test_scale_and_centre_place_the_head():
    small = landmarks_of(replace(STILL, pose=Pose(scale=0.14, centre=(0.25, 0.75))))
    np.testing.assert_allclose(small - (0.25, 0.75), (landmarks_of(STILL) - 0.5) / 2, atol=1e-12)


def test_landmarks_follow_the_ibug_order():
    points = landmarks_of(STILL)
    assert np.all(np.diff(points[:17, 0]) > 0)
    assert points[:, 1].argmax() == 8
    assert points[17:22].mean(axis=0)[0] < 0.5 < points[22:27].mean(axis=0)[0]
    assert np.all(np.diff(points[27:31, 1]) > 0)
    assert np.all(np.diff(points[31:36, 0]) > 0)
    assert points[36, 0] < points[39, 0] < points[42, 0] < points[45, 0]
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (51, 57), (50, 58)):
        assert points[upper, 1] < points[lower, 1]
        assert points[upper, 0] == pytest.approx(points[lower, 0], abs=0.02)
    assert points[48, 0] < points[60, 0] < points[64, 0] < points[54, 0]


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=3, max_size=9), st.booleans())
def test_curves_pass_through_their_points(places, closed):
    points = np.array(places)
    curve = smooth_curve(points, 4, closed=closed)
    assert len(curve) == (4 * len(points) if closed else 4 * (len(points) - 1) + 1)
    np.testing.assert_allclose(curve[::4], points, atol=1e-12)


def test_curves_come_in_batches():
    points = np.random.default_rng(0).normal(size=(5, 6, 2))
    np.testing.assert_allclose(smooth_curve(points, 3)[2], smooth_curve(points[2], 3), atol=1e-12)


def test_the_skull_is_as_wide_as_its_outline():
    outline = crown_outline(HeadShape(), samples=9)
    np.testing.assert_allclose(half_width(HeadShape(), outline[:, 1]), np.abs(outline[:, 0]), atol=1e-9)
    assert half_width(HeadShape(width=0.9), np.array([0.5])) == pytest.approx(0.9)


def test_the_far_outline_bulges_and_the_near_one_does_not():
    frame = HeadFrame(HeadShape(), Pose(yaw=25))
    edge = frame.project_contour(np.array([[-1.0, 0.0], [1.0, 0.0]]))
    plain = frame.project(np.array([-1.0, 1.0]), np.zeros(2), 0.0)
    np.testing.assert_allclose(edge[0], plain[0])
    assert edge[1, 0] > plain[1, 0] + 0.005
