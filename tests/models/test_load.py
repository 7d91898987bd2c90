"""Loading: a saved model comes back, and each way in which a folder can be wrong is told in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import load_file, save_file

import facekit
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError, UnknownPartError
from facekit.models.identity import sample_weights
from facekit.models.interoperability import export


@pytest.fixture
def saved(small, tmp_path):
    model, processor = small
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(folder, edit):
    path = folder / "model.safetensors"
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


def refused(folder):
    with pytest.raises(CheckpointError) as caught:
        facekit.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_saved_model_comes_back(saved, small, chat, make_batch):
    model, _ = small
    reloaded, again = facekit.load(saved)
    assert not reloaded.training
    inputs = make_batch(again, [chat()])
    with torch.no_grad():
        torch.testing.assert_close(reloaded(**inputs).logits, model(**inputs).logits, rtol=1e-5, atol=1e-5)
    assert reloaded.generation_config.suppress_tokens == [model.config.image_token_id]


def test_models_that_threads_open_at_once_are_whole_and_so_are_those_after_them(saved):
    with ThreadPoolExecutor(4) as threads:
        opened = [*threads.map(facekit.load, [saved] * 4), facekit.load(saved)]
    built = facekit.create(encoder="tiny", connector="mlp", backbone="tiny", seed=0)
    for model, _ in [*opened, built]:
        head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
        assert (head.weight is embeddings.weight) == model.config.get_text_config().tie_word_embeddings
    weights = [sample_weights(model) for model, _ in opened]
    assert weights == weights[:1] * 5


def test_a_floating_type_can_be_chosen(saved):
    model, _ = facekit.load(str(saved), dtype="bfloat16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert facekit.load(saved)[0].dtype == torch.float32
    with pytest.raises(InvalidSpecError, match="float31"):
        facekit.load(saved, dtype="float31")


def test_a_name_that_is_neither_a_folder_nor_on_the_hub_is_told():
    with pytest.raises(CheckpointError, match="'nobody/nothing' is no folder here, and the cache"):
        facekit.load("nobody/nothing")


def test_a_missing_folder_is_told(tmp_path):
    assert "nowhere' does not exist" in refused(tmp_path / "nowhere")


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert "is a file, not a folder" in refused(tmp_path / "model.gguf")


def test_a_folder_without_configuration_is_told(tmp_path):
    assert "has no config.json" in refused(tmp_path)


def test_an_adapter_without_its_model_is_told(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "PEFT adapter" in refused(tmp_path)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (
            {"model_type": "internvl_chat", "architectures": ["InternVLChatModel"]},
            "the format 'internvl_chat' (InternVLChatModel)",
        ),
        ({"model_type": "llava"}, "the format 'llava'"),
        ({"model_type": "internvl", "text_config": {}}, "the format 'internvl'"),
        ({"hidden_size": 3}, "an unknown format"),
        ([1, 2], "an unknown format"),
        ({"architectures": [1, {}]}, "another format (1, {})"),
        ({"architectures": 5}, "another format (5)"),
    ],
)
def test_another_format_is_named(config, named, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert f"holds a checkpoint of {named}" in refused(tmp_path)


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"model_type": "internvl_chat"}, "a name that ends in -hf"),
        ({"model_type": "llava", "mm_vision_tower": "clip"}, "published as llava-hf/llava-1.5-7b-hf too"),
    ],
)
def test_a_layout_that_is_published_in_another_form_is_pointed_there(config, hint, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert hint in refused(tmp_path)


@pytest.mark.parametrize(
    ("adapter", "words"),
    [
        ({}, "a PEFT adapter that names no base model"),
        ({"base_model_name_or_path": "gone/base"}, "is missing: 'gone/base' is no folder here"),
        ({"base_model_name_or_path": "."}, "is no folder here"),
    ],
)
def test_an_adapter_without_a_base_model_here_is_told(adapter, words, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    assert words in refused(tmp_path)


def test_an_adapter_of_another_kind_and_one_without_weights_are_told(saved, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    for kind, words in (("IA3", "of type PeftType.IA3; facekit reads LoRA"), ("LORA", "has no adapter weights")):
        config = {"peft_type": kind, "base_model_name_or_path": str(saved), "target_modules": ["q_proj"]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        assert words in refused(folder)


@pytest.mark.parametrize(
    ("file", "entries"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}}),
        (
            "processor_config.json",
            {"image_processor": {"image_processor_type": "Own", "auto_map": {"AutoImageProcessor": "own.Own"}}},
        ),
    ],
)
def test_code_that_comes_with_a_checkpoint_is_neither_run_nor_asked_about(saved, file, entries, monkeypatch):
    (saved / "own.py").write_text("raise SystemExit('run')")
    (saved / file).write_text(json.dumps(json.loads((saved / file).read_text()) | entries))
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("asked"))
    try:
        facekit.load(saved)
    except CheckpointError:
        return


@pytest.mark.parametrize("content", ["{", "[" * 200_000, '{"a":' * 100_000, f'{{"a": {"1" * 5000}}}', "\xff"])
def test_a_configuration_that_is_no_json_is_told(saved, content):
    (saved / "config.json").write_text(content, encoding="latin-1")
    assert "config.json' is not valid JSON" in refused(saved)


def test_truncated_weights_are_told(saved):
    path = saved / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged or cut off" in refused(saved)


def test_weights_that_are_garbage_are_told(saved):
    (saved / "model.safetensors").write_bytes(b"\x00" * 64)
    assert "damaged or cut off" in refused(saved)


def test_missing_weights_are_told(saved):
    (saved / "model.safetensors").unlink()
    assert "has no weights" in refused(saved)


def test_a_missing_shard_is_named(small, tmp_path):
    export(*small, tmp_path / "model", max_shard_size="100KB")
    shard = sorted((tmp_path / "model").glob("model-*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-40])
    assert "damaged or cut off" in refused(tmp_path / "model")
    shard.unlink()
    assert f"shards, first '{shard.name}'" in refused(tmp_path / "model")


@pytest.mark.parametrize("place", ["../other/model.safetensors", "/etc/passwd", 3])
def test_an_index_that_leads_elsewhere_is_refused(saved, place):
    (saved / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"a": place}}))
    assert f"names {place!r}, which is no file beside it" in refused(saved)


def test_generation_settings_that_are_no_json_are_not_passed_over(saved):
    (saved / "generation_config.json").write_text("{")
    assert "generation_config.json' is not valid JSON" in refused(saved)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden_size": "big"}, "Field 'hidden_size' expected int, got str"),
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
    ],
)
def test_a_language_model_whose_values_do_not_fit_is_told(saved, changes, words):
    text = json.loads((saved / "config.json").read_text())["text_config"]
    edit_config(saved, text_config={**text, **changes})
    with pytest.raises(ConfigurationError, match=r"does not describe a language model of the type 'llama': ") as caught:
        facekit.load(saved)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_told_before_anything_is_read(device, tmp_path):
    with pytest.raises(ConfigurationError, match=f"the device '{device}' cannot be used here: .* such as 'cpu'"):
        facekit.load(tmp_path / "nowhere", device=device)
    with pytest.raises(ConfigurationError, match=f"the device '{device}' cannot be used here"):
        facekit.create(preset="facekit-tiny", device=device)


def test_options_of_other_formats_are_not_ignored(saved):
    with pytest.raises(ConfigurationError, match=r"tower_root goes with Face-LLaVA as released, but .* by facekit"):
        facekit.load(saved, tower_root="/towers")
    with pytest.raises(ConfigurationError, match="leave tokenizer out"):
        facekit.load(saved, tokenizer="/tokenizer")


def test_a_missing_key_is_named_rather_than_drawn_at_random(saved):
    edit_weights(saved, lambda weights: weights.pop("encoder.class_token"))
    assert "lack encoder.class_token" in refused(saved)


def test_many_missing_keys_are_counted(saved):
    def drop(weights):
        for name in [name for name in weights if name.startswith("language_model.model.layers.0")]:
            del weights[name]

    edit_weights(saved, drop)
    assert "and 6 more" in refused(saved)


def test_an_unexpected_key_is_named(saved):
    edit_weights(saved, lambda weights: weights.update(extra=torch.zeros(2)))
    assert "beyond what config.json describes, extra" in refused(saved)


def test_a_key_of_another_shape_is_named(saved):
    edit_weights(saved, lambda weights: weights.update({"encoder.class_token": torch.zeros(3)}))
    assert "have in another shape encoder.class_token" in refused(saved)


def test_a_missing_tokenizer_is_told(saved):
    (saved / "tokenizer.json").unlink()
    (saved / "tokenizer_config.json").unlink()
    assert "has no tokenizer; save the processor" in refused(saved)


def test_a_missing_processor_is_told(saved):
    (saved / "processor_config.json").unlink()
    assert "has no processor_config.json; save the processor" in refused(saved)


def test_a_part_that_is_not_registered_here_is_named(saved):
    edit_config(saved, encoder={"name": "theirs"})
    with pytest.raises(UnknownPartError, match="unknown encoder 'theirs'"):
        facekit.load(saved)


@pytest.mark.parametrize(
    ("name", "words"),
    [("hf:", "the model 'hf:' has no name after ':'"), ("hf: ", "has no name"), ("", "is empty"), (" ", "is empty")],
)
def test_a_model_without_a_name_is_not_the_current_folder(saved, monkeypatch, name, words):
    monkeypatch.chdir(saved)
    with pytest.raises(CheckpointError, match=words):
        facekit.load(name)
    assert facekit.load(".")


def test_loading_imports_neither_bitsandbytes_nor_peft_until_they_are_needed():
    code = "import sys, facekit.models.load; sys.exit(any(name in sys.modules for name in ('bitsandbytes', 'peft')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
