import numpy as np
import pytest
from PIL import Image

from facekit.errors import ConfigurationError, InvalidSpecError, RecordError
from facekit.faces.given_landmarker import GivenLandmarker, read_landmarks
from facekit.faces.landmarker import load_landmarker

IMAGE = Image.new("RGB", (512, 384))
POINTS = np.random.default_rng(0).uniform(0.3, 0.6, (68, 2)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    def write(array, name="landmarks.npy"):
        np.save(tmp_path / name, array)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize(
    ("coordinates", "unit"), [("pixels", (512, 384)), ("normalised", (1, 1)), ("crop256", (256, 256))]
)
def test_each_convention_gives_the_same_pixels(write, coordinates, unit):
    path = write(POINTS * unit)
    faces = GivenLandmarker.from_spec(path, coordinates=coordinates).detect(IMAGE)
    assert len(faces) == 1
    np.testing.assert_allclose(faces[0].landmarks, POINTS * (512, 384), rtol=1e-5)
    np.testing.assert_allclose(faces[0].box[:2], (POINTS * (512, 384)).min(axis=0), rtol=1e-5)


def test_several_faces_are_given_and_absent_ones_left_out(write):
    many = np.stack([POINTS, np.full((68, 2), np.nan), POINTS * 0.5])
    faces = GivenLandmarker(write(many), coordinates="normalised").detect(IMAGE)
    assert [round(face.size / faces[0].size, 3) for face in faces] == [1.0, 0.5]


def test_the_convention_must_be_said(write):
    with pytest.raises(InvalidSpecError, match=r"coordinates=pixels\|normalised\|crop256"):
        GivenLandmarker.from_spec(write(POINTS))
    with pytest.raises(InvalidSpecError, match=r"given:FILE\.npy"):
        GivenLandmarker.from_spec(None, coordinates="pixels")
    with pytest.raises(InvalidSpecError, match="cannot use coordinates=metres"):
        load_landmarker(f"given:{write(POINTS)}?coordinates=metres")
    with pytest.raises(ConfigurationError, match="not 'metres'"):
        GivenLandmarker(write(POINTS), coordinates="metres")


@pytest.mark.parametrize(
    ("scale", "coordinates"), [(1, "pixels"), (256, "normalised"), (4000, "pixels"), (1, "crop256")]
)
def test_a_convention_that_cannot_be_true_is_refused(write, scale, coordinates):
    landmarker = GivenLandmarker(write(POINTS * scale), coordinates=coordinates)
    with pytest.raises(RecordError, match=rf"picture of 512 x 384; its coordinates are not {coordinates}"):
        landmarker.detect(IMAGE)


def test_one_face_and_many_are_read_alike(write):
    np.testing.assert_array_equal(read_landmarks(write(POINTS)), POINTS[None])
    assert read_landmarks(write(np.zeros((7, 68, 2), np.int16))).shape == (7, 68, 2)


@pytest.mark.parametrize("array", [np.zeros((67, 2)), np.zeros((1, 1, 68, 2)), np.zeros(136), np.full((68, 2), "x")])
def test_other_arrays_are_refused(write, array):
    with pytest.raises(RecordError, match=r"landmarks\.npy' has shape"):
        read_landmarks(write(array))


def test_files_that_hold_no_array_are_refused(tmp_path, write):
    with pytest.raises(RecordError, match="there is no landmarks file"):
        read_landmarks(tmp_path / "absent.npy")
    (tmp_path / "words.npy").write_text("not an array")
    with pytest.raises(RecordError, match=r"words\.npy' is not a \.npy array"):
        read_landmarks(tmp_path / "words.npy")
    with pytest.raises(RecordError, match=r"is not a \.npy array"):
        read_landmarks(write(np.array({"a": 1}, dtype=object)))
    np.savez(tmp_path / "several.npz", POINTS)
    with pytest.raises(RecordError, match="archive of arrays"):
        read_landmarks(tmp_path / "several.npz")
    whole = (tmp_path / "whole.npy").as_posix()
    np.save(whole, np.zeros((100, 68, 2)))
    (tmp_path / "half.npy").write_bytes((tmp_path / "whole.npy").read_bytes()[:5000])
    with pytest.raises(RecordError, match=r"half\.npy' is not a \.npy array"):
        read_landmarks(tmp_path / "half.npy")
