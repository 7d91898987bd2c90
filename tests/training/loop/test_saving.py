"""What keeps a checkpoint from being saved: failed writes, of which some are kept, and weights that are NaN."""

from __future__ import annotations

import pytest
import torch
from safetensors import SafetensorError
from torch.distributed.checkpoint import CheckpointException

from facekit.training.loop.saving import FailedWrites, find_not_finite

FULL = OSError(28, "No space left on device")
CUT = RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 128 vs 0")


@pytest.mark.parametrize(
    ("error", "told"),
    [(FULL, "No space left on device"), (SafetensorError("I/O error: File too large"), "File too large"),
     (CheckpointException("save", {1: (FULL, None)}), "No space left on device"), (CUT, "written to its end")],
)  # fmt: skip
def test_failed_writes_are_kept(error, told):
    failed = FailedWrites()
    with failed.keeping():
        raise error
    with failed.keeping():
        raise OSError(5, "a later one")
    assert told in failed.problem
    assert "Traceback" not in failed.problem


def test_nothing_is_told_where_all_was_written():
    failed = FailedWrites()
    with failed.keeping():
        pass
    assert failed.problem is None


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_other_errors_pass_through(error):
    failed = FailedWrites()
    with pytest.raises(type(error)), failed.keeping():
        raise error
    assert failed.error is None


def test_of_a_distributed_save_the_cause_is_raised_where_it_is_no_failed_write():
    failed = FailedWrites()
    with pytest.raises(ValueError, match="a bug"), failed.keeping():
        raise CheckpointException("save", {0: (ValueError("a bug"), None)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_trainable_weight_that_is_not_finite_is_found_by_its_name(value):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    assert find_not_finite(model) is None
    with torch.no_grad():
        model[1].bias[0] = value
    assert find_not_finite(model) == "1.bias"
    model[1].requires_grad_(False)
    assert find_not_finite(model) is None
    assert find_not_finite(model.requires_grad_(False)) is None


def test_of_a_weight_in_pieces_the_piece_here_counts():
    model = torch.nn.Linear(2, 2)
    model.weight.ds_tensor = torch.tensor([float("nan")])
    assert find_not_finite(model) == "weight"
