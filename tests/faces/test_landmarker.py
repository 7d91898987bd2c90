import numpy as np
import pytest
from PIL import Image

from facekit.errors import ConfigurationError, ImageError, MissingExtraError
from facekit.faces import DetectedFace, Landmarker
from facekit.faces.landmarker import landmark_bounds, require_packages

POINTS = np.random.default_rng(0).uniform(10, 20, (68, 2))


class BoxesLandmarker(Landmarker):
    def __init__(self, boxes):
        self.boxes = boxes

    @classmethod
    def from_spec(cls, argument, **options):
        return cls([])

    def find_faces(self, image):
        return [DetectedFace(box, 1.0, POINTS) for box in self.boxes]


UPRIGHT = np.full((68, 2), (50.0, 60.0))
UPRIGHT[36:42], UPRIGHT[42:48] = (40.0, 50.0), (60.0, 50.0)


class TallLandmarker(Landmarker):
    """Sees an upright face in a tall picture of 100 x 200 pixels, and one on its side, unsurely, in a wide one."""

    def __init__(self, unsure=0.5):
        self.unsure = unsure

    @classmethod
    def from_spec(cls, argument, **options):
        return cls()

    def find_faces(self, image):
        if image.size == (100, 200):
            return [DetectedFace((30, 40, 70, 90), 0.9, UPRIGHT), DetectedFace((0, 0, 10, 10), 0.7, POINTS)]
        on_its_side = UPRIGHT[:, ::-1] + np.array((9.0, 0.0))
        return [DetectedFace((40, 30, 90, 70), self.unsure, on_its_side)]


def test_a_face_that_lies_on_its_side_is_looked_at_again_in_the_picture_turned_upright():
    wide = Image.new("RGB", (200, 100))
    faces = TallLandmarker().detect(wide)
    assert [face.score for face in faces] == [0.9, 0.7]
    assert faces[0].landmarks[36] == pytest.approx((150.0, 40.0))
    assert faces[0].landmarks[42] == pytest.approx((150.0, 60.0))
    assert faces[0].box == (110, 30, 160, 70)
    largest = TallLandmarker().detect_largest(wide, min_face_size=20)
    assert (largest.face.box, largest.count) == (faces[0].box, 1)


def test_a_find_that_is_surer_on_its_side_stays():
    wide = Image.new("RGB", (200, 100))
    assert [face.score for face in TallLandmarker(0.95).detect(wide)] == [0.95]
    assert TallLandmarker(0.95).detect_largest(wide).face.score == 0.95


def test_faces_come_largest_first_and_then_from_the_left():
    boxes = [(50, 0, 60, 10), (0, 0, 10, 10), (0, 0, 5, 40)]
    faces = BoxesLandmarker(boxes).detect(Image.new("RGB", (64, 64)))
    assert [face.box for face in faces] == [boxes[2], boxes[1], boxes[0]]
    assert [face.size for face in faces] == [40, 10, 10]


def test_the_largest_face_is_the_first_that_is_detected_and_the_large_enough_ones_are_counted():
    landmarker = BoxesLandmarker([(50, 0, 60, 10), (0, 0, 10, 10), (0, 0, 5, 40)])
    picture = Image.new("RGB", (64, 64))
    largest = landmarker.detect_largest(picture, min_face_size=11)
    assert (largest.face.box, largest.count) == ((0, 0, 5, 40), 1)
    assert landmarker.detect_largest(picture).count == 3
    assert BoxesLandmarker([]).detect_largest(picture) is None
    with pytest.raises(ImageError, match="open it with facekit"):
        landmarker.detect_largest(picture.convert("L"))


def test_a_face_whose_box_was_drawn_anew_is_ordered_by_the_size_that_the_detector_found():
    face = DetectedFace((0, 0, 10, 10), 1.0, POINTS, 30)
    assert (face.size, face.box) == (30, (0, 0, 10, 10))


@pytest.mark.parametrize("image", [Image.new("L", (8, 8)), np.zeros((8, 8, 3), np.uint8), "photo.png"])
def test_only_rgb_images_are_searched(image):
    with pytest.raises(ImageError, match="open it with facekit"):
        BoxesLandmarker([]).detect(image)


def test_a_face_keeps_float32_landmarks():
    face = DetectedFace((0, 0, 10, 10), 0.5, POINTS)
    assert face.landmarks.dtype == np.float32
    np.testing.assert_allclose(face.landmarks, POINTS, rtol=1e-6)


@pytest.mark.parametrize(
    ("box", "landmarks", "reason"),
    [
        ((0, 0, 10, 10), POINTS[:5], r"\(68, 2\), not \(5, 2\)"),
        ((0, 0, 10, 10), np.full((68, 2), np.nan), "finite"),
        ((10, 0, 10, 10), POINTS, "left, top to right, bottom"),
        ((0, 0, float("nan"), 10), POINTS, "left, top to right, bottom"),
    ],
)
def test_an_impossible_face_is_refused(box, landmarks, reason):
    with pytest.raises(ConfigurationError, match=reason):
        DetectedFace(box, 1.0, landmarks)


def test_missing_packages_are_named_with_the_install_command():
    require_packages("dlib", "dlib", "numpy")
    with pytest.raises(MissingExtraError, match=r"no_such_package; install with: pip install 'facekit-mllm\[dlib\]'"):
        require_packages("dlib", "dlib", "numpy", "no_such_package")


def test_bounds_are_the_extremes_of_the_points():
    assert landmark_bounds(np.array([[3, 9], [5, 1], [4, 4]])) == (3, 1, 5, 9)
