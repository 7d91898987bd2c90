"""What torch says of processes that are gone."""

from __future__ import annotations

import pytest
import torch

from facekit.compat.torch import failure_of_process, is_lost_process

READ = (
    "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:41352: Connection reset by peer"
)


@pytest.mark.parametrize(
    "error", [RuntimeError(READ), RuntimeError("Timed out waiting 1800000ms for recv operation to complete"),
              torch.distributed.DistNetworkError("failed to recv, got 0 bytes"),
              torch.distributed.DistBackendError("NCCL communicator was aborted")]
)  # fmt: skip
def test_a_process_that_is_gone_is_known_by_what_waiting_for_it_raises(error):
    assert is_lost_process(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError(READ), KeyboardInterrupt()])
def test_other_errors_are_not_taken_for_it(error):
    assert not is_lost_process(error)


def test_an_error_that_is_no_failure_of_a_distributed_save_is_itself():
    error = ValueError("a bug")
    assert failure_of_process(error) is error
