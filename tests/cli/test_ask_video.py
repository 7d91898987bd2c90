"""``facekit ask`` with a clip: recognised by its file type, answered, drawn, and refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from video_files import write_sound, write_video

import facekit

RELEASED = Path(__file__).parents[1] / "data" / "face_llava_tiny"


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
def run(run_facekit, model_folder):
    return lambda *arguments, model=model_folder: run_facekit("ask", *arguments, "--model", model)


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "libx264"), ("clip.gif", "gif")])
def test_a_clip_is_answered_and_drawn(run, portrait, tmp_path, name, codec):
    path = write_video(tmp_path / name, [portrait] * 3, codec=codec)
    overlay = tmp_path / "overlay.png"
    status, out, error = run(path, "Smile?", "--num-frames", 2, "--overlay", overlay, "--max-new-tokens", 2)
    assert status == 0, error
    assert "Smile?" in out
    assert Image.open(overlay).size == (512, 256)


def test_two_pictures_are_asked_about_together(run, portrait, tmp_path, model_folder):
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    portrait.save(first)
    portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(second)
    status, out, error = run(first, "The same person?", "--also", second, "--max-new-tokens", 4, "--json")
    assert status == 0, error
    told = json.loads(out)
    assert told["also"] == [str(second)]
    model, processor = facekit.load(model_folder)
    expected = facekit.ask(model, processor, [first, second], "The same person?", max_new_tokens=4)
    assert [pair["answer"] for pair in told["answers"]] == expected
    status, _, error = run(first, "The same person?", "--also", tmp_path / "missing.png")
    assert status != 0
    assert "missing.png" in error


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.write_text("no video"), "no video of a known format"),
        (lambda path: write_video(path, [Image.new("RGB", (64, 48))] * 3), "no face"),
        (write_sound, "has no video, only audio"),
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


def test_an_address_out_of_reach_is_told_by_its_address(run):
    status, _, error = run("http://127.0.0.1:1/clip.mp4", "Smile?")
    assert status == 2
    assert "'http://127.0.0.1:1/clip.mp4' cannot be fetched" in error


@pytest.mark.parametrize("name", ["clip.mp4", "portrait.png"])
def test_released_face_llava_is_asked_with_its_towers_and_a_tokenizer(run, portrait, tmp_path, name):
    path = tmp_path / name
    _ = write_video(path, [portrait] * 3) if name == "clip.mp4" else portrait.save(path)
    released = RELEASED / "FaceLLaVA-tiny"
    options = ["--tower-root", RELEASED]
    status, _, error = run(path, "Smile?", *options, model=released)
    assert status == 2
    assert "the checkpoint has no tokenizer, so texts are token ids such as <17>, unlike" in error
    status, out, error = run(path, "<17><42>", "--max-new-tokens", 2, *options, model=released)
    assert status == 0, error
    assert "<17><42>" in out
    status, _, error = run(path, "<17>", "--tower-root", tmp_path, model=released)
    assert status == 2
    assert "has no folder 'LanguageBind/LanguageBind_Image'" in error


def test_a_device_and_a_landmarker_that_are_not_there_are_one_line(run, portrait, tmp_path):
    portrait.save(tmp_path / "portrait.png")
    for options, words in ((["--device", "gpu"], "the device 'gpu'"), (["--landmarker", "eyes"], "landmarker 'eyes'")):
        status, _, error = run(tmp_path / "portrait.png", "Smile?", *options)
        assert status == 2
        assert words in error
        assert error.count("\n") == 1
