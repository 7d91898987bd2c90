"""The device that is used without a word, and by name."""

from __future__ import annotations

import pytest
import torch

from facekit.backbones.base import choose_device, read_device
from facekit.errors import ConfigurationError


def test_without_a_gpu_the_cpu_is_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device() == torch.device("cpu")


@pytest.mark.parametrize(("rank", "index"), [(None, 0), ("1", 1), ("5", 1)])
def test_a_gpu_is_used_where_there_is_one_and_each_process_takes_its_own(monkeypatch, rank, index):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    _ = monkeypatch.delenv("LOCAL_RANK", raising=False) if rank is None else monkeypatch.setenv("LOCAL_RANK", rank)
    assert choose_device() == torch.device("cuda", index)


def test_a_device_by_name_wins_over_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cpu") == torch.device("cpu")


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match="the device 'gpu' cannot be used here"):
        choose_device("gpu")


@pytest.mark.parametrize("device", ["meta", "meta:0", torch.device("meta")])
def test_a_device_that_holds_no_values_is_refused(device):
    with pytest.raises(ConfigurationError, match=r"'meta.*' cannot be used here: it holds shapes alone, .*'cpu'"):
        read_device(device)


@pytest.mark.parametrize("device", ["privateuseone", "ideep", "vulkan"])
def test_a_device_that_torch_was_built_without_is_one_short_sentence(device):
    with pytest.raises(ConfigurationError, match=f"'{device}' cannot be used here: this torch was built without it; "):
        read_device(device)
