"""The walkthrough's commands, taken from the page as they stand, lead from a FairFace folder to a trained model."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from facekit.data.formats import read_records, verify_shards

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "walkthrough.md"


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """The folder that the commands leave, with what they printed."""
    commands, *_ = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    folder = tmp_path_factory.mktemp("walk")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    scripts = str(Path(sys.executable).parent)
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    environment |= {"WALK": str(folder), "FACES": "12", "PORT": str(port), "COLUMNS": "200", "HF_HUB_OFFLINE": "1",
                    "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
    log = folder / "log.txt"
    with log.open("w") as file:
        shell = subprocess.Popen(
            ["bash", "-e", "-o", "pipefail", "-c", commands], cwd=REPOSITORY, env=environment, stdout=file,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            status = shell.wait(280)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    assert status == 0, log.read_text()
    return folder, log.read_text()


def test_every_drawn_face_is_described_eight_times_over_http(walk):
    folder, printed = walk
    assert "train 11, validation 1" in printed
    assert "96 answers kept, 0 dropped, 0 failed, 0 still open" in printed
    records = list(read_records(folder / "described" / "records.jsonl", check_files=True))
    assert [len(record.conversations) for record in records] == [16] * 12
    assert all(record.source["annotator"] == "stand-in-served" for record in records)
    assert all(record.groups["race"] for record in records)
    assert verify_shards(folder / "shards") == 12


def test_stored_questions_hold_no_label(walk):
    for record in read_records(walk[0] / "described" / "records.jsonl"):
        questions = " ".join(turn.content for turn in record.conversations if turn.role == "user")
        assert not any(re.search(rf"\b{re.escape(value)}\b", questions) for value in record.groups.values())


def test_the_exports_and_the_card_say_the_same_as_the_records(walk):
    folder = walk[0] / "described"
    records = list(read_records(folder / "records.jsonl"))
    assert list(read_records(folder / "llava.json")) == records
    assert list(read_records(folder / "sharegpt.json")) == records
    columns = json.loads((folder / "dataset_info.json").read_text())["sharegpt"]["columns"]
    assert columns == {"messages": "conversations", "images": "image"}
    assert "stand-in-served (96 answers)" in (folder / "README.md").read_text()


def test_the_model_was_trained_on_the_export_and_answers(walk):
    folder, printed = walk
    assert (folder / "model" / "model.safetensors").is_file()
    losses = [step["loss"] for step in json.loads((folder / "model" / "training" / "losses.json").read_text())]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert "Describe this image in detail." in printed
