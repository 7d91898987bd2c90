"""Small faces and models for the examples, and a way to run these as a user does, without a new process for each."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import skimage.data
from endpoint_fixtures import no_keys, serve  # noqa: F401 - fixtures
from PIL import Image
from small_runs import small_model

from facekit.data.synthetic import write_synthetic_dataset

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Runs a file of the examples with arguments, as ``python examples/NAME`` does; returns what it printed."""

    def run(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        capsys.readouterr()
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="session")
def drawn_faces(tmp_path_factory) -> Path:
    """The records of 24 drawn faces with landmarks, labels and conversations."""
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=7, image_size=64)


@pytest.fixture(scope="session")
def photo(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "portrait.png"
    portrait().save(path)
    return path


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory) -> list[Path]:
    """Two saved models with region attention; they learned nothing and differ in their weights."""
    folders = []
    for seed in (0, 1):
        model, processor = small_model("region", seed=seed)
        folders.append(tmp_path_factory.mktemp(f"model-{seed}"))
        model.save_pretrained(folders[-1])
        processor.save_pretrained(folders[-1])
    return folders


def portrait() -> Image.Image:
    return Image.fromarray(skimage.data.astronaut()).crop((96, 0, 352, 256))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
