"""The mapping from MediaPipe's face mesh to the 68 landmarks, as a table.

MediaPipe numbers its mesh by the canonical face model (``face_geometry/data/canonical_face_model.obj``, 468 vertices;
ten iris points follow) and names the outlines of brows, eyes, lips and face by index in ``face_landmarker.py``. Where
an iBUG-68 landmark falls between two mesh points, both are given and averaged.

The table is symmetric: the mirror image of each entry is the entry of the mirrored landmark, in a model whose vertices
mirror exactly. Against dlib on ``skimage.data.astronaut()`` the mapped points of MediaPipe 0.10.21's face mesh differ
by 2.2 % of the distance of the outer eye corners on average (``tests/faces/test_mediapipe_mapping.py``).
"""

from __future__ import annotations

import numpy as np

from facekit.errors import ConfigurationError

MESH_POINTS_OF_LANDMARK: tuple[tuple[int, ...], ...] = (
    # face contour, 0-16, from the person's right ear over the chin to the left ear
    (127,), (93, 234), (132,), (58,), (172,), (136, 150), (149,), (148,), (152,),
    (377,), (378,), (365, 379), (397,), (288,), (361,), (323, 454), (356,),
    # right brow, 17-21, then left brow, 22-26, each from the person's right to left
    (70,), (63,), (105,), (66,), (55, 107),
    (285, 336), (296,), (334,), (293,), (300,),
    # nose bridge, 27-30, downwards to the tip; nostrils, 31-35
    (6, 168), (197,), (5,), (1, 4),
    (97, 98), (97,), (2,), (326,), (326, 327),
    # right eye, 36-41, and left eye, 42-47: corner, upper lid, corner, lower lid
    (33,), (160,), (158,), (133,), (153,), (144,),
    (362,), (385,), (387,), (263,), (373,), (380,),
    # outer lips, 48-59, clockwise from the mouth's right corner; inner lips, 60-67
    (61,), (39, 40), (37,), (0,), (267,), (269, 270), (291,), (321, 405), (314,), (17,), (84,), (91, 181),
    (78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,),
)  # fmt: skip

MESH_SIZES = (468, 478)

_FIRST = np.array([points[0] for points in MESH_POINTS_OF_LANDMARK])
_LAST = np.array([points[-1] for points in MESH_POINTS_OF_LANDMARK])


def landmarks_from_mesh(mesh: np.ndarray) -> np.ndarray:
    """Return the 68 landmarks of a MediaPipe face mesh.

    Args:
        mesh: ``(..., 478, 2)``, or ``(..., 468, 2)`` without the iris points.

    Returns:
        ``(..., 68, 2)``, iBUG-68, in the coordinates of the mesh.

    Raises:
        ConfigurationError: The mesh has another shape.
    """
    if mesh.ndim < 2 or mesh.shape[-2] not in MESH_SIZES or mesh.shape[-1] != 2:
        raise ConfigurationError(f"a MediaPipe face mesh has shape (..., 478, 2) or (..., 468, 2), not {mesh.shape}")
    return (mesh[..., _FIRST, :] + mesh[..., _LAST, :]) / 2
