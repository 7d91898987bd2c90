from pathlib import Path

import pytest
from PIL import Image

import facekit
from facekit.evaluation import FaceKitModel


@pytest.fixture
def draw_picture():
    """Writes a picture whose grey says who is in it."""

    def draw(path: Path, grey: int = 128) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (grey,) * 3).save(path)
        return path

    return draw


@pytest.fixture(scope="module")
def small_model():
    model, processor = facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1", connector="mlp",
        backbone="tiny?width=48&depth=1&heads=2",
    )  # fmt: skip
    return FaceKitModel(model.eval(), processor, name="small")
