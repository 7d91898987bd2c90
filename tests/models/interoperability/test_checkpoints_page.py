"""The page on checkpoints: its commands and its Python, run on tiny checkpoints in the places that it names."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, InternVLForConditionalGeneration, LlavaForConditionalGeneration

import facekit
from facekit.cli import main as cli

PAGE = (Path(__file__).parents[3] / "docs" / "checkpoints.md").read_text(encoding="utf-8")
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def places(tmp_path, monkeypatch, llava, internvl, released, make_picture):
    """A working folder with checkpoints under the names that the page gives them, hub ids among them."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(internvl[0], tmp_path / "OpenGVLab" / "InternVL3-1B-hf")
    shutil.copytree(internvl[0], tmp_path / "weights" / "InternVL3-8B-hf")
    shutil.copytree(llava[0], tmp_path / "runs" / "face")
    shutil.copytree(released[0] / "FaceLLaVA-tiny", tmp_path / "weights" / "FaceLLaVA")
    shutil.copytree(released[0] / "LanguageBind", tmp_path / "weights" / "LanguageBind")
    trained = InternVLForConditionalGeneration.from_pretrained(internvl[0])
    trained = get_peft_model(trained, LoraConfig(r=2, target_modules=["q_proj"]))
    trained.peft_config["default"].base_model_name_or_path = "OpenGVLab/InternVL3-1B-hf"
    trained.save_pretrained(tmp_path / "runs" / "adapter")
    for part in facekit.load(internvl[0]):
        part.save_pretrained(tmp_path / "runs" / "demo")
    make_picture(64, 64).save(tmp_path / "photo.jpg")
    return tmp_path


def test_the_commands_write_what_the_page_says(places, monkeypatch, capsys):
    commands = [line for block in CONSOLE.findall(PAGE) for line in block.splitlines()]
    assert len(commands) == 5
    if importlib.util.find_spec("onnxscript") is None:
        commands = [line for line in commands if "onnx" not in line]
    for number, line in enumerate(commands):
        words = line.replace(" exported ", f" exported-{number} ").split()
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert not stopped.value.code, (line, capsys.readouterr().err)
    LlavaForConditionalGeneration.from_pretrained(places / "exported-0")
    InternVLForConditionalGeneration.from_pretrained(places / "exported-1")
    assert AutoModelForCausalLM.from_pretrained(places / "text").config.model_type == "llama"
    assert "estimated for 4 x 1024 tokens" in capsys.readouterr().out


def test_the_python_loads_what_the_page_says(places):
    load, source, graph, presets = PYTHON.findall(PAGE)
    names: dict = {}
    lines = [line for line in load.splitlines() if "facekit.load" in line]
    kinds = []
    for line in lines:
        exec(f"import facekit\n{line}", names)
        kinds.append((names["model"].config.encoder["name"], names["model"].config.connector["name"]))
    assert kinds == [("hf", "pixel-shuffle"), ("hf", "pixel-shuffle"), ("languagebind", "region-released")]
    exec("model, processor = facekit.load('runs/demo')\n" + load.splitlines()[-1], names)
    assert len(names["answers"]) == 1
    exec(source, names)
    compile(graph, "checkpoints.md", "exec")
    assert names["model"].dtype == torch.bfloat16
    assert names["under_test"].name == "runs/demo"
    text = presets.replace("/weights/", "weights/")
    kinds = []
    for line in text.splitlines():
        exec(line, names)
        kinds.append(names["model"].config.connector["name"])
    assert kinds == ["region", "pixel-shuffle"]
