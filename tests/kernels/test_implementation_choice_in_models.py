"""A whole model gives the same answers whichever implementation of region attention is asked for."""

import pytest
import torch

import facekit
from facekit.kernels import dispatch

EXPRESSION = "Which expression does this face show?"


@pytest.fixture(scope="module")
def demo_model():
    torch.manual_seed(0)
    return facekit.create(encoder="tiny?pretrained=synthetic-faces", connector="region", backbone="tiny")


@pytest.fixture(scope="module")
def inputs(demo_model):
    model, _ = demo_model
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": EXPRESSION}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    generator = torch.Generator().manual_seed(1)
    ids = processor(
        images=None, text=prompt.replace(processor.image_token, processor.image_token * model.tokens_per_frame)
    )
    size = processor.image_processor.image_size
    return {
        "input_ids": ids["input_ids"],
        "attention_mask": ids["attention_mask"],
        "pixel_values": torch.randn(1, 1, 3, size, size, generator=generator),
        "landmarks": 0.2 + 0.6 * torch.rand(1, 1, 68, 2, generator=generator),
    }


@pytest.mark.parametrize("implementation", ["absorbed", "triton", "auto"])
def test_the_environment_variable_changes_no_answer(demo_model, inputs, monkeypatch, implementation):
    model, _ = demo_model
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device)
    placed = {name: tensor.to(device) for name, tensor in inputs.items()}
    called = []
    original = dispatch.requested_implementation
    monkeypatch.setattr(
        dispatch, "requested_implementation", lambda *given: called.append(original(*given)) or called[-1]
    )
    answers, logits = [], []
    for name in ("reference", implementation):
        monkeypatch.setenv(dispatch.ENVIRONMENT_VARIABLE, name)
        with torch.no_grad():
            logits.append(model(**placed).logits)
        answers.append(model.generate(**placed, do_sample=False, max_new_tokens=12, min_new_tokens=12))
    assert {"reference", implementation} == set(called)
    assert torch.equal(*answers)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
    assert not torch.equal(logits[0], model(**{**placed, "landmarks": placed["landmarks"].flip(-1)}).logits)
