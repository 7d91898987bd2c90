import io
from types import SimpleNamespace

import pytest
import torch

from facekit.compat.transformers_trainer import HookedTrainer, restore_to_numbered_cpu


def test_tensors_saved_anywhere_load_to_a_cpu_with_a_number(monkeypatch):
    monkeypatch.setattr(torch.serialization, "_package_registry", list(torch.serialization._package_registry))
    torch.serialization.register_package(16, lambda storage: None, restore_to_numbered_cpu)
    file = io.BytesIO()
    torch.save({"step": torch.arange(3)}, file)
    file.seek(0)
    loaded = torch.load(file, map_location=torch.device("cpu", 0), weights_only=True)
    assert loaded["step"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("location", ["cpu", "cuda:0", "meta"])
def test_other_locations_are_left_to_torch(location):
    assert restore_to_numbered_cpu(torch.arange(3).untyped_storage(), location) is None


def test_landmarks_of_a_batch_stay_exact_with_deepspeed():
    trainer = HookedTrainer.__new__(HookedTrainer)
    trainer.is_deepspeed_enabled, trainer.args = True, SimpleNamespace(device=torch.device("cpu"))
    batch = {"landmarks": torch.full((1, 1, 68, 2), 0.123456), "labels": torch.arange(3)}
    prepared = trainer._prepare_input({**batch, "more": [batch["landmarks"]]})
    assert torch.equal(prepared["landmarks"], batch["landmarks"])
    assert prepared["more"][0].dtype == torch.float32
    assert prepared["labels"].dtype == torch.int64
