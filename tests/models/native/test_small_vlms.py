"""The tiny checkpoints of the families are real ones, and see their pictures."""

from __future__ import annotations

import pytest
import torch
from small_vlms import FAMILIES, RECURRENT, face_picture


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_a_small_model_answers_otherwise_about_another_picture(family, small_vlm):
    model, processor = small_vlm(family)
    answers, likelihoods = set(), []
    for number in range(4):
        content = [{"type": "image", "image": face_picture(number)}, {"type": "text", "text": "How old?"}]
        inputs = processor.apply_chat_template(
            [[{"role": "user", "content": content}]],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.inference_mode():
            likelihoods.append(model(**inputs).logits[0, -1].log_softmax(-1))
            tokens = model.generate(**inputs, max_new_tokens=16, do_sample=False)
        answers.add(tuple(tokens[0, inputs["input_ids"].shape[1] :].tolist()))
    assert len(answers) >= (3 if family in FAMILIES else 2)
    changes = [float((each - likelihoods[0]).abs().max()) for each in likelihoods[1:]]
    assert min(changes) > 0.05
