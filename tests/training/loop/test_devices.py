"""Where a run computes: the device that the settings name, on machines with none, one and several."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from transformers import TrainingArguments

from facekit.compat.transformers_trainer import place_arguments
from facekit.errors import ConfigurationError
from facekit.training import TrainingSettings
from facekit.training.loop import arguments
from facekit.training.loop.arguments import check_names, trainer_arguments

has_no_gpu = pytest.mark.skipif(torch.accelerator.is_available(), reason="there is an accelerator here")


@pytest.mark.parametrize(("device", "uses_cpu"), [(None, False), ("cpu", True), ("cpu:0", True)])
def test_the_cpu_is_taken_where_it_is_named_though_there_is_an_accelerator(tmp_path, monkeypatch, device, uses_cpu):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    chosen = trainer_arguments(tmp_path, TrainingSettings(steps=1, device=device), 4)
    assert chosen.use_cpu is uses_cpu


def test_a_run_on_one_of_several_accelerators_uses_that_one_only(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    chosen = TrainingArguments(output_dir=str(tmp_path), report_to=[])
    assert chosen.n_gpu == 4
    numbered = torch.device("cpu", 0)  # instead of cuda:1
    place_arguments(chosen, numbered)
    assert chosen.n_gpu == 1
    assert chosen.device == numbered
    assert Accelerator().device == numbered


@has_no_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps", "gpu7"])
def test_a_device_that_is_not_here_is_one_sentence(device):
    with pytest.raises(ConfigurationError, match=f"the device '{device}' cannot be used here"):
        check_names(TrainingSettings(steps=1, device=device))


def test_one_device_for_several_processes_is_refused(monkeypatch):
    monkeypatch.setattr(arguments, "count_processes", lambda: 2)
    check_names(TrainingSettings(steps=1, device="cpu"))
    monkeypatch.setattr(arguments, "read_device", torch.device)
    with pytest.raises(ConfigurationError, match="device 'cuda:1' is one, and the run has 2 processes"):
        check_names(TrainingSettings(steps=1, device="cuda:1"))


def test_a_run_may_go_on_elsewhere():
    before = TrainingSettings(steps=1).model_dump(mode="json")
    assert TrainingSettings(steps=1, device="cpu", torch_compile=True).differences(before) == []
