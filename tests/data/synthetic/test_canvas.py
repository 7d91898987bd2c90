"""Canvas: shapes land where they are put, with the area they should have; a missing OpenCV is explained."""

import sys

import numpy as np
import pytest

from facekit.data.synthetic.canvas import Canvas, load_opencv
from facekit.errors import MissingExtraError

SQUARE = np.array([(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)])


def cover_of(canvas, stencil):
    cover = np.zeros((canvas.side, canvas.side), dtype=np.float32)
    canvas.join(cover, stencil)
    return cover


def centre_of(cover):
    places = (np.arange(len(cover)) + 0.5) / len(cover)
    return (cover.sum(axis=0) @ places) / cover.sum(), (cover.sum(axis=1) @ places) / cover.sum()


def test_a_square_covers_its_own_pixels():
    canvas = Canvas(32)
    cover = cover_of(canvas, canvas.polygon(SQUARE))
    assert cover.shape == (64, 64)
    assert np.all(cover[17:47, 17:47] == 1)
    assert cover[:14].max() == 0
    assert cover.sum() == pytest.approx(32 * 32, rel=0.1)
    assert centre_of(cover) == pytest.approx((0.5, 0.5), abs=0.5 / 64)


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.3141, 0.62), (0.7003, 0.4)])
def test_a_disc_lies_at_its_place_to_a_tenth_of_a_pixel(place):
    canvas = Canvas(48)
    cover = cover_of(canvas, canvas.disc(place, 0.1))
    assert np.abs(np.subtract(centre_of(cover), place)).max() * canvas.side < 0.15


def test_softness_keeps_the_amount_and_lowers_the_edge():
    canvas = Canvas(64)
    sharp, soft = (cover_of(canvas, canvas.disc((0.5, 0.5), 0.15, soft=amount)) for amount in (0.0, 0.03))
    assert soft.sum() == pytest.approx(sharp.sum(), rel=0.03)
    assert soft[64, 64] == pytest.approx(1.0, abs=0.05)
    assert 0.2 < soft[64, 64 + 19] < 0.8


def test_a_thin_line_is_fainter_than_a_thick_one():
    canvas = Canvas(64)
    line = np.array([(0.2, 0.5), (0.8, 0.5)])
    thin, thick = (cover_of(canvas, canvas.lines(line, width=width)).sum() for width in (0.002, 0.008))
    assert 0 < thin < 0.5 * thick


def test_lines_take_a_strength_each():
    canvas = Canvas(64)
    lines = np.array([[(0.2, 0.3), (0.8, 0.3)], [(0.2, 0.7), (0.8, 0.7)]])
    cover = cover_of(canvas, canvas.lines(lines, width=0.03, strengths=[0.2, 0.8]))
    assert cover[:64].max() == pytest.approx(0.2, abs=0.01)
    assert cover[64:].max() == pytest.approx(0.8, abs=0.04)


def test_a_shape_stays_within_another():
    canvas = Canvas(32)
    square = canvas.polygon(SQUARE)
    inside = cover_of(canvas, canvas.disc((0.75, 0.5), 0.2, within=square))
    assert inside.sum() > 0
    assert np.all(inside <= cover_of(canvas, square))


def test_a_shape_outside_the_picture_is_nothing():
    canvas = Canvas(32)
    stencil = canvas.disc((2.0, 2.0), 0.1)
    assert stencil is None
    canvas.blend(stencil, (255, 0, 0))
    canvas.scale(stencil, 2.0)
    assert canvas.pixels.sum() == 0


def test_colours_are_blended_and_scaled():
    canvas = Canvas(32)
    square = canvas.polygon(SQUARE)
    canvas.blend(square, (200, 100, 50))
    np.testing.assert_allclose(canvas.pixels[:, 32, 32], (200, 100, 50))
    canvas.blend(square, (0, 0, 0), 0.25)
    np.testing.assert_allclose(canvas.pixels[:, 32, 32], (150, 75, 37.5))
    canvas.scale(square, (0.5, 1.0, 2.0))
    np.testing.assert_allclose(canvas.pixels[:, 32, 32], (75, 75, 75))
    assert canvas.pixels[:, 2, 2].sum() == 0
    assert canvas.shrink().shape == (32, 32, 3)


def test_a_missing_opencv_names_the_command(monkeypatch):
    load_opencv.cache_clear()
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'facekit-mllm\[synthetic\]'"):
        load_opencv()
    load_opencv.cache_clear()
