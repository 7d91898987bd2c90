"""Inspecting: the counts of the loaded model, from headers alone, and memory by the documented formulas."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model

import facekit
from facekit.errors import CheckpointError, ConfigurationError
from facekit.models.interoperability import CheckpointFormat, inspect_checkpoint, inspection, weights


def count(module):
    return sum(value.numel() for value in module.parameters())


@pytest.fixture
def no_tensor_is_read(monkeypatch):
    def refuse(*_):
        raise AssertionError("a tensor was read")

    monkeypatch.setattr(weights, "stream_file", refuse)
    monkeypatch.setattr(inspection, "read_headers", weights.read_headers)


@pytest.mark.parametrize("name", ["llava", "internvl"])
def test_counts_are_those_of_the_loaded_model(name, foreign, no_tensor_is_read, request):
    report = inspect_checkpoint(foreign[name][0])
    assert report.format is {"llava": CheckpointFormat.LLAVA, "internvl": CheckpointFormat.INTERNVL}[name]
    assert report.parameters == count(foreign[name][1])
    assert {part.name: part.dtypes for part in report.parts} == dict.fromkeys(
        ("encoder", "connector", "language_model"), ("float32",)
    )
    assert report.num_bytes == 4 * report.parameters
    assert report.tokens_per_image == {"llava": 16, "internvl": 4}[name]


def test_the_released_face_llava_has_two_towers(released, no_tensor_is_read):
    folder, _ = released
    report = inspect_checkpoint(folder / "FaceLLaVA-tiny", tower_root=folder)
    assert [part.name for part in report.parts] == ["encoder", "video_encoder", "connector", "language_model"]
    assert [part.kind for part in report.parts] == ["languagebind", "languagebind", "region-released", "llama"]
    assert (report.tokens_per_image, report.tokens_per_video_frame) == (16, 17)


def test_the_parts_of_the_released_face_llava_are_counted_as_loaded(released):
    folder, _ = released
    report = inspect_checkpoint(folder / "FaceLLaVA-tiny", tower_root=folder)
    model, _ = facekit.load(folder / "FaceLLaVA-tiny", tower_root=folder)
    for part in report.parts:
        assert part.parameters == count(getattr(model, part.name)), part.name


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    model, processor = facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&heads=4&depth=2",
        seed=0,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, model


def test_facekits_own_checkpoint_is_told_by_part(own):
    folder, model = own
    report = inspect_checkpoint(str(folder))
    assert report.format is CheckpointFormat.FACEKIT
    for part in report.parts:
        assert part.parameters == count(getattr(model, part.name)), part.name
    assert report.trainable_parameters() == count(model.connector) + count(model.language_model)
    assert report.trainable_parameters(("connector",)) == count(model.connector)
    with pytest.raises(ConfigurationError, match="no part 'decoder'"):
        report.trainable_parameters(("decoder",))


def test_memory_follows_the_shape_and_the_parts_that_are_trained(own):
    report, text = inspect_checkpoint(own[0]), own[1].config.text_config
    cache = 2 * text.num_hidden_layers * text.hidden_size * 3 * 100 * 4
    layer = 3 * 100 * (8 * text.hidden_size + 3 * text.intermediate_size) * 4
    assert report.inference_memory(3, 100) == report.num_bytes + cache + layer + 4 * 3 * text.vocab_size
    trained = count(own[1].connector)
    estimate = report.training_memory(3, 100, ("connector",))
    assert (estimate.weights, estimate.gradients) == (report.num_bytes, 4 * trained)
    assert report.training_memory(3, 100, ("encoder",)).activations > estimate.activations
    assert report.training_memory(3, 100, precision="bfloat16").activations < report.training_memory(3, 100).activations


def test_an_adapter_is_told_with_its_base(own, tmp_path):
    folder, _ = own
    model, _ = facekit.load(folder)
    trained = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    trained.save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(folder)}))
    report = inspect_checkpoint(tmp_path)
    assert report.format is CheckpointFormat.ADAPTER
    assert report.base == folder
    assert report.adapter_parameters == report.trainable_parameters() == 2 * 2 * (48 * 2)
    assert report.parameters == inspect_checkpoint(folder).parameters + report.adapter_parameters


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        inspect_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="'nobody/nothing-of-that-name' is no folder here"):
        inspect_checkpoint("nobody/nothing-of-that-name")


def test_types_of_sixteen_bits_need_a_master_copy(foreign, tmp_path):
    from facekit.models.interoperability import export

    export(*facekit.load(foreign["llava"][0], dtype="bfloat16"), tmp_path / "half", "llava-hf")
    full, half = inspect_checkpoint(foreign["llava"][0]), inspect_checkpoint(tmp_path / "half")
    assert half.parts[0].dtypes == ("bfloat16",)
    assert 2 * half.num_bytes == full.num_bytes
    states = half.training_memory(1, 1)
    frozen = half.num_bytes - 2 * half.trainable_parameters()
    assert states.weights + states.gradients + states.moments == frozen + half.trainable_parameters() * (6 + 4 + 8)
    assert torch.bfloat16.itemsize == 2
