"""Failed writes of a save: which errors are kept, which pass through, and what is said of them."""

from __future__ import annotations

import pytest
from safetensors import SafetensorError
from torch.distributed.checkpoint import CheckpointException

from facekit.training.loop.saving import FailedWrites

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
