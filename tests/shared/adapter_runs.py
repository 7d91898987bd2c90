"""Adapters on a small model: made with PEFT, asked for logits, trained in a run that is cut and resumed."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

import facekit
from facekit.errors import TrainingInterrupted
from facekit.training import train


def save_base(folder, depth=2):
    """Save the small model that adapters are made for; returns its folder."""
    backbone = f"tiny?width=24&depth={depth}&heads=2"
    for part in facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1", connector="mlp", backbone=backbone, seed=0
    ):
        part.save_pretrained(folder)
    return folder


def logits(model):
    """Of a picture of 48 pixels and 27 tokens, the same for every model."""
    inputs = {
        "pixel_values": torch.randn(1, 1, 3, 48, 48, generator=torch.Generator().manual_seed(0)),
        "input_ids": torch.cat([torch.full((1, 9), model.config.image_token_id), torch.arange(3, 30)[None]], dim=1),
    }
    with torch.no_grad():
        return model(**inputs).logits


def adapt_with_peft(base, folder, scale, **options):
    """Save an adapter whose every trainable tensor was moved at random; return the model with it."""
    model = facekit.load(base)[0]
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj"], **options}, base_model_name_or_path=str(base))
    trained = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn(parameter.shape, generator=generator)
    trained.save_pretrained(folder)
    return trained.eval()


def cut_and_resume(opened, records, folder, settings):
    """Cut a run in its third step, which leaves the model as it was; resume it to the bits of a whole run."""
    whole = train(*opened(), records, folder / "whole", settings)
    model, processor = opened()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(TrainingInterrupted):
        train(model, processor, records, folder / "cut", settings, on_progress=stop)
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    resumed = train(model, processor, records, folder / "cut", settings, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == whole.history.losses
    first, second = (facekit.load(folder / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    return model
