"""What facekit makes goes to the hub, or says where on the hub it comes from."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from local_hub import TOKEN

import facekit
from facekit.training import TrainingSettings
from facekit.training.trainable.adapters import adapters_in_place


@pytest.fixture
def parts(ours):
    return facekit.load(ours)


def test_a_pushed_model_and_processor_load_again(hub, parts, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    model, processor = parts
    model.push_to_hub("tester/mine", private=True)
    processor.push_to_hub("tester/mine")
    again, their_processor = facekit.load("tester/mine")
    wanted = model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in again.state_dict().items())
    assert their_processor.tokenizer.chat_template == processor.tokenizer.chat_template
    assert their_processor.image_processor.to_dict() == processor.image_processor.to_dict()
    assert hub.repositories["tester/mine"].private


def test_a_branch_can_be_pushed_to(hub, parts, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    for part in parts:
        part.push_to_hub("tester/mine", revision="second-try")
    files = hub.repositories["tester/mine"]
    assert set(files.commits[files.branches["main"]]) == {".gitattributes"}
    assert facekit.load("tester/mine", revision="second-try")[0].config.model_type == "facekit"


def test_a_push_without_a_token_leaves_nothing(hub, parts):
    with pytest.raises(HfHubHTTPError):
        parts[0].push_to_hub("tester/mine")
    assert hub.repositories == {}


def test_adapters_trained_on_a_model_of_the_hub_name_it_with_its_commit(hub, ours, tmp_path):
    commit = hub.publish("org/model", ours)
    model, _ = facekit.load("org/model")
    settings = TrainingSettings(steps=1, parts=("llm.lora",), lora={"rank": 2})
    with adapters_in_place(model, settings) as adapters:
        adapters.save(tmp_path / "adapter")
    told = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (told["base_model_name_or_path"], told["revision"]) == ("org/model", commit)
    changed = shutil.copytree(ours, tmp_path / "changed")
    settings = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**settings, "model_type": "another"}))
    hub.publish("org/model", changed)
    adapted, _ = facekit.load(tmp_path / "adapter")
    wanted = model.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in adapted.state_dict().items() if name in wanted)
    assert any("lora_" in name for name in adapted.state_dict())
