import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from facekit.errors import ConfigurationError
from facekit.faces import DetectedFace, crop_face, pad_to_square
from facekit.faces.images import NEUTRAL_COLOUR

UNIT_FACE = np.random.default_rng(0).uniform(0, 1, (68, 2))
UNIT_FACE[:2] = [[0, 0], [1, 1]]


def face_at(left, top, side):
    return DetectedFace((left, top, left + side, top + side), 1.0, UNIT_FACE * side + (left, top))


def coordinate_image(width, height):
    """Red is x and green is y, so that a crop shows where it was cut."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x, y, np.full_like(x, 200)], axis=-1).astype(np.uint8))


def test_a_crop_is_a_square_with_the_margin_on_each_side():
    crop = crop_face(coordinate_image(200, 180), face_at(60, 50, 40), margin=0.25, index=3)
    assert crop.box == (50, 40, 110, 100)
    assert crop.image.size == (60, 60)
    assert crop.image.getpixel((0, 0)) == (50, 40, 200)
    assert crop.image.getpixel((59, 59)) == (109, 99, 200)
    assert crop.index == 3
    np.testing.assert_allclose(crop.landmarks, (UNIT_FACE * 40 + 10) / 60, atol=1e-6)
    assert crop.landmarks.dtype == np.float32


def test_the_square_holds_box_and_landmarks_even_where_they_differ():
    face = DetectedFace((60, 50, 100, 90), 1.0, UNIT_FACE * (30, 80) + (65, 50))
    crop = crop_face(coordinate_image(200, 180), face, margin=0)
    assert crop.box == (40, 50, 120, 130)
    assert crop.landmarks.min() >= 0
    assert crop.landmarks.max() <= 1


def test_a_crop_that_leaves_the_picture_is_padded():
    crop = crop_face(coordinate_image(100, 90), face_at(-10, 60, 40), margin=0.25)
    assert crop.box == (-20, 50, 40, 110)
    assert crop.image.getpixel((0, 0)) == NEUTRAL_COLOUR
    assert crop.image.getpixel((19, 10)) == NEUTRAL_COLOUR
    assert crop.image.getpixel((20, 10)) == (0, 60, 200)
    assert crop.image.getpixel((59, 39)) == (39, 89, 200)
    assert crop.image.getpixel((59, 40)) == NEUTRAL_COLOUR
    np.testing.assert_allclose(crop.landmarks, (UNIT_FACE * 40 + 10) / 60, atol=1e-6)


def test_the_padding_colour_can_be_chosen():
    crop = crop_face(coordinate_image(100, 90), face_at(-10, 60, 40), padding=(1, 2, 3))
    assert crop.image.getpixel((0, 0)) == (1, 2, 3)


def test_a_crop_beside_the_picture_is_all_padding():
    crop = crop_face(coordinate_image(50, 50), face_at(500, 500, 40))
    assert crop.image.getcolors() == [(crop.image.width * crop.image.height, NEUTRAL_COLOUR)]


@settings(deadline=None)
@given(st.floats(-50, 250), st.floats(-50, 250), st.floats(3, 400), st.floats(0, 2))
def test_points_go_to_the_picture_and_back(left, top, side, margin):
    face = face_at(left, top, side)
    crop = crop_face(Image.new("RGB", (120, 90)), face, margin=margin)
    assert crop.image.width == crop.image.height
    np.testing.assert_allclose(crop.to_picture(crop.landmarks), face.landmarks, atol=2e-3)
    np.testing.assert_allclose(crop.from_picture(face.landmarks), crop.landmarks, atol=1e-5)
    assert crop.landmarks.min() >= -0.5 / side - 1e-6
    assert crop.landmarks.max() <= 1 + 0.5 / side + 1e-6


@pytest.mark.parametrize(("left", "top"), [(700, 500), (-300, 1500)])
def test_a_huge_crop_is_shrunk_in_place(left, top):
    image = coordinate_image(256, 256).resize((2560, 2560), Image.Resampling.BICUBIC)
    crop = crop_face(image, face_at(left, top, 1500), margin=0.25)
    assert crop.box[2] - crop.box[0] == 2250
    assert crop.image.size == (1024, 1024)
    for x, y in ((0.5, 0.25), (0.9, 0.4)):
        red, green, _ = crop.image.getpixel((round(x * 1024), round(y * 1024)))
        expected = crop.to_picture(np.array([x, y])) / 10
        assert (red, green) == pytest.approx(tuple(expected), abs=1.5)


def test_a_whole_picture_is_padded_evenly_and_has_no_landmarks():
    whole = pad_to_square(coordinate_image(100, 60))
    assert whole.image.size == (100, 100)
    assert whole.box == (0, -20, 100, 80)
    assert whole.image.getpixel((7, 19)) == NEUTRAL_COLOUR
    assert whole.image.getpixel((7, 20)) == (7, 0, 200)
    assert whole.image.getpixel((7, 79)) == (7, 59, 200)
    assert whole.landmarks is None
    assert whole.index is None
    assert whole.landmarks_or_absent.shape == (68, 2)
    assert np.isnan(whole.landmarks_or_absent).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 2)])
def test_extreme_shapes_become_bounded_squares(size):
    whole = pad_to_square(Image.new("RGB", size))
    assert whole.image.size == (min(1024, max(size)),) * 2


@pytest.mark.parametrize("margin", [-0.1, 4.5, float("nan")])
def test_a_margin_out_of_range_is_refused(margin):
    with pytest.raises(ConfigurationError, match="margin"):
        crop_face(Image.new("RGB", (50, 50)), face_at(10, 10, 20), margin=margin)
