"""What torch says of processes that are gone, and of those that load data."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from facekit.compat.torch import failure_of_process, is_lost_process, worker_errors_as_raised
from facekit.errors import FaceKitError, OutputError, RecordError

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


class Failing(IterableDataset):
    """Raises one error, in whichever process reads it."""

    def __init__(self, error):
        self.error = error

    def __iter__(self):
        raise self.error
        yield


@pytest.mark.parametrize(
    ("error", "kind"),
    [(RecordError("faces.jsonl, line 3: no picture"), RecordError),
     (OutputError("skipped.jsonl cannot be written", "No space left on device", "make room"), FaceKitError)],
)  # fmt: skip
def test_an_error_of_facekit_in_a_loading_process_keeps_its_sentence(error, kind):
    with pytest.raises(kind) as caught, worker_errors_as_raised():
        next(iter(DataLoader(Failing(error), num_workers=1)))
    assert str(caught.value) == str(error)


def test_other_errors_of_loading_processes_keep_their_traceback():
    with pytest.raises(ZeroDivisionError, match="Original Traceback"), worker_errors_as_raised():
        next(iter(DataLoader(Failing(ZeroDivisionError("a bug")), num_workers=1)))
