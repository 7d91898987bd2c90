"""MediaPipe and FAN without their packages: stand-ins with the packages' interface answer with known points."""

import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.catalog import current_registry
from facekit.errors import InvalidSpecError, MissingExtraError
from facekit.faces.fan_landmarker import FanLandmarker
from facekit.faces.mediapipe_landmarker import MediaPipeLandmarker
from facekit.faces.mediapipe_mapping import landmarks_from_mesh
from facekit.spec import PartSpec

MESH_FILE = Path(__file__).parent / "data" / "mediapipe_mesh_astronaut.npy"

MEDIAPIPE = f"""
import types, zipfile
import numpy as np
class ImageFormat: SRGB = 1
class Image:
    def __init__(self, image_format, data):
        assert image_format == 1 and data.dtype == np.uint8 and data.flags["C_CONTIGUOUS"]
        self.data = data
def BaseOptions(model_asset_path): return model_asset_path
def FaceLandmarkerOptions(**options): return types.SimpleNamespace(**options)
class FaceLandmarker:
    def __init__(self, options): self.options = options
    @classmethod
    def create_from_options(cls, options):
        if "face_landmarks_detector.tflite" not in zipfile.ZipFile(options.base_options).namelist():
            raise FileNotFoundError("no landmarks detector")
        return cls(options)
    def __enter__(self): return self
    def __exit__(self, *error): self.options = None
    def detect(self, image):
        mesh = np.load({str(MESH_FILE)!r}) / 512
        face = [types.SimpleNamespace(x=x, y=y) for x, y in mesh.tolist()]
        found = image.data.any() and self.options.min_face_detection_confidence <= 0.9
        return types.SimpleNamespace(face_landmarks=[face] if found else [])
"""

FACE_ALIGNMENT = """
import numpy as np
models_urls = {"2DFAN-4": "https://example.org/fan.pth", "s3fd": "https://example.org/s3fd.pth"}
class LandmarksType: TWO_D = 1
class Detector:
    def __init__(self, filter_threshold): self.filter_threshold = filter_threshold
    def detect_from_image(self, pixels):
        assert max(pixels.shape) <= 1024
        height, width = pixels.shape[:2]
        boxes = [np.array([0.2 * width, 0.2 * height, 0.6 * width, 0.6 * height, score]) for score in (0.9, 0.3)]
        return [box for box in boxes if pixels.any() and box[4] > self.filter_threshold]
class FaceAlignment:
    def __init__(self, landmarks_type, device, face_detector, face_detector_kwargs, compile=True):
        assert (landmarks_type, device, face_detector, compile) == (1, "cpu", "sfd", False)
        self.face_detector = Detector(**face_detector_kwargs)
    def get_landmarks_from_image(self, pixels, detected_faces):
        return [np.linspace(box[:2], box[2:4], 68) for box in detected_faces]
"""


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    files = {
        "mediapipe/__init__.py": MEDIAPIPE,
        "mediapipe/tasks/__init__.py": "",
        "mediapipe/tasks/python/__init__.py": "from mediapipe import BaseOptions",
        "mediapipe/tasks/python/vision.py": "from mediapipe import FaceLandmarker, FaceLandmarkerOptions",
        "face_alignment/__init__.py": FACE_ALIGNMENT,
        "face_alignment/api.py": "from face_alignment import models_urls",
        "face_alignment/detection/__init__.py": "",
        "face_alignment/detection/sfd/__init__.py": "",
        "face_alignment/detection/sfd/sfd_detector.py": "from face_alignment import models_urls",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mediapipe", "face_alignment")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mediapipe", "face_alignment")]:
        del sys.modules[name]


@pytest.fixture
def bundle(tmp_path):
    path = tmp_path / "face_landmarker.task"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("face_landmarks_detector.tflite", b"")
    return path


def test_mediapipe_gives_68_landmarks_in_pixels_of_the_picture(stand_ins, bundle, astronaut):
    landmarker = pickle.loads(pickle.dumps(MediaPipeLandmarker.from_spec(str(bundle), max_faces=2, threshold=0.4)))
    assert (landmarker.max_faces, landmarker.threshold) == (2, 0.4)
    (face,) = landmarker.detect(astronaut.resize((1024, 512)))
    mesh = np.load(MESH_FILE) * (2, 1)
    np.testing.assert_allclose(face.landmarks, landmarks_from_mesh(mesh), rtol=1e-5)
    np.testing.assert_allclose(face.box, [*mesh.min(axis=0), *mesh.max(axis=0)], rtol=1e-5)
    assert face.score == 1.0


def test_mediapipe_without_a_face_gives_none(stand_ins, bundle, astronaut):
    assert MediaPipeLandmarker(bundle).detect(Image.new("RGB", (64, 64))) == []
    assert MediaPipeLandmarker(bundle, threshold=0.95).detect(astronaut) == []


def test_mediapipe_refuses_what_is_not_a_model(stand_ins, bundle, tmp_path, astronaut):
    with pytest.raises(InvalidSpecError, match=r"needs a model: mediapipe:face_landmarker\.task, which is at https"):
        MediaPipeLandmarker.from_spec(None)
    with pytest.raises(InvalidSpecError, match="finds no model file"):
        MediaPipeLandmarker.from_spec(str(tmp_path / "absent.task"))
    (tmp_path / "words.task").write_text("not a bundle")
    with pytest.raises(InvalidSpecError, match=r"not a MediaPipe \.task bundle"):
        MediaPipeLandmarker.from_spec(str(tmp_path / "words.task"))
    with zipfile.ZipFile(tmp_path / "other.task", "w") as archive:
        archive.writestr("hands.tflite", b"")
    with pytest.raises(InvalidSpecError, match=r"cannot load '.*other\.task': no landmarks detector"):
        MediaPipeLandmarker(tmp_path / "other.task").detect(astronaut)


@pytest.mark.parametrize("options", [{"max_faces": "0"}, {"threshold": "2"}, {"max_faces": "few"}, {"faces": "3"}])
def test_mediapipe_refuses_options_out_of_range(stand_ins, bundle, options):
    with pytest.raises(InvalidSpecError, match="landmarker 'mediapipe'"):
        current_registry().build("landmarker", PartSpec("mediapipe", str(bundle), options))


def test_fan_searches_a_bounded_copy_and_scales_the_boxes_back(stand_ins, astronaut):
    landmarker = FanLandmarker.from_spec(None, download=True, threshold=0.5)
    for picture in (astronaut, astronaut.resize((4096, 2048))):
        (face,) = landmarker.detect(picture)
        expected = [share * side for share, side in zip((0.2, 0.2, 0.6, 0.6), picture.size * 2, strict=True)]
        assert face.box == pytest.approx(expected)
        assert face.score == pytest.approx(0.9)
        np.testing.assert_allclose(face.landmarks[[0, -1]], np.reshape(expected, (2, 2)), rtol=1e-5)
    assert len(FanLandmarker(download=True, threshold=0.2).detect(astronaut)) == 2
    assert landmarker.detect(Image.new("RGB", (64, 64))) == []
    assert pickle.loads(pickle.dumps(landmarker)).threshold == 0.5


def test_fan_downloads_nothing_unless_told(stand_ins, astronaut):
    with pytest.raises(
        InvalidSpecError, match=r"no weights in '.*torch/hub/checkpoints'.*fan\.pth.*fan\?download=true"
    ):
        FanLandmarker()
    folder = stand_ins / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    for name in ("fan.pth", "s3fd.pth"):
        (folder / name).touch()
    assert len(FanLandmarker().detect(astronaut)) == 1


@pytest.mark.parametrize(
    ("argument", "options"), [("weights.pth", {}), (None, {"threshold": "-1"}), (None, {"download": "maybe"})]
)
def test_fan_refuses_what_it_cannot_use(stand_ins, argument, options):
    with pytest.raises(InvalidSpecError, match="landmarker 'fan'"):
        current_registry().build("landmarker", PartSpec("fan", argument, options))


@pytest.mark.parametrize(
    ("landmarker", "package", "extra"),
    [(MediaPipeLandmarker, "mediapipe", "mediapipe"), (FanLandmarker, "face_alignment", "fan")],
)
def test_a_missing_package_is_named_with_the_install_command(monkeypatch, bundle, landmarker, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    argument = str(bundle) if extra == "mediapipe" else None
    with pytest.raises(
        MissingExtraError, match=rf"needs {package}; install with: pip install 'facekit-mllm\[{extra}\]'"
    ):
        landmarker.from_spec(argument)
