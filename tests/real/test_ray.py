"""Photographs cropped to their faces on a real Ray, by the command: the same bytes as on one process without it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import skimage
from PIL import Image

from facekit.data.formats.shards import verify_shards
from facekit.data.records import FaceRecord, write_records


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """One face at five angles, and a cat."""
    folder = tmp_path_factory.mktemp("photographs")
    portrait = Image.fromarray(skimage.data.astronaut())
    for angle in range(5):
        portrait.rotate(3 * angle).save(folder / f"{angle}.png")
    Image.fromarray(skimage.data.chelsea()).save(folder / "cat.png")
    names = [f"{angle}.png" for angle in range(5)]
    write_records(folder / "faces.jsonl", [FaceRecord(id=name, image=name) for name in [*names, "cat.png"]])
    return folder / "faces.jsonl"


def preprocess(records, output, engine):
    program = "from facekit.cli.main import main; main()"
    options = ["--engine", engine, "--workers", "2", "--records-per-shard", "2", "--size", "128", "--max-failures", "1"]
    subprocess.run(
        [sys.executable, "-c", program, "preprocess", str(records), str(output), *options], check=True, timeout=200
    )
    return {path.name: path.read_bytes() for path in sorted(output.iterdir()) if path.is_file()}


def test_ray_writes_what_processes_of_one_machine_write(photographs, tmp_path):
    shards = preprocess(photographs, tmp_path / "ray", "ray")
    assert shards == preprocess(photographs, tmp_path / "local", "local")
    assert len([name for name in shards if name.endswith(".tar")]) == 3
    assert verify_shards(tmp_path / "ray") == 5
    (failure,) = [json.loads(line) for line in shards["failures.jsonl"].splitlines()]
    assert failure["id"] == "cat.png"
