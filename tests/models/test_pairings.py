"""Every encoder with every connector and every language model: forward, generate, save, load, same logits."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

BACKBONES = ("tiny", "hf-llama", "hf-qwen2", "hf-gemma3")


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("connector", ["mlp", "region"])
@pytest.mark.parametrize("encoder", ["tiny", "openclip", "timm", "hf"])
def test_a_pairing_answers_and_survives_saving(encoder, connector, backbone, compose, chat, picture, points, tmp_path):
    model, processor = compose(encoder, connector, backbone)
    inputs = processor(images=picture, text=chat(), landmarks=[points])
    with torch.no_grad():
        logits = model(**inputs).logits
    assert logits.shape[:2] == inputs["input_ids"].shape
    assert logits.isfinite().all()

    answer = model.generate(**inputs, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert answer.shape == (1, inputs["input_ids"].shape[1] + 3)

    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    reloaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)(images=picture, text=chat(), landmarks=[points])
    for name, value in inputs.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    saved = dict(model.named_buffers()) | model.state_dict()
    restored = dict(reloaded.named_buffers()) | reloaded.state_dict()
    assert saved.keys() == restored.keys()
    assert all(torch.equal(restored[name], value) for name, value in saved.items())
    with torch.no_grad():
        torch.testing.assert_close(reloaded(**again).logits, logits, rtol=1e-5, atol=1e-5)
