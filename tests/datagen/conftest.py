"""Small real faces, recipes and servers for the tests of data generation."""

from pathlib import Path

import numpy as np
import pytest
from endpoint_fixtures import no_keys, serve  # noqa: F401 - fixtures
from PIL import Image

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord, write_records

RECIPE = """
name: small
summary: two questions
system: You describe faces.
aspects:
  look:
    prompt: "This is a {{ person }}, {{ age_group }} years old. Describe the face."
    question: Describe the face.
    template: "A {{ person }} in {{ light }} light."
  mood:
    prompt: "The expression is {{ expression }}. Describe it."
    question: Describe the expression.
    requires: [expression]
    checks: [expression]
rating:
  system: You rate.
  prompt: "Question: {{ question }} Answer: {{ answer }} Known: {{ known }}"
image_side: 64
max_tokens: 100
"""


def write_faces(folder: Path, count: int, side: int = 24) -> Path:
    """Records with pictures that differ from one another; every second has an expression, the fifth none."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    records = []
    for index in range(count):
        pixels = chance.integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
        records.append(
            FaceRecord(
                id=f"face-{index}",
                image=f"images/{index}.png",
                labels=FaceLabels(expression=("happiness", "anger")[index % 2]),
                groups={"gender": ("woman", "man")[index % 2], "age_group": ("3-9", "20-29")[index // 2 % 2]},
                source="made",
            )
        )
    return write_records(folder / "records.jsonl", records)


@pytest.fixture
def faces(tmp_path):
    """Ten faces."""
    return write_faces(tmp_path / "faces", 10)


@pytest.fixture
def make_faces(tmp_path):
    return lambda count, **options: write_faces(tmp_path / "many", count, **options)


@pytest.fixture
def recipe_path(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path
