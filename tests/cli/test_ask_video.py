"""``facekit ask`` with a clip: recognised by its file type, answered, drawn, and refused in one line."""

from __future__ import annotations

import sys

import pytest
import skimage.data
from PIL import Image
from video_files import write_video

import facekit
from facekit.cli import main as cli


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, processor = facekit.create(
        encoder="tiny", connector="region", backbone="tiny?width=48&depth=1&heads=4", seed=0
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def portrait():
    return Image.fromarray(skimage.data.astronaut()).crop((96, 0, 352, 256))


@pytest.fixture
def run(monkeypatch, capsys, model_folder):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["facekit", "ask", *map(str, arguments), "--model", str(model_folder)])
        try:
            cli.main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return call


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "libx264"), ("clip.gif", "gif")])
def test_a_clip_is_answered_and_drawn(run, portrait, tmp_path, name, codec):
    path = write_video(tmp_path / name, [portrait] * 3, codec=codec)
    overlay = tmp_path / "overlay.png"
    status, out, error = run(path, "Smile?", "--num-frames", 2, "--overlay", overlay, "--max-new-tokens", 2)
    assert status == 0, error
    assert "Smile?" in out
    assert Image.open(overlay).size == (512, 256)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_text("no video"), "no video of a known format"),
        (lambda path: write_video(path, [Image.new("RGB", (64, 48))] * 3), "no face"),
        (lambda path: None, "there is no file"),
    ],
)
def test_a_clip_that_cannot_be_used_is_one_line_and_status_2(run, tmp_path, write, words):
    path = tmp_path / "clip.mp4"
    write(path)
    status, _, error = run(path, "Smile?")
    assert status == 2
    assert error.startswith("facekit: error: ")
    assert error.count("\n") == 1
    assert "clip.mp4" in error
    assert words in error
