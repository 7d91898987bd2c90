"""Examples in docstrings: each runs as it stands where a model, a photograph and a few records are at hand."""

from __future__ import annotations

import ast
import doctest
from pathlib import Path

import pytest
from PIL import Image
from skimage.data import astronaut

import facekit
from facekit.data.synthetic import write_synthetic_dataset

ROOT = Path(__file__).parents[2]


def examples() -> dict[str, str]:
    """The docstrings with examples, by the place that they stand at."""
    found = {}
    for path in sorted((ROOT / "facekit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node) or ""
                if ">>> " in text:
                    found[f"{path.relative_to(ROOT)}:{getattr(node, 'name', '')}"] = text
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with ``runs/demo``, ``photo.jpg`` and ``faces/records.jsonl``."""
    pytest.importorskip("dlib")
    folder = tmp_path_factory.mktemp("examples")
    model, processor = facekit.create(
        encoder="tiny?width=32&depth=1", connector="region", backbone="tiny?width=48&depth=1&heads=2", landmarker="dlib"
    )
    model.save_pretrained(folder / "runs" / "demo")
    processor.save_pretrained(folder / "runs" / "demo")
    Image.fromarray(astronaut()).save(folder / "photo.jpg")
    write_synthetic_dataset(folder / "faces", 4, seed=1, image_size=64)
    return folder


@pytest.mark.parametrize("place", EXAMPLES)
def test_an_example_runs_and_shows_what_comes_out(place, folder, monkeypatch):
    monkeypatch.chdir(folder)
    test = doctest.DocTestParser().get_doctest(EXAMPLES[place], {}, place, place, 0)
    assert not any(doctest.SKIP in each.options for each in test.examples)
    said: list[str] = []
    result = doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=True)
    assert result.failed == 0, "".join(said)


def test_the_names_that_users_meet_first_have_examples():
    named = {place.rpartition(":")[2] for place in EXAMPLES}
    first = {"ask", "create", "load", "region_maps", "Session", "prepare_face", "FaceRecord", "read_records"}
    assert first | {"region_attention", "evaluate_model", "load_recipe", "describe_part", "score_age"} <= named
