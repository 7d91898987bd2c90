import numpy as np
import pytest
from PIL import Image

from facekit.errors import ConfigurationError, FaceNotFoundError, ImageError
from facekit.faces import DetectedFace, prepare_face, prepare_faces, select_faces


@pytest.fixture(scope="module")
def group(astronaut):
    picture = Image.new("RGB", (1024, 768), (80, 90, 100))
    picture.paste(astronaut, (512, 128))
    picture.paste(astronaut.resize((460, 460), Image.Resampling.LANCZOS), (20, 100))
    return picture


def faces_of(*sides):
    points = np.zeros((68, 2))
    return [DetectedFace((0, 0, side, side), 1.0, points) for side in sides]


def test_one_call_gives_the_square_crop_and_normalised_landmarks(astronaut, landmarker, face):
    crop = prepare_face(astronaut, landmarker)
    assert crop.image.width == crop.image.height
    assert crop.index == 0
    assert 0.1 < crop.landmarks.min() < crop.landmarks.max() < 0.9
    np.testing.assert_allclose(crop.to_picture(crop.landmarks), face.landmarks, atol=1e-3)
    box = [float(edge) for edge in crop.box]
    expected = np.asarray(astronaut.crop(tuple(box)))
    np.testing.assert_array_equal(np.asarray(crop.image), expected)


def test_the_margin_widens_the_crop(astronaut, landmarker):
    narrow, wide = (prepare_face(astronaut, landmarker, margin=margin) for margin in (0.0, 0.5))
    assert wide.image.width == pytest.approx(2 * narrow.image.width, abs=1)


def test_a_photograph_on_its_side_is_turned_by_its_exif_and_the_face_found(astronaut, landmarker, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "phone.png"
    astronaut.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    upright = prepare_face(astronaut, landmarker)
    np.testing.assert_allclose(prepare_face(path, landmarker).landmarks, upright.landmarks, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "CMYK", "I;16"])
def test_the_face_is_found_in_images_of_every_mode(astronaut, landmarker, face, mode):
    if mode == "I;16":
        image = Image.fromarray(np.asarray(astronaut.convert("L")).astype(np.uint16) * 257)
    else:
        image = astronaut.convert(mode)
    crop = prepare_face(image, landmarker)
    assert np.abs(crop.to_picture(crop.landmarks) - face.landmarks).mean() < 2


def test_of_several_faces_the_largest_is_taken_or_one_by_its_place_or_all(group, landmarker):
    everyone = prepare_faces(group, landmarker)
    assert [crop.index for crop in everyone] == [0, 1]
    assert everyone[0].image.width > everyone[1].image.width
    assert prepare_face(group, landmarker).box == everyone[0].box
    assert prepare_face(group, landmarker, select=1).box == everyone[1].box
    assert everyone[0].box[0] > 512 > everyone[1].box[2]


def test_no_face_names_the_file_and_what_to_do(tmp_path, landmarker):
    path = tmp_path / "wall.png"
    Image.new("RGB", (120, 80), (200, 190, 180)).save(path)
    with pytest.raises(FaceNotFoundError, match=r"no face was found in '.*wall\.png'; give a picture"):
        prepare_face(path, landmarker)
    whole = prepare_face(path, landmarker, on_no_face="whole-image")
    assert whole.landmarks is None
    assert whole.image.size == (120, 120)


def test_a_tiny_face_counts_as_not_found(astronaut, landmarker):
    small = astronaut.resize((100, 100), Image.Resampling.LANCZOS)
    with pytest.raises(
        FaceNotFoundError, match=r"largest face in the given image is \d+ pixels wide, below min_face_size 24"
    ):
        prepare_face(small, landmarker)
    assert prepare_face(small, landmarker, min_face_size=10).landmarks is not None
    assert prepare_face(small, landmarker, on_no_face="whole-image").landmarks is None


def test_what_is_not_an_image_is_refused_whatever_the_policy(landmarker, tmp_path):
    with pytest.raises(ImageError):
        prepare_face(tmp_path / "absent.png", landmarker, on_no_face="whole-image")
    with pytest.raises(ImageError, match="above the bound of 100"):
        prepare_face(Image.new("RGB", (20, 20)), landmarker, max_pixels=100)


def test_selection_keeps_the_places_of_the_faces_that_are_large_enough():
    faces = faces_of(90, 50, 20)
    assert select_faces(faces, "all") == [0, 1]
    assert select_faces(faces, "all", min_face_size=0) == [0, 1, 2]
    assert select_faces(faces) == [0]
    assert select_faces(faces[::-1]) == [2]
    assert select_faces(faces, 1) == [1]
    with pytest.raises(FaceNotFoundError, match="choose an index from 0 to 1"):
        select_faces(faces, 2)
    with pytest.raises(FaceNotFoundError, match="no face was found in here"):
        select_faces([], "all", name="here")


@pytest.mark.parametrize("select", ["smallest", -1, True, None, 1.0, "0"])
def test_other_selections_are_refused(select):
    with pytest.raises(ConfigurationError, match="select is 'largest', 'all' or a face's index"):
        select_faces(faces_of(90), select)


def test_arguments_that_do_not_fit_are_refused(astronaut, landmarker):
    with pytest.raises(ConfigurationError, match="prepare_faces for select='all'"):
        prepare_face(astronaut, landmarker, select="all")
    with pytest.raises(ConfigurationError, match="on_no_face is one of raise, whole-image"):
        prepare_face(astronaut, landmarker, on_no_face="ignore")
    with pytest.raises(ConfigurationError, match="min_face_size"):
        select_faces(faces_of(90), min_face_size=-1)
