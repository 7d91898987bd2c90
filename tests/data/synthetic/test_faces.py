"""Drawn faces: pixels lie where the landmarks say, masks are exact, drawing is repeatable, clips unfold."""

from dataclasses import replace

import numpy as np
import pytest

from facekit.data.labels import EXPRESSIONS
from facekit.data.synthetic import draw_clip, draw_face, draw_parameters
from facekit.data.synthetic.features import pupils_of
from facekit.data.synthetic.geometry import landmarks_of
from facekit.data.synthetic.parameters import FORGERIES, HAIR_STYLES, HATS, FaceParameters, Hair, Pose, Scene
from facekit.data.synthetic.sampling import sample_face
from facekit.errors import ConfigurationError

SIZE = 256
PLAIN = FaceParameters(
    action_units={"AU25": 3.0},
    gaze=(0.1, 0.0),
    pose=Pose(yaw=12, pitch=4, roll=-8, centre=(0.48, 0.47), scale=0.3),
    scene=Scene(noise=0.0, contrast=0.3),
)


def changed_pixels(first, second, threshold=6):
    pictures = [draw_parameters(face, image_size=SIZE).image.astype(int) for face in (first, second)]
    return np.abs(pictures[0] - pictures[1]).max(axis=-1) > threshold


def extent(mask):
    """Left, top, right and bottom edge of a mask, from 0 to 1."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / len(mask)


def bounds(points):
    return np.concatenate((points.min(axis=0), points.max(axis=0)))


@pytest.mark.parametrize("yaw", [-25, 0, 20])
def test_the_lips_end_where_the_mouth_landmarks_end(yaw):
    face = replace(PLAIN, pose=replace(PLAIN.pose, yaw=yaw))
    painted = replace(face, adornment=replace(face.adornment, lipstick=(20.0, 200.0, 40.0)))
    lips = changed_pixels(face, painted)
    np.testing.assert_allclose(extent(lips), bounds(landmarks_of(face)[48:60]), atol=2.5 / SIZE)


def test_the_irises_lie_at_the_pupils_and_inside_the_lids():
    blue = replace(PLAIN, appearance=replace(PLAIN.appearance, iris=(30.0, 60.0, 220.0)))
    irises = changed_pixels(PLAIN, blue)
    points = landmarks_of(PLAIN)
    pupils = pupils_of(PLAIN, points)
    places = (np.argwhere(irises)[:, ::-1] + 0.5) / SIZE
    left = places[:, 0] < points[27, 0]
    for side, first, pupil in ((left, 36, pupils[0]), (~left, 42, pupils[1])):
        low, high = bounds(points[first : first + 6]).reshape(2, 2)
        assert np.all(places[side] > low - 2 / SIZE)
        assert np.all(places[side] < high + 2 / SIZE)
        assert np.abs(places[side].mean(axis=0) - pupil).max() * SIZE < 2.0


def test_the_brows_lie_on_the_brow_landmarks():
    green = replace(PLAIN, appearance=replace(PLAIN.appearance, brow=(20.0, 230.0, 40.0)))
    places = (np.argwhere(changed_pixels(PLAIN, green))[:, ::-1] + 0.5) / SIZE
    spine = landmarks_of(PLAIN)[17:27]
    nearest = np.linalg.norm(places[:, None] - spine, axis=-1)
    assert nearest.min(axis=1).max() < 0.05
    assert nearest.min(axis=0).max() < 1.5 / SIZE


def test_the_chin_of_the_skin_lies_on_the_jaw_landmark():
    face = replace(PLAIN, pose=Pose(scale=0.3))
    shorter = replace(face, shape=replace(face.shape, chin=face.shape.chin - 0.1))
    changed = changed_pixels(face, shorter)
    column = changed[:, SIZE // 2 - 3 : SIZE // 2 + 3].any(axis=1)
    top, bottom = landmarks_of(shorter)[8, 1], landmarks_of(face)[8, 1]
    between = column[round(top * SIZE) + 1 : round(bottom * SIZE) - 1]
    assert between.all()


def test_an_open_mouth_is_dark_between_the_inner_lips():
    wide = replace(PLAIN, action_units={"AU25": 4.0, "AU26": 4.0})
    points, image = landmarks_of(wide), draw_parameters(wide, image_size=SIZE).image
    teeth = 0.8 * points[62] + 0.2 * points[66]
    hollow = 0.52 * points[62] + 0.48 * points[66]
    bright, dark = (image[int(y * SIZE), int(x * SIZE)].astype(int) for x, y in (teeth, hollow))
    assert bright.min() > 150
    assert dark.max() < 130


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forgery_changes_the_mask_and_nothing_else(kind):
    face = sample_face(11, manipulated=True)
    face = replace(face, forgery=replace(face.forgery, kind=kind))
    forged = draw_parameters(face, image_size=128)
    genuine = draw_parameters(replace(face, forgery=None), image_size=128)
    mask = forged.manipulation_mask
    np.testing.assert_array_equal(forged.image[~mask], genuine.image[~mask])
    assert 0.01 < mask.mean() < 0.5
    assert (forged.image[mask] != genuine.image[mask]).any(axis=-1).mean() > 0.8
    assert not genuine.manipulation_mask.any()
    np.testing.assert_array_equal(forged.landmarks, genuine.landmarks)
    assert (forged.labels.manipulated, genuine.labels.manipulated) == (True, False)


def test_forgeries_lie_on_the_face_and_differ_visibly():
    for seed in range(24):
        forged, genuine = draw_face(seed, manipulated=True), draw_face(seed, manipulated=False)
        low, high = bounds(forged.landmarks).reshape(2, 2)
        places = (np.argwhere(forged.manipulation_mask)[:, ::-1] + 0.5) / 96
        assert np.all(places > low - 0.06)
        assert np.all(places < high + 0.06)
        difference = np.abs(forged.image.astype(int) - genuine.image)[forged.manipulation_mask]
        assert difference.mean() > 4


def test_drawing_is_repeatable_and_fills_the_contract():
    first, second = draw_face(99), draw_face(99)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.manipulation_mask, second.manipulation_mask)
    assert first.image.shape == (96, 96, 3)
    assert first.image.dtype == np.uint8
    assert first.landmarks.shape == (68, 2)
    assert first.landmarks.dtype == np.float32
    assert first.labels == second.labels


def test_other_numbers_are_other_faces():
    pictures = [draw_face(seed, image_size=64).image.astype(int) for seed in range(6)]
    for index, picture in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert np.abs(picture - other).mean() > 5


def test_a_larger_picture_shows_the_same_face():
    small, large = draw_face(3, image_size=64), draw_face(3, image_size=192)
    np.testing.assert_array_equal(small.landmarks, large.landmarks)
    assert small.labels == large.labels
    shrunk = large.image.reshape(64, 3, 64, 3, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small.image).mean() < 8


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_every_hair_style_draws_hair_of_its_colour(style):
    face = replace(PLAIN, hair=Hair(style=style))
    green = replace(face, appearance=replace(face.appearance, hair=(40.0, 220.0, 60.0)))
    changed = changed_pixels(face, green)
    assert changed.mean() > 0.01
    low, high = bounds(landmarks_of(face)[27:68]).reshape(2, 2) * SIZE
    inside = changed[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])]
    assert inside.mean() < 0.05


@pytest.mark.parametrize("hat", HATS)
def test_hats_leave_the_eyes_visible(hat):
    worn = replace(PLAIN, adornment=replace(PLAIN.adornment, hat=hat))
    changed = changed_pixels(PLAIN, worn, threshold=20)
    assert changed.mean() > 0.03
    for x, y in landmarks_of(PLAIN)[36:48]:
        assert not changed[int(y * SIZE), int(x * SIZE)]


@pytest.mark.parametrize(
    "changes",
    [
        {"glasses": "round"},
        {"glasses": "square"},
        {"beard": 0.6},
        {"moustache": 0.7},
        {"earrings": (236.0, 196.0, 84.0)},
        {"eye_shadow": (70.0, 50.0, 96.0)},
        {"lipstick": (186.0, 24.0, 44.0)},
    ],
)
def test_every_attribute_is_visible_at_the_usual_size(changes):
    worn = replace(PLAIN, adornment=replace(PLAIN.adornment, **changes))
    pictures = [draw_parameters(face, image_size=96).image.astype(int) for face in (PLAIN, worn)]
    assert (np.abs(pictures[0] - pictures[1]).max(axis=-1) > 25).sum() >= 12


@pytest.mark.parametrize(
    ("sign", "pixels"),
    [
        ("forehead", 60),
        ("crow_feet", 20),
        ("bags", 20),
        ("nasolabial", 40),
        ("marionette", 20),
        ("spots", 20),
        ("hollow", 60),
    ],
)
def test_every_sign_of_age_is_visible_at_the_usual_size(sign, pixels):
    aged = replace(PLAIN, signs=replace(PLAIN.signs, **{sign: 1.0}))
    pictures = [draw_parameters(face, image_size=96).image.astype(int) for face in (PLAIN, aged)]
    assert (np.abs(pictures[0] - pictures[1]).max(axis=-1) > 10).sum() >= pixels


def test_a_clip_rises_from_rest_to_the_expression():
    clip, face = draw_clip(21, frames=6, manipulated=False), draw_face(21, manipulated=False)
    assert clip.frames.shape == (6, 96, 96, 3)
    assert clip.landmarks.shape == (6, 68, 2)
    assert clip.manipulation_masks.shape == (6, 96, 96)
    assert clip.labels == face.labels
    np.testing.assert_allclose(clip.landmarks[-1], face.landmarks, atol=1e-6)
    for code, final in face.labels.action_units.items():
        levels = [frame.action_units[code] for frame in clip.parameters]
        assert levels[0] == pytest.approx(0.0, abs=1e-9)
        assert levels == sorted(levels)
        assert levels[-1] == pytest.approx(final)


def test_a_clip_moves_smoothly_and_keeps_the_person():
    clip = draw_clip(4, frames=8)
    steps = np.abs(np.diff(clip.landmarks, axis=0)).max(axis=(1, 2))
    assert 0.001 < steps.max() < 0.08
    assert clip.landmarks.min() > 0
    assert clip.landmarks.max() < 1
    assert len({frame.appearance for frame in clip.parameters}) == 1
    assert len({frame.scene.sensor_seed for frame in clip.parameters}) == 8


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_is_labelled_as_it_was_drawn(expression):
    seed = next(seed for seed in range(200) if sample_face(seed).expression == expression)
    assert draw_face(seed, image_size=48).labels.expression == expression


@pytest.mark.parametrize("arguments", [{"seed": -1}, {"seed": 2**64}, {"seed": 0, "image_size": 8}])
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(ConfigurationError, match="out of range"):
        draw_face(**arguments)


def test_a_clip_of_one_frame_is_refused():
    with pytest.raises(ConfigurationError, match="at least 2 frames"):
        draw_clip(0, frames=1)
