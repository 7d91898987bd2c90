"""Weights files: what is read, what is unwrapped, and what is refused."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from facekit.encoders.checkpoints import (
    fetch_file,
    load_strictly,
    read_checkpoint,
    read_metadata,
    read_weights,
)
from facekit.errors import CheckpointError


def test_safetensors_and_pytorch_files_give_the_same_tensors(tmp_path):
    weights = nn.Linear(3, 2).state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    torch.save(weights, tmp_path / "w.pt")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "wrapped.pt")
    torch.save({"model": weights}, tmp_path / "model.pth")
    for name in ("w.safetensors", "w.pt", "wrapped.pt", "model.pth"):
        read = read_weights(tmp_path / name)
        assert read.keys() == weights.keys()
        assert all(torch.equal(read[key], weights[key]) for key in weights)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (open, (str(witness), "w"))

    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harmful()))
    torch.save({"weight": Harmful()}, tmp_path / "zip.pt")
    for name in ("plain.pt", "zip.pt"):
        with pytest.raises(CheckpointError, match="pickled code, which is refused"):
            read_weights(tmp_path / name)
    assert not witness.exists()


def test_files_of_other_formats_are_named(tmp_path):
    (tmp_path / "text.safetensors").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    for name, message in (
        ("text.safetensors", "not a readable safetensors file"),
        ("empty.pt", "empty.pt"),
        ("list.pt", "holds no dictionary of tensors"),
        ("numbers.pt", "holds no dictionary of tensors"),
        ("absent.pt", "there is no weights file"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_weights(tmp_path / name)


@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode)))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_no_weights_file_is_told(tmp_path, content):
    for name in ("weights.pt", "weights.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError) as caught:
            read_weights(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_metadata_is_read_where_there_is_any(tmp_path):
    weights = {"w": torch.zeros(1)}
    save_file(weights, tmp_path / "with.safetensors", metadata={"config": '{"width": 64}'})
    save_file(weights, tmp_path / "without.safetensors")
    save_file(weights, tmp_path / "broken.safetensors", metadata={"config": "{"})
    save_file(weights, tmp_path / "list.safetensors", metadata={"config": "[1]"})
    torch.save(weights, tmp_path / "w.pt")
    assert read_metadata(tmp_path / "with.safetensors") == {"width": 64}
    assert read_metadata(tmp_path / "without.safetensors") == {}
    assert read_metadata(tmp_path / "w.pt") == {}
    for name in ("broken.safetensors", "list.safetensors", "absent.safetensors"):
        with pytest.raises(CheckpointError, match=name):
            read_metadata(tmp_path / name)


def test_of_a_sharded_checkpoint_only_the_shards_with_wanted_names_are_read(tmp_path):
    save_file({"a.x": torch.ones(2), "b.y": torch.zeros(1)}, tmp_path / "one.safetensors")
    places = {"a.x": "one.safetensors", "b.y": "one.safetensors", "b.z": "absent.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    assert read_checkpoint(str(tmp_path), prefixes=("a.",)).keys() == {"a.x"}
    with pytest.raises(CheckpointError, match=r"none of the files absent\.safetensors"):
        read_checkpoint(str(tmp_path))


def test_safetensors_come_before_pytorch_files(tmp_path):
    torch.save({"w": torch.zeros(1)}, tmp_path / "pytorch_model.bin")
    assert read_checkpoint(str(tmp_path))["w"].item() == 0
    save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    assert read_checkpoint(str(tmp_path))["w"].item() == 1
    (tmp_path / "model.safetensors.index.json").write_text("[]")
    with pytest.raises(CheckpointError, match="no index of weights files"):
        read_checkpoint(str(tmp_path))


@pytest.mark.parametrize("source", ["nobody/nothing", "not a repository", "a/b/c"])
def test_what_is_neither_a_folder_nor_within_reach_is_named(source):
    with pytest.raises(CheckpointError, match=f"'{source}' is no folder"):
        fetch_file(source, ("config.json", "model.safetensors"))


def test_every_name_and_shape_is_accounted_for():
    module = nn.Linear(3, 2)
    bias = torch.arange(2.0)
    with pytest.raises(CheckpointError) as caught:
        load_strictly(module, {"weight": torch.zeros(3, 2), "scale": torch.zeros(1)}, "w.pt")
    assert str(caught.value) == (
        "the weights of w.pt do not fit Linear: 1 missing, first 'bias'; 1 left over, first 'scale'; "
        "1 of another shape, first 'weight' ((3, 2) for (2, 3))"
    )
    load_strictly(module, {"weight": torch.ones(2, 3, dtype=torch.float16), "bias": bias}, "w.pt")
    assert module.weight.dtype == torch.float32
    assert torch.equal(module.bias, bias)
