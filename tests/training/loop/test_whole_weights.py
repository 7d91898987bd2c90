"""Weights of a checkpoint in one file: those that two modules share, and those of another model."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from facekit.errors import CheckpointError
from facekit.training.loop.distributed import load_whole_weights


def tied():
    """An embedding and a head of one weight, and a layer."""
    model = nn.ModuleDict(
        {"embedding": nn.Embedding(5, 3), "layer": nn.Linear(3, 3), "head": nn.Linear(3, 5, bias=False)}
    )
    model["head"].weight = model["embedding"].weight
    return model


@pytest.mark.parametrize("left_out", [(), ("head.weight",), ("embedding.weight",)])
def test_a_shared_weight_may_stand_under_one_name_or_under_both(tmp_path, left_out):
    saved, model = tied(), tied()
    state = {name: value.clone() for name, value in saved.state_dict().items() if name not in left_out}
    save_file(state, tmp_path / "model.safetensors")
    load_whole_weights(model, tmp_path)
    assert model["head"].weight is model["embedding"].weight
    assert all(torch.equal(value, saved.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "told"),
    [(lambda state: state.pop("layer.bias"), "lacks 1 weight and has 0 others, such as 'layer.bias'"),
     (lambda state: state.update(other=torch.zeros(2)), "lacks 0 weights and has 1 others, such as 'other'")],
)  # fmt: skip
def test_weights_of_another_model_are_refused(tmp_path, change, told):
    state = {name: value.clone() for name, value in tied().state_dict().items()}
    change(state)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"is of another model: it {told}"):
        load_whole_weights(tied(), tmp_path)


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="neither"):
        load_whole_weights(tied(), tmp_path)
