import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

import facekit
from facekit.registry import Part


def one_line(error):
    error = error.lstrip("\n")  # a progress display that was never filled leaves an empty line
    assert error.startswith("facekit: error: "), error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


def test_list_shows_every_kind_with_licences_and_missing_extras(run_facekit):
    status, out, _ = run_facekit("list")
    assert status == 0
    for word in ("encoder", "openclip", "region-released", "facekit-tiny", "Apache-2.0", "task", "template"):
        assert word in out


def test_list_takes_one_kind_in_singular_and_plural(run_facekit):
    _, singular, _ = run_facekit("list", "encoder")
    _, plural, _ = run_facekit("list", "encoders")
    assert singular == plural
    assert "timm" in singular
    assert "connector" not in singular


def test_list_of_an_unknown_kind_names_the_closest_one(run_facekit):
    status, _, error = run_facekit("list", "encodr")
    assert status == 2
    assert "did you mean 'encoder'?" in one_line(error)


def test_ask_answers_each_question_and_saves_the_overlay(run_facekit, photo, model_folder, tmp_path):
    overlay = tmp_path / "overlay.png"
    status, out, error = run_facekit(
        "ask", photo, "How old?", "Which expression?", "--model", model_folder, "--overlay", overlay,
        "--max-new-tokens", 4,
    )  # fmt: skip
    assert status == 0, error
    assert "How old?" in out
    assert "Which expression?" in out
    assert min(Image.open(overlay).size) >= 64


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bad_picture(kind, folder):
    path = folder / f"{kind}.png"
    if kind == "not-an-image":
        path.write_text("a letter, not a picture")
    elif kind == "truncated":
        Image.fromarray(astronaut()).save(path)
        path.write_bytes(path.read_bytes()[:20_000])
    elif kind == "bomb":
        header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
        body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    elif kind == "no-face":
        Image.fromarray(np.full((200, 200, 3), 127, np.uint8)).save(path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("not-an-image", "not an image|cannot be|not a picture"),
        ("truncated", "truncated|cut|incomplete|ends"),
        ("bomb", "30000|30,000|pixels"),
        ("no-face", "no face"),
        ("missing", "no file|not exist|missing|does not"),
    ],
)
def test_a_picture_that_cannot_be_used_is_one_line_and_status_2(run_facekit, model_folder, tmp_path, kind, words):
    path = bad_picture(kind, tmp_path)
    status, _, error = run_facekit("ask", path, "How old?", "--model", model_folder)
    assert status == 2
    assert path.name in one_line(error)
    assert any(word in error.lower() for word in words.split("|")), error


@pytest.mark.parametrize("question", [" ", "\t  "])
def test_a_question_without_words_is_refused_before_anything_is_loaded(run_facekit, photo, question, tmp_path):
    status, _, error = run_facekit("ask", photo, question, "--model", tmp_path / "nowhere")
    assert status == 2
    assert "question" in one_line(error)


def test_a_missing_checkpoint_is_named(run_facekit, photo, tmp_path):
    status, _, error = run_facekit("ask", photo, "How old?", "--model", tmp_path / "nowhere")
    assert status == 2
    assert "nowhere" in one_line(error)


def test_a_checkpoint_of_another_format_is_named(run_facekit, photo, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": ["BertModel"]}))
    status, _, error = run_facekit("ask", photo, "How old?", "--model", tmp_path)
    assert status == 2
    assert "bert" in one_line(error)


def test_an_unknown_part_gets_the_closest_one(run_facekit, tmp_path):
    status, _, error = run_facekit(
        "train", tmp_path / "records.jsonl", "--output", tmp_path / "run", "--encoder", "openclp", "--connector", "mlp",
        "--backbone", "tiny", "--steps", 1,
    )  # fmt: skip
    assert status == 2
    assert "did you mean 'openclip'?" in one_line(error)


def test_a_missing_extra_is_named_with_its_command(run_facekit, registry, photo, model_folder):
    part = Part("landmarker", "absent", "nowhere:Nothing", extra="absent", requires=("package_that_is_not_there",))
    registry.add(part)
    status, _, error = run_facekit("ask", photo, "How old?", "--model", model_folder, "--landmarker", "absent")
    assert status == 2
    assert "pip install 'facekit-mllm[absent]'" in one_line(error)


def test_training_settings_out_of_range_are_one_line(run_facekit, tmp_path):
    status, _, error = run_facekit(
        "train", tmp_path / "none.jsonl", "--output", tmp_path, "--preset", "facekit-tiny", "--steps", 0
    )
    assert status == 2
    assert "steps" in one_line(error)


def test_a_model_and_parts_at_once_are_refused(run_facekit, tmp_path, model_folder):
    status, _, error = run_facekit(
        "train", tmp_path / "r.jsonl", "--output", tmp_path, "--model", model_folder, "--encoder", "tiny", "--steps", 1
    )
    assert status == 2
    assert "--model" in one_line(error)


def test_training_takes_a_second_encoder_for_clips(run_facekit, tmp_path):
    from facekit.data.synthetic import write_synthetic_dataset

    records = write_synthetic_dataset(tmp_path / "faces", 4, seed=3, image_size=64)
    status, _, error = run_facekit(
        "train", records, "--output", tmp_path / "run", "--encoder", "tiny?image_size=64&width=32&depth=1",
        "--video-encoder", "tiny?image_size=64&width=32&depth=2", "--connector", "mlp", "--backbone",
        "tiny?width=32&depth=1&heads=2", "--steps", 1, "--batch-size", 2,
    )  # fmt: skip
    assert status == 0, error
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (saved["encoder"]["depth"], saved["video_encoder"]["depth"]) == (1, 2)


def test_train_then_eval_work_from_the_command_line(run_facekit, tmp_path):
    from facekit.data.synthetic import write_synthetic_dataset

    records = write_synthetic_dataset(tmp_path / "faces", 12, seed=3)
    status, out, error = run_facekit(
        "train", records, "--output", tmp_path / "run", "--encoder", "tiny", "--connector", "region", "--backbone",
        "tiny?width=32&depth=1&heads=2", "--steps", 2, "--batch-size", 4,
    )  # fmt: skip
    assert status == 0, error
    assert (tmp_path / "run" / "config.json").is_file()
    status, out, error = run_facekit(
        "eval", tmp_path / "run", records, "--tasks", "age", "--output", tmp_path / "evaluation"
    )
    assert status == 0, error
    assert "Age" in out
    assert (tmp_path / "evaluation" / "metrics.json").is_file()


def test_the_version_is_printed(run_facekit):
    assert run_facekit("--version")[1].strip() == f"facekit {facekit.__version__}"


def test_help_and_list_import_neither_torch_nor_transformers():
    code = (
        "import sys, contextlib, io\n"
        "from facekit.cli.main import app\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        "    for words in (['--help'], ['list']):\n"
        "        try: app(words)\n"
        "        except SystemExit: pass\n"
        "print([name for name in ('torch', 'transformers', 'numpy', 'timm', 'PIL') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_demo_refuses_a_photograph_without_a_face_before_it_draws_anything(run_facekit, tmp_path):
    status, _, error = run_facekit("demo", "--output", tmp_path / "run", "--photo", bad_picture("no-face", tmp_path))
    assert status == 2
    assert "no-face.png" in one_line(error)
    assert not (tmp_path / "run").exists()
