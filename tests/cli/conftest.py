"""A small model and a photograph, as verbs of the command line take them."""

import pytest
from PIL import Image
from skimage.data import astronaut

import facekit


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, processor = facekit.create(encoder="tiny", connector="region", backbone="tiny", seed=0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "portrait.png"
    Image.fromarray(astronaut()).save(path)
    return path
