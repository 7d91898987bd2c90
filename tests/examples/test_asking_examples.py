"""Examples that ask: a photograph, a model behind a server, a clip."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from model_server import running
from PIL import Image
from video_files import write_video

import facekit
from facekit.faces import FACE_REGIONS


def test_a_photograph_is_asked_about(run_example, photo, model_folders):
    printed = run_example("ask_a_photo.py", photo, model_folders[0])
    model, processor = facekit.load(model_folders[0])
    questions = ["How old does this person look?", "Which expression is shown?"]
    answers = facekit.ask(model, processor, photo, questions)
    assert printed == "".join(f"{question}\n  {answer}\n" for question, answer in zip(questions, answers, strict=True))


def test_a_server_is_asked_with_the_openai_client(run_example, photo, model_folders, tmp_path):
    model, processor = facekit.load(model_folders[0])
    with running(model, processor) as address:
        printed = run_example("ask_a_server.py", photo, tmp_path / "overlay.png", "--url", f"{address}/v1")
    questions = ["How old does this person look?", "Which expression does the face show?"]
    for question, answer in zip(questions, facekit.ask(model, processor, photo, questions), strict=True):
        assert f"{question}\n  {answer}" in printed
    face = processor.image_processor.prepare(photo)
    left, top, *_ = face.to_picture(face.landmarks).min(axis=0)
    assert f"face at [{left:.2f}, {top:.2f}".rstrip("0") in printed
    drawn, plain = (Image.open(path).convert("RGB") for path in (tmp_path / "overlay.png", photo))
    above = np.asarray(drawn.crop((0, 0, *drawn.size)).resize((64, 64))).astype(int)
    assert np.abs(above - np.asarray(plain.resize((64, 64)))).max() > 60


def test_a_clip_is_followed_asked_about_and_mapped(run_example, photo, model_folders, tmp_path):
    face = Image.open(photo).convert("RGB")
    covered = Image.new("RGB", face.size, (90, 90, 90))
    write_video(tmp_path / "clip.mp4", [face, face, covered, face])
    printed = run_example(
        "ask_a_clip.py", tmp_path / "clip.mp4", tmp_path / "out", "--model", model_folders[0], "--num-frames", "4"
    )
    assert [line.partition(":")[0] for line in printed.splitlines() if line.startswith("frame ")] == [
        f"frame {index}" for index in range(4)
    ]
    assert "frame 2: no face;" in printed
    with (tmp_path / "out" / "regions.csv").open() as file:
        names, *rows = csv.reader(file)
    assert names == list(FACE_REGIONS)
    shares = np.array(rows, dtype=float)
    assert np.isnan(shares[2]).all()
    assert shares[[0, 1, 3]].sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert sorted(path.name for path in (tmp_path / "out").glob("region-maps-*.png")) == [
        f"region-maps-{index}.png" for index in (0, 1, 3)
    ]
    assert Image.open(tmp_path / "out" / "overlay.png").size == (4 * 256, 256)
