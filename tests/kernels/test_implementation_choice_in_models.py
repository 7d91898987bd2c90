"""A whole model gives the same answers whichever implementation of region attention is asked for."""

import numpy as np
import pytest
import torch
from PIL import Image

import facekit
from facekit.kernels import dispatch

EXPRESSION = "Which expression does this face show?"


@pytest.fixture(scope="module")
def demo_model():
    torch.manual_seed(0)
    return facekit.create(encoder="tiny?pretrained=synthetic-faces", connector="region", backbone="tiny")


@pytest.fixture(scope="module")
def inputs(demo_model):
    _, processor = demo_model
    random = np.random.default_rng(1)
    picture = Image.fromarray(random.integers(0, 256, (96, 96, 3), dtype=np.uint8))
    points = random.uniform(0.2, 0.8, (68, 2)).astype(np.float32)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": EXPRESSION}]}]
    return processor(images=picture, text=chat, landmarks=[points])


@pytest.mark.parametrize("implementation", ["absorbed", "lean", "triton", "auto"])
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
