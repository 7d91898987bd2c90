from pathlib import Path

import numpy as np
import pytest

from facekit.errors import ConfigurationError
from facekit.faces.mediapipe_mapping import MESH_POINTS_OF_LANDMARK, landmarks_from_mesh

# The mesh that MediaPipe 0.10.21 (mediapipe.solutions.face_mesh, refine_landmarks=True) finds in
# skimage.data.astronaut(), in pixels.
MESH_FILE = Path(__file__).parent / "data" / "mediapipe_mesh_astronaut.npy"

# Outlines as mediapipe.tasks.python.vision.face_landmarker names them, each from end to end.
FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152,
             148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)  # fmt: skip
RIGHT_BROW = ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55))
LEFT_BROW = ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285))
RIGHT_EYE = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (33, 7, 163, 144, 145, 153, 154, 155, 133))
LEFT_EYE = ((263, 466, 388, 387, 386, 385, 384, 398, 362), (263, 249, 390, 373, 374, 380, 381, 382, 362))
OUTER_LIPS = ((61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291), (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291))
INNER_LIPS = ((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308))
NOSE_PAIRS = {97: 326, 98: 327}

MIRRORED_LANDMARKS = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


@pytest.fixture(scope="module")
def mesh():
    return np.load(MESH_FILE)


def mirrored_mesh_points():
    mirror = {**NOSE_PAIRS, **{left: right for right, left in NOSE_PAIRS.items()}}
    mirror |= {point: point for point in (1, 2, 4, 5, 6, 168, 197)}
    for right, left in [*zip(RIGHT_BROW, LEFT_BROW, strict=True), *zip(RIGHT_EYE, LEFT_EYE, strict=True)]:
        mirror |= dict(zip(right + left, left + right, strict=True))
    for line in OUTER_LIPS + INNER_LIPS:
        mirror |= dict(zip(line, line[::-1], strict=True))
    top = FACE_OVAL.index(10)
    mirror |= {point: FACE_OVAL[(2 * top - place) % len(FACE_OVAL)] for place, point in enumerate(FACE_OVAL)}
    return mirror


def test_every_landmark_takes_one_or_two_points_of_the_mesh():
    assert len(MESH_POINTS_OF_LANDMARK) == 68
    assert {len(points) for points in MESH_POINTS_OF_LANDMARK} == {1, 2}
    assert all(0 <= point < 468 for points in MESH_POINTS_OF_LANDMARK for point in points)
    assert len(set(MESH_POINTS_OF_LANDMARK)) == 68


@pytest.mark.parametrize(
    ("start", "stop", "outline"),
    [
        (0, 17, FACE_OVAL),
        (17, 22, sum(RIGHT_BROW, ())),
        (22, 27, sum(LEFT_BROW, ())),
        (36, 42, sum(RIGHT_EYE, ())),
        (42, 48, sum(LEFT_EYE, ())),
        (48, 60, sum(OUTER_LIPS, ())),
        (60, 68, sum(INNER_LIPS, ())),
    ],
)
def test_each_region_lies_on_the_outline_that_mediapipe_names(start, stop, outline):
    assert {point for points in MESH_POINTS_OF_LANDMARK[start:stop] for point in points} <= set(outline)


def test_the_table_is_its_own_mirror_image():
    mirror = mirrored_mesh_points()
    for landmark, points in enumerate(MESH_POINTS_OF_LANDMARK):
        assert {mirror[point] for point in points} == set(MESH_POINTS_OF_LANDMARK[MIRRORED_LANDMARKS[landmark]])


def test_mapped_points_agree_with_dlib_on_a_photograph(mesh, face):
    mapped = landmarks_from_mesh(mesh)
    eye_distance = np.linalg.norm(face.landmarks[36] - face.landmarks[45])
    errors = np.linalg.norm(mapped - face.landmarks, axis=1) / eye_distance
    assert errors.mean() < 0.03
    assert errors.max() < 0.08
    assert errors[36:48].max() < 0.035


def test_each_landmark_is_nearer_to_its_own_point_than_to_its_neighbours(mesh, face):
    mapped = landmarks_from_mesh(mesh)
    distances = np.linalg.norm(mapped[:, None] - face.landmarks[None], axis=-1)
    assert (distances.argmin(axis=1) == np.arange(68)).sum() >= 64


def test_meshes_without_iris_points_and_batches_of_them_are_mapped(mesh):
    np.testing.assert_array_equal(landmarks_from_mesh(mesh[:468]), landmarks_from_mesh(mesh))
    assert landmarks_from_mesh(np.stack([mesh] * 3)).shape == (3, 68, 2)


@pytest.mark.parametrize("shape", [(68, 2), (478, 3), (478,)])
def test_other_meshes_are_refused(shape):
    with pytest.raises(ConfigurationError, match=r"\(\.\.\., 478, 2\)"):
        landmarks_from_mesh(np.zeros(shape))
