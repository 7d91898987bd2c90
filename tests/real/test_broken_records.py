"""Two thousand records, every twentieth broken in one of twenty ways, through a recipe that is killed three times."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from broken_records import MAX_TOKENS, TEMPLATE, write_broken_records

import facekit

COUNT = 2000
CHECKPOINTS = (15, 45, 75)
RECIPE = """
model:
  load: {model}
records: {records}
output: {output}
stages:
  train:
    {{epochs: 1, batch_size: 20, lr: 1e-3, log_every: 1, save_every: 5, max_tokens: {max_tokens}, skip_limit: 0.05}}
"""


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return write_broken_records(tmp_path_factory.mktemp("faces"), COUNT)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A small model whose chat template refuses what published ones refuse."""
    folder = tmp_path_factory.mktemp("model")
    model, processor = facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1", connector="region", backbone="tiny?width=32&depth=1&heads=2",
        seed=0,
    )  # fmt: skip
    processor.chat_template = processor.tokenizer.chat_template = TEMPLATE
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def command(folder, faces, start):
    recipe = folder / "broken.yaml"
    recipe.write_text(
        RECIPE.format(model=start, records=faces[0], output=folder / "run", max_tokens=MAX_TOKENS), encoding="utf-8"
    )
    return [sys.executable, "-m", "facekit", "train", f"recipe={recipe}", "--resume"]


def run(*given, **options):
    environment = {**os.environ, "PYTHONPATH": str(Path(facekit.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(*given, env=environment, **options)


def finish(arguments):
    process = run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    told = process.communicate(timeout=240)[0]
    assert process.returncode == 0, told
    return told


@pytest.fixture(scope="module")
def straight(faces, start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return folder / "run", finish(command(folder, faces, start))


def test_the_run_comes_to_its_end_and_lists_every_broken_record_once(faces, straight):
    folder, told = straight
    reasons = faces[1]
    listed = [json.loads(line) for line in (folder / "training" / "skipped.jsonl").read_text().splitlines()]
    assert len(reasons) == COUNT // 20
    assert [entry["index"] for entry in listed] == list(range(7, COUNT, 20))
    assert all(reasons[entry["id"]] in entry["reason"] for entry in listed)
    page = (folder / "training" / "summary.html").read_text(encoding="utf-8")
    cells = [re.sub(r"<[^>]*>", "", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", page, re.S)]
    assert all(cells.count(name) == 1 for name in reasons)
    assert "left out 100 records and 0 questions of others, listed in" in " ".join(told.split())
    report = json.loads((folder / "training" / "report.json").read_text())
    assert report["records"]["skipped"] == len(reasons)
    assert report["steps"] == (COUNT - len(reasons)) // 20


def test_killed_three_times_it_ends_with_the_same_bits(faces, start, straight, tmp_path):
    arguments = command(tmp_path, faces, start)
    training = tmp_path / "run" / "training"
    for step in CHECKPOINTS:
        process = run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while process.poll() is None and not (training / f"checkpoint-{step}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    finish(arguments)
    expected = straight[0]
    losses = [json.loads((folder / "training" / "losses.json").read_text()) for folder in (expected, tmp_path / "run")]
    assert losses[0] == losses[1]
    before, after = (facekit.load(folder)[0].state_dict() for folder in (expected, tmp_path / "run"))
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    lists = [(folder / "training" / "skipped.jsonl").read_text() for folder in (expected, tmp_path / "run")]
    assert lists[0] == lists[1]
