import pickle
import sys

import numpy as np
import pytest
from PIL import Image

from facekit.catalog import current_registry
from facekit.errors import InvalidSpecError, MissingExtraError
from facekit.faces.dlib_landmarker import DlibLandmarker
from facekit.faces.landmarker import load_landmarker
from facekit.spec import PartSpec


def region_center(landmarks, start, stop):
    return landmarks[start:stop].mean(axis=0)


def error_in_eye_distances(landmarks, reference):
    return np.linalg.norm(landmarks - reference, axis=1).mean() / np.linalg.norm(reference[36] - reference[45])


def test_the_astronaut_has_one_face_in_the_right_place(landmarker, astronaut):
    faces = landmarker.detect(astronaut)
    assert len(faces) == 1
    assert faces[0].score > 1
    np.testing.assert_allclose(faces[0].box, (179, 83, 267, 171), atol=8)
    np.testing.assert_allclose(region_center(faces[0].landmarks, 36, 42), (204, 102), atol=3)
    np.testing.assert_allclose(region_center(faces[0].landmarks, 42, 48), (247, 104), atol=3)
    np.testing.assert_allclose(faces[0].landmarks[30], (225, 127), atol=4)
    np.testing.assert_allclose(region_center(faces[0].landmarks, 48, 60), (223, 145), atol=4)
    np.testing.assert_allclose(faces[0].landmarks[8], (220, 178), atol=4)


def test_the_landmarks_lie_as_in_a_face(face):
    right_eye, left_eye = region_center(face.landmarks, 36, 42), region_center(face.landmarks, 42, 48)
    right_brow, nose_tip = region_center(face.landmarks, 17, 22), face.landmarks[30]
    mouth, chin = region_center(face.landmarks, 48, 60), face.landmarks[8]
    assert right_eye[0] < nose_tip[0] < left_eye[0]
    assert right_brow[1] < right_eye[1] < nose_tip[1] < mouth[1] < chin[1]
    left, top, right, bottom = face.box
    for point in (right_eye, left_eye, nose_tip, mouth):
        assert left < point[0] < right
        assert top < point[1] < bottom


def test_several_faces_are_all_found_with_the_same_landmarks(landmarker, astronaut, face):
    group = Image.new("RGB", (1024, 512))
    group.paste(astronaut, (0, 0))
    group.paste(astronaut, (512, 0))
    faces = sorted(landmarker.detect(group), key=lambda found: found.box[0])
    assert len(faces) == 2
    for column, found in enumerate(faces):
        assert error_in_eye_distances(found.landmarks - [512 * column, 0], face.landmarks) < 0.03


@pytest.mark.parametrize("side", [256, 128, 96])
def test_small_faces_are_found_in_an_enlarged_copy(landmarker, astronaut, face, side):
    faces = landmarker.detect(astronaut.resize((side, side), Image.Resampling.LANCZOS))
    assert len(faces) == 1
    assert error_in_eye_distances(faces[0].landmarks * 512 / side, face.landmarks) < 0.05


def test_a_large_picture_is_searched_small_and_its_landmarks_are_found_at_full_size(landmarker, astronaut, face):
    faces = landmarker.detect(astronaut.resize((2560, 2560), Image.Resampling.BICUBIC))
    assert len(faces) == 1
    assert error_in_eye_distances(faces[0].landmarks / 5, face.landmarks) < 0.03


def test_a_small_face_in_a_large_picture_is_found(landmarker, astronaut, face):
    scene = Image.new("RGB", (2000, 1500), (96, 96, 96))
    scene.paste(astronaut, (1400, 900))
    faces = landmarker.detect(scene)
    assert len(faces) == 1
    assert error_in_eye_distances(faces[0].landmarks - [1400, 900], face.landmarks) < 0.03


def test_a_fixed_upscale_searches_one_enlarged_copy(astronaut, face):
    small = astronaut.resize((128, 128), Image.Resampling.LANCZOS)
    assert DlibLandmarker(upscale=0).detect(small) == []
    assert len(DlibLandmarker(upscale=2).detect(small)) == 1


@pytest.mark.parametrize("size", [(200, 160), (1, 1), (3, 900)])
def test_a_picture_without_a_face_gives_none(landmarker, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert landmarker.detect(Image.fromarray(noise)) == []


def test_the_threshold_drops_doubtful_faces(astronaut):
    assert DlibLandmarker(threshold=5.0).detect(astronaut) == []


def test_it_is_built_from_a_spec_and_can_be_sent_to_another_process(astronaut, face):
    landmarker = load_landmarker("dlib?threshold=0.1&upscale=auto")
    assert (landmarker.threshold, landmarker.upscale) == (0.1, None)
    assert load_landmarker("dlib?upscale=1").upscale == 1
    again = pickle.loads(pickle.dumps(landmarker))
    np.testing.assert_array_equal(again.detect(astronaut)[0].landmarks, face.landmarks)


def test_a_model_file_can_be_given_and_must_be_one(tmp_path, landmarker, astronaut):
    assert DlibLandmarker(landmarker.model_path).detect(astronaut)
    with pytest.raises(InvalidSpecError, match="no model file"):
        DlibLandmarker.from_spec(str(tmp_path / "absent.dat"))
    (tmp_path / "words.dat").write_text("not a model")
    with pytest.raises(InvalidSpecError, match=r"cannot read '.*words\.dat' as a shape predictor"):
        DlibLandmarker.from_spec(str(tmp_path / "words.dat")).detect(astronaut)
    with pytest.raises(InvalidSpecError, match=r"68 points; .* has 5"):
        DlibLandmarker(landmarker.model_path.with_name("shape_predictor_5_face_landmarks.dat")).detect(astronaut)


@pytest.mark.parametrize("options", [{"upscale": "-1"}, {"upscale": "much"}, {"threshold": "nan"}, {"speed": "9"}])
def test_options_that_cannot_be_used_are_refused(options):
    with pytest.raises(InvalidSpecError, match="landmarker 'dlib'"):
        current_registry().build("landmarker", PartSpec("dlib", None, options))


@pytest.mark.parametrize("package", ["dlib", "face_recognition_models"])
def test_a_missing_package_is_named_with_the_install_command(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs {package}; install with: pip install 'facekit-mllm\[dlib\]'"):
        DlibLandmarker()
