import numpy as np
import pytest
from PIL import Image

from facekit.errors import ConfigurationError
from facekit.faces import FACE_REGIONS, draw_overlay
from facekit.faces.overlay import REGION_COLOURS

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
COLOUR_VISION = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)


def lab(colours, vision):
    fractions = np.asarray(colours) / 255
    linear = np.where(fractions <= 0.04045, fractions / 12.92, ((fractions + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.asarray(vision).T, 0, 1) @ RGB_TO_XYZ.T / [0.95047, 1.0, 1.08883]
    curve = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * curve[:, 1] - 16, 500 * (curve[:, 0] - curve[:, 1]), 200 * (curve[:, 1] - curve[:, 2])], -1)


@pytest.fixture(scope="module")
def face_points(astronaut, face):
    return face.landmarks / 512


@pytest.mark.parametrize("vision", COLOUR_VISION)
def test_region_colours_differ_for_every_colour_vision(vision):
    assert list(REGION_COLOURS) == list(FACE_REGIONS)
    colours = lab(list(REGION_COLOURS.values()), COLOUR_VISION[vision])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert distances[~np.eye(9, dtype=bool)].min() >= 24


def test_the_picture_has_the_size_asked_for_and_a_legend_below(astronaut, face_points):
    overlay = draw_overlay(astronaut, face_points, size=400)
    plain = draw_overlay(astronaut, face_points, size=400, legend=False)
    assert plain.size == (400, 400)
    assert overlay.width == 400
    assert 440 < overlay.height < 600
    np.testing.assert_array_equal(np.asarray(overlay)[:400], np.asarray(plain))
    shown = {tuple(colour) for colour in np.asarray(overlay)[400:].reshape(-1, 3)}
    assert set(REGION_COLOURS.values()) <= shown


def test_every_region_is_drawn_in_its_colour_where_its_landmarks_are():
    points = np.stack(np.meshgrid(np.linspace(0.1, 0.9, 10), np.linspace(0.1, 0.9, 7)), axis=-1).reshape(-1, 2)[:68]
    drawn = np.asarray(draw_overlay(Image.new("RGB", (64, 64)), points, size=1024, legend=False)).astype(int)
    for name, indices in FACE_REGIONS.items():
        for x, y in points[indices.start : indices.stop]:
            column, row = round(x * 1024), round(y * 1024)
            around = drawn[max(0, row - 6) : row + 7, max(0, column - 6) : column + 7].reshape(-1, 3)
            assert np.abs(around - REGION_COLOURS[name]).sum(axis=1).min() <= 6


def test_only_the_neighbourhood_of_the_face_changes(astronaut, face_points):
    drawn = np.asarray(draw_overlay(astronaut, face_points, size=512, legend=False)).astype(int)
    changed = np.argwhere(np.abs(drawn - np.asarray(astronaut)).sum(axis=-1) > 0)[:, ::-1]
    assert (changed.min(axis=0) > face_points.min(axis=0) * 512 - 8).all()
    assert (changed.max(axis=0) < face_points.max(axis=0) * 512 + 8).all()
    assert len(changed) > 1500


def test_edges_are_antialiased(face_points):
    drawn = np.asarray(draw_overlay(Image.new("RGB", (512, 512)), face_points, regions=False, size=512))
    levels = np.unique(drawn[..., 0])
    assert len(levels) > 8


def test_regions_can_be_left_out(astronaut, face_points):
    drawn = draw_overlay(Image.new("RGB", (512, 512)), face_points, regions=False, size=512)
    assert drawn.size == (512, 512)
    assert np.ptp(np.asarray(drawn).astype(int), axis=-1).max() < 20


def test_the_box_is_drawn_at_its_corners_only():
    drawn = np.asarray(draw_overlay(Image.new("RGB", (100, 100)), None, (0.2, 0.2, 0.8, 0.8), size=500))
    assert drawn.shape == (500, 500, 3)
    for x, y in ((100, 100), (400, 100), (100, 400), (400, 400)):
        assert drawn[y, x].min() > 200
    for x, y in ((250, 100), (100, 250), (250, 250)):
        assert drawn[y, x].max() == 0


def test_several_faces_are_drawn_and_absent_ones_left_out(face_points):
    left, right = face_points * 0.5, face_points * 0.5 + (0.5, 0)
    both = draw_overlay(Image.new("RGB", (512, 512)), np.stack([left, right]), legend=False, size=512)
    one = draw_overlay(Image.new("RGB", (512, 512)), np.stack([left, np.full((68, 2), np.nan)]), legend=False, size=512)
    assert np.asarray(both)[:, 256:].max() == 255
    assert np.asarray(one)[:, 256:].max() == 0
    np.testing.assert_array_equal(np.asarray(both)[:, :256], np.asarray(one)[:, :256])


def test_without_a_face_the_picture_is_only_resized(astronaut):
    drawn = draw_overlay(astronaut, None, size=512)
    np.testing.assert_array_equal(np.asarray(drawn), np.asarray(astronaut))


@pytest.mark.parametrize("shape", [(2, 900), (900, 2), (64, 64)])
def test_narrow_pictures_can_be_drawn(shape, face_points):
    drawn = draw_overlay(Image.new("RGB", shape), face_points, size=64)
    assert max(drawn.size) >= 64


@pytest.mark.parametrize(
    ("landmarks", "box", "size", "reason"),
    [
        (np.zeros((5, 2)), None, 768, r"not \(5, 2\)"),
        (np.full((68, 2), 200.0), None, 768, "divide pixels by its width"),
        (None, (10, 10, 90, 90), 768, "divide pixels by its width"),
        (None, (0.1, 0.1, 0.9), 768, "left, top, right, bottom"),
        (None, None, 20, "size is from 64"),
        (None, None, 100_000, "size is from 64"),
    ],
)
def test_what_cannot_be_drawn_is_refused(landmarks, box, size, reason):
    with pytest.raises(ConfigurationError, match=reason):
        draw_overlay(Image.new("RGB", (100, 100)), landmarks, box, size=size)
