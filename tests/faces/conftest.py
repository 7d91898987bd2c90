import pytest
import skimage.data
from PIL import Image

from facekit.faces import DetectedFace
from facekit.faces.dlib_landmarker import DlibLandmarker


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="session")
def landmarker() -> DlibLandmarker:
    return DlibLandmarker()


@pytest.fixture(scope="session")
def face(astronaut: Image.Image, landmarker: DlibLandmarker) -> DetectedFace:
    return landmarker.detect(astronaut)[0]
