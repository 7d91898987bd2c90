"""Tiny checkpoints as transformers saves them, with tokenizers and processors, and the released Face-LLaVA fixture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from foreign_checkpoints import save_internvl, save_llava
from PIL import Image
from safetensors.torch import load_file

RELEASED = Path(__file__).parents[2] / "data" / "face_llava_tiny"


@pytest.fixture(scope="session")
def llava(tmp_path_factory):
    """Folder, model and processor of a tiny LLaVA-1.5."""
    folder = tmp_path_factory.mktemp("llava")
    return folder, *save_llava(folder)


@pytest.fixture(scope="session")
def internvl(tmp_path_factory):
    """Folder, model and processor of a tiny InternVL."""
    folder = tmp_path_factory.mktemp("internvl")
    return folder, *save_internvl(folder)


@pytest.fixture(scope="session")
def foreign(llava, internvl):
    """Both of them by name."""
    return {"llava": llava, "internvl": internvl}


@pytest.fixture(scope="session")
def released():
    """The folder of the released Face-LLaVA fixture and its tensors."""
    return RELEASED, load_file(RELEASED / "expected.safetensors")


@pytest.fixture(scope="session")
def make_picture():
    """A function that draws noise of a given size."""

    def make(width, height, seed=0):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return make


@pytest.fixture(scope="session")
def save_tiny():
    """The functions that save tiny checkpoints, for those that are built in another way."""
    return {"llava": save_llava, "internvl": save_internvl}
