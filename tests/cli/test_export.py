"""``facekit export`` and ``facekit inspect`` on good and bad input."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file
from small_runs import small_model
from transformers import AutoModelForCausalLM, InternVLConfig, InternVLForConditionalGeneration

import facekit


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("internvl")
    text = {"model_type": "qwen2", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 64}  # fmt: skip
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 32, "patch_size": 8}  # fmt: skip
    config = InternVLConfig(vision_config=vision, text_config=text, image_token_id=5, image_seq_length=4)
    InternVLForConditionalGeneration(config).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    return folder


def test_export_writes_what_other_libraries_load(run_facekit, checkpoint, tmp_path):
    status, out, error = run_facekit("export", checkpoint, tmp_path / "same", "--format", "internvl-hf")
    assert status == 0, error
    assert "internvl-hf" in out
    original, written = (load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path / "same"))
    assert original.keys() == written.keys()
    status, _, error = run_facekit(
        "export", checkpoint, tmp_path / "text", "--format", "language-model", "--max-shard-size", "9KB"
    )
    assert status == 0, error
    assert len(list((tmp_path / "text").glob("*.safetensors"))) > 1
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "text").config.vocab_size == 64


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--format", "mlx"], "no export format 'mlx'"),
        (["--format", "llava-hf"], "cannot be written as LLaVA: the encoder is 'hf' with 'internvl_vision'"),
        (["--max-shard-size", "plenty"], "a shard size is"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_status_2(run_facekit, checkpoint, tmp_path, options, words):
    status, _, error = run_facekit("export", checkpoint, tmp_path / "out", *options)
    assert status == 2
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_is_refused_before_anything_is_loaded(run_facekit, checkpoint, tmp_path):
    status, _, error = run_facekit("export", tmp_path / "nowhere", checkpoint)
    assert status == 2
    assert "holds a checkpoint already" in error


def test_places_that_cannot_take_a_checkpoint_are_refused(run_facekit, checkpoint, tmp_path):
    (tmp_path / "file").write_text("hello")
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "model-00001-of-00002.safetensors").write_bytes(b"")
    for name, words in (
        ("file", "is a file; name a folder"),
        ("left", "holds weights already; remove them"),
        ("file/below", "cannot be made"),
    ):
        status, _, error = run_facekit("export", checkpoint, tmp_path / name)
        assert status == 2
        assert words in error
        assert error.strip().splitlines()[-1].startswith("facekit: error: ")


def test_hub_ids_are_taken_and_what_is_out_of_reach_is_one_line(run_facekit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for verb in (["inspect", "nobody/nothing"], ["export", "nobody/nothing", "out"]):
        status, _, error = run_facekit(*verb)
        assert status == 2
        assert "'nobody/nothing' is no folder here, and the cache" in error


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vision_config": {"image_size": "large"}}, "Validation error for field 'image_size'"),
        ({"text_config": {"hidden_size": "wide"}}, "Validation error for field 'hidden_size'"),
    ],
)
def test_values_that_do_not_fit_are_one_line(run_facekit, checkpoint, tmp_path, changes, words):
    values = json.loads((checkpoint / "config.json").read_text())
    for part, entries in changes.items():
        values[part].update(entries)
    folder = shutil.copytree(checkpoint, tmp_path / "changed")
    (folder / "config.json").write_text(json.dumps(values))
    for verb in (["inspect", folder], ["export", folder, tmp_path / "out"]):
        status, _, error = run_facekit(*verb)
        assert status == 2
        assert words in error
        assert error.count("\n") == 1


def test_inspect_of_parts_that_do_not_fit_is_one_line(run_facekit, tmp_path):
    model, _ = facekit.create(encoder="tiny?width=32&depth=1", connector="mlp", backbone="tiny", seed=0)
    model.save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    for part, changes, words in (
        ("connector", {"input_width": 48}, "gives the encoder width 32 but the connector's input width 48"),
        ("encoder", {"colour": 1}, "does not describe the encoder 'tiny'"),
        ("encoder", None, "names no encoder"),
    ):
        edited = {**written, part: changes and {**written[part], **changes}}
        (tmp_path / "config.json").write_text(json.dumps(edited))
        status, _, error = run_facekit("inspect", tmp_path)
        assert status == 2
        assert words in error
        assert error.count("\n") == 1


def test_inspect_tells_parts_counts_and_memory(run_facekit, checkpoint):
    status, out, error = run_facekit("inspect", checkpoint, "--batch", 2, "--tokens", 100)
    assert status == 0, error
    total = sum(value.numel() for value in load_file(checkpoint / "model.safetensors").values())
    for words in (
        "InternVL",
        "encoder",
        "pixel-shuffle",
        "qwen2",
        f"{total:,}",
        "float32",
        "4 an image",
        "2 x 100 tokens",
    ):
        assert words in out, words


def test_inspect_of_no_checkpoint_and_of_unknown_parts_is_one_line(run_facekit, checkpoint, tmp_path):
    status, _, error = run_facekit("inspect", tmp_path)
    assert status == 2
    assert "has no config.json" in error
    status, _, error = run_facekit("inspect", checkpoint, "--parts", "decoder")
    assert status == 2
    assert "there is no part 'decoder'" in error


def test_list_presets_shows_parts_parameters_tokens_and_licences(run_facekit):
    status, out, _ = run_facekit("list", "presets")
    assert status == 0
    for words in (
        "facellm-38b",
        "face-llava-7b-released",
        "InternViT-6B",
        "Vicuna-7B",
        "0.94 B",
        "256",
        "tokens an image",
        "Llama 2",
    ):
        assert words in out, words


def test_a_graph_is_written_with_its_processor_and_interface(run_facekit, tmp_path):
    model, processor = small_model("region")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    status, out, error = run_facekit("export", tmp_path / "model", tmp_path / "graph", "--format", "torch-export")
    assert status == 0, error
    assert "torch-export" in out
    told = json.loads((tmp_path / "graph" / "vision.json").read_text())
    assert told["inputs"]["landmarks"]["shape"] == ["batch", 1, 68, 2]
    assert (tmp_path / "graph" / "processor_config.json").is_file()
