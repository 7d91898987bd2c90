"""Weights files: headers, streams that hold one tensor, shards, sizes, and what is wrong with them."""

from __future__ import annotations

import json
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from facekit.errors import CheckpointError, ConfigurationError
from facekit.models.interoperability.weights import (
    PendingTensor,
    copy_weights,
    list_weights_files,
    plan_shards,
    read_headers,
    read_size,
    stream_tensors,
    write_shards,
)


def pending(tensors):
    return [PendingTensor(name, value.nbytes, lambda value=value: value) for name, value in tensors.items()]


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return {f"layer.{index}": torch.randn(10, 10 + index, generator=generator) for index in range(8)}


@pytest.mark.parametrize("limit", [1, 900, 10**9])
def test_shards_hold_every_tensor_once_and_come_back_equal(tensors, limit, tmp_path):
    files = write_shards(tmp_path, pending(tensors), limit)
    assert list_weights_files(tmp_path) == files
    streamed = dict(stream_tensors(tmp_path))
    assert streamed.keys() == tensors.keys()
    assert all(torch.equal(value, tensors[name]) for name, value in streamed.items())
    headers = read_headers(tmp_path)
    assert {name: header.shape for name, header in headers.items()} == {
        name: tuple(t.shape) for name, t in tensors.items()
    }
    assert sum(header.num_bytes for header in headers.values()) == sum(value.nbytes for value in tensors.values())


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(1, 100))
def test_a_plan_keeps_the_order_and_the_limit(sizes, limit):
    tensors = [PendingTensor(str(index), size, torch.Tensor) for index, size in enumerate(sizes)]
    shards = plan_shards(tensors, limit)
    assert [tensor for shard in shards for tensor in shard] == tensors
    assert all(len(shard) == 1 or sum(each.num_bytes for each in shard) <= limit for shard in shards)


def test_filling_a_model_holds_one_tensor_at_a_time(tmp_path):
    module = nn.Sequential(*(nn.Linear(16, 16, bias=False) for _ in range(6)))
    expected = {name: torch.randn(16, 16) for name in module.state_dict()}
    write_shards(tmp_path, pending(expected), 3000)
    alive, most = weakref.WeakSet(), 0

    def watch(stream):
        nonlocal most
        for name, value in stream:
            alive.add(value)
            most = max(most, sum(each.nbytes for each in alive))
            yield name, value

    copy_weights(module, watch(stream_tensors(tmp_path)), str, "here")
    assert all(torch.equal(value, expected[name]) for name, value in module.state_dict().items())
    assert most <= 2 * 16 * 16 * 4


def test_tensors_that_share_memory_need_to_be_given_once():
    module = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "head": nn.Linear(3, 5, bias=False)})
    module["head"].weight = module["embedding"].weight
    copy_weights(module, [("embedding.weight", torch.ones(5, 3))], str, "here")
    assert float(module["head"].weight.detach().sum()) == 15


def test_a_pytorch_file_is_read_without_running_anything(tensors, tmp_path):
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    assert all(torch.equal(value, tensors[name]) for name, value in stream_tensors(tmp_path))
    assert read_headers(tmp_path)["layer.0"].shape == (10, 10)


def test_a_pytorch_file_of_the_older_format_is_read_too(tensors, tmp_path):
    torch.save(tensors, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert dict(stream_tensors(tmp_path)).keys() == tensors.keys()


def test_a_missing_shard_and_an_index_without_a_map_are_told(tensors, tmp_path):
    files = write_shards(tmp_path, pending(tensors), 900)
    files[1].unlink()
    with pytest.raises(CheckpointError, match=f"lacks 1 of {len(files)} shards, first '{files[1].name}'"):
        read_headers(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {}}))
    with pytest.raises(CheckpointError, match="it has no 'weight_map'"):
        read_headers(tmp_path)


def test_a_damaged_file_is_told(tmp_path):
    save_file({"a": torch.zeros(100)}, tmp_path / "model.safetensors")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    for read in (read_headers, lambda folder: list(stream_tensors(folder))):
        with pytest.raises(CheckpointError, match="damaged or cut off"):
            read(tmp_path)
    with pytest.raises(CheckpointError, match="has no weights"):
        read_headers(tmp_path / "nowhere")


@pytest.mark.parametrize(("text", "size"), [("5GB", 5 * 10**9), ("1.5 mb", 1_500_000), (17, 17), ("20kb", 20_000)])
def test_sizes_are_read(text, size):
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "many", "0", "-3GB", "5TB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigurationError, match="a shard size is"):
        read_size(text)
