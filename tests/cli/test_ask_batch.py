"""``facekit ask MODEL --batch``: a file or folder is answered, and the exit status says how it went."""

import json
import shutil

import pytest

import facekit


@pytest.fixture
def folder(photo, tmp_path):
    """A portrait and a file that is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(photo, folder / "portrait.png")
    (folder / "torn.png").write_bytes(b"no picture")
    return folder


def test_a_folder_is_answered_and_the_exit_status_counts_failures(run_facekit, model_folder, folder, photo, tmp_path):
    output = tmp_path / "answers.jsonl"
    command = [
        "ask",
        model_folder,
        "--batch",
        folder,
        "--output",
        output,
        "--question",
        "How old?",
        "--max-new-tokens",
        4,
    ]
    status, out, error = run_facekit(*command)
    assert status == 1, error
    assert "1 question answered" in out
    assert "1 failed: ImageError" in out
    found, torn = map(json.loads, output.read_text().splitlines())
    model, processor = facekit.load(model_folder)
    assert found["answer"] == facekit.ask(model, processor, photo, "How old?", max_new_tokens=4)[0]
    face = processor.image_processor.prepare(photo)
    assert found["media"][0]["crop"] == list(face.box)
    assert (torn["id"], torn["answer"], torn["kind"]) == ("torn.png", None, "ImageError")
    status, out, _ = run_facekit(*command, "--max-failures", 1, "--json")
    assert status == 0
    assert json.loads(out) == {
        "output": str(output), "entries": 2, "answers": 0, "reused": 1, "failures": {"ImageError": 1},
    }  # fmt: skip
    (folder / "portrait.png").unlink()
    assert run_facekit(*command[:5], tmp_path / "other.jsonl", *command[6:])[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ask", "{model}", "--batch", "{folder}"), "--output answers.jsonl"),
        (("ask", "{model}", "Smile?", "--batch", "{folder}", "--output", "a.jsonl"), "by --question"),
        (("ask", "{model}", "--model", "x", "--batch", "{folder}", "--output", "a.jsonl"), "one model"),
        (("ask", "{folder}/portrait.png", "Smile?", "--output", "a.jsonl"), "go with --batch"),
        (("ask", "{folder}/portrait.png", "Smile?", "--landmarks"), "--landmarks goes with --batch"),
        (("ask", "{folder}/portrait.png", "Smile?", "--as-cropped"), "--as-cropped goes with --batch"),
        (("ask", "{folder}/portrait.png", "Smile?", "--batch-size", "2"), "--batch-size goes with --batch"),
        (("ask", "{folder}/portrait.png", "Smile?", "--retry-failed"), "--retry-failed goes with --batch"),
        (("ask", "{folder}/portrait.png", "Smile?", "--max-failures", "1"), "--max-failures goes with --batch"),
        (("ask", "{model}", "--batch", "nowhere.jsonl", "--output", "{new}"), "nowhere.jsonl"),
        (("ask", "{model}", "--batch", "{folder}", "--output", "{folder}", "--question", "Old?"), "is a folder"),
        (("ask", "{model}", "--batch", "{folder}", "--output", "{new}", "--question", " "), "needs words"),
        (("ask", "{model}", "--batch", "{folder}", "--output", "{new}", "--max-failures", "few"), "--max-failures"),
    ],
)  # fmt: skip
def test_a_wrong_use_is_one_line(run_facekit, model_folder, folder, tmp_path, arguments, message):
    places = {"model": model_folder, "folder": folder, "new": tmp_path / "new.jsonl"}
    status, _, error = run_facekit(*(each.format(**places) for each in arguments))
    assert status == 2
    assert message in error
    assert error.count("\n") == 1
    assert not places["new"].exists()
