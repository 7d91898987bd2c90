"""The notebook runs from its first cell to its last in a kernel of its own, and shows what its code makes."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image
from small_runs import SEARCH_PATH

from scripts.run_notebook import DIGEST, code_digest, run_notebook

NOTEBOOK = Path(__file__).parents[2] / "examples" / "picture_to_heat_map.ipynb"
REGIONS = ("face", "eyebrow1", "eyebrow2", "nose", "nostril", "eye1", "eye2", "lips", "teeth")


def text_of(notebook):
    """What its cells print, as one text."""
    outputs = [each for cell in notebook["cells"] for each in cell.get("outputs", [])]
    return "".join("".join(each["text"]) for each in outputs if each["output_type"] == "stream")


def pictures_of(notebook):
    """What its cells show."""
    data = [each["data"] for cell in notebook["cells"] for each in cell.get("outputs", []) if "data" in each]
    return [Image.open(io.BytesIO(base64.b64decode("".join(each["image/jpeg"])))) for each in data]


def check_outputs(notebook):
    printed = text_of(notebook)
    assert "picture 512 x 512, largest face" in printed
    first, last = (float(loss) for loss in re.search(r"loss ([\d.]+) to ([\d.]+)", printed).groups())
    assert last < first - 1.0
    assert sum(int(share) for share in re.findall(r"(\d+) %$", printed, re.MULTILINE)) in range(98, 103)
    assert "shares of a patch sum to 1.0" in printed
    found = re.findall(r"^(\w+) +share +([\d.]+) %  distance ([\d.]+) of the crop$", printed, re.MULTILINE)
    assert tuple(name for name, *_ in found) == REGIONS
    assert sum(float(share) for _, share, _ in found) == pytest.approx(100, abs=0.6)
    assert all(0 <= float(distance) < 1 for *_, distance in found)
    assert [picture.mode for picture in pictures_of(notebook)] == ["RGB"] * 3


def test_it_runs_and_shows_overlay_crop_and_maps(tmp_path, monkeypatch):
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([SEARCH_PATH, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    )
    check_outputs(run_notebook(NOTEBOOK, tmp_path))


def test_the_outputs_in_the_file_are_those_of_its_code_and_small():
    stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert stored["metadata"][DIGEST] == code_digest(stored), (
        "the notebook's code has changed since it was run; run python -m scripts.run_notebook " + NOTEBOOK.name
    )
    check_outputs(stored)
    assert NOTEBOOK.stat().st_size < 500_000
    assert not re.search(r"/(home|root|tmp|Users)/", text_of(stored))
