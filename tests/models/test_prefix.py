"""Answers from a common beginning that is read once are those of the prompts one by one."""

from __future__ import annotations

import pytest
import torch

from facekit.errors import ConfigurationError
from facekit.models.prefix import generate_answers

QUESTIONS = ["How old?", "Smile?", "Which of the seven expressions does the face show?", "Hat?", "Is it a real face?"]
LENGTH = {"max_new_tokens": 8, "min_new_tokens": 8}


@pytest.fixture
def prepared(picture, points, chat):
    """A function from a processor to the tensors of a picture and the prompts."""

    def prepare(processor):
        visual = processor.image_processor(picture, landmarks=[points])
        return visual, [processor.apply_chat_template(chat(each), add_generation_prompt=True) for each in QUESTIONS]

    return prepare


@pytest.mark.parametrize("batch_size", [2, 64])
@pytest.mark.parametrize("backbone", ["tiny", "hf-llama", "hf-qwen2", "hf-gemma3"])
def test_answers_are_those_of_each_prompt_alone(compose, prepared, backbone, batch_size):
    model, processor = compose(backbone=backbone)
    visual, prompts = prepared(processor)
    alone = [generate_answers(model, processor, visual, [prompt], **LENGTH) for prompt in prompts]
    together = generate_answers(model, processor, visual, prompts, batch_size=batch_size, **LENGTH)
    assert [[answer] for answer in together] == alone
    assert len({*together}) > 1


def count_tokens(model):
    seen = []
    model.language_model.register_forward_pre_hook(
        lambda module, given, named: seen.append(tuple(named["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    return seen


def test_the_common_beginning_is_read_once(small, prepared):
    model, processor = small
    visual, prompts = prepared(processor)
    seen = count_tokens(model)
    generate_answers(model, processor, visual, prompts, max_new_tokens=3, min_new_tokens=3, batch_size=3)
    lengths = sorted(len(ids) for ids in processor.tokenize(prompts)["input_ids"])
    shared = seen[0][1]
    assert shared > processor.tokens_per_frame
    reads, steps = [shape for shape in seen if shape[1] > 1], [shape for shape in seen if shape[1] == 1]
    assert reads == [(1, shared), (3, lengths[2] - shared), (2, lengths[4] - shared)]
    assert steps == [(3, 1), (3, 1), (2, 1), (2, 1)]


def test_a_window_that_padding_would_shift_is_answered_without_padding(compose, prepared):
    model, processor = compose(backbone="hf-gemma3")
    assert model.config.get_text_config().sliding_window == 16
    visual, prompts = prepared(processor)
    seen = count_tokens(model)
    generate_answers(model, processor, visual, [*prompts, prompts[1]], max_new_tokens=1)
    assert sorted(shape[0] for shape in seen) == [1, 1, 1, 1, 1, 2]


def test_features_that_were_computed_already_give_the_same_answers(small, prepared):
    model, processor = small
    visual, prompts = prepared(processor)
    expected = generate_answers(model, processor, visual, prompts, max_new_tokens=4)
    with torch.no_grad():
        features = model.get_image_features(**visual)
    assert generate_answers(model, processor, {"image_features": features}, prompts, max_new_tokens=4) == expected


def test_a_clip_is_answered_as_an_image_is(small, prepared):
    model, processor = small
    visual, prompts = prepared(processor)
    clip = {name: value.repeat_interleave(3, dim=1) for name, value in visual.items()}
    together = generate_answers(model, processor, clip, prompts, frames=3, max_new_tokens=4)
    alone = [generate_answers(model, processor, clip, [each], frames=3, max_new_tokens=4)[0] for each in prompts]
    assert together == alone


def test_prompts_that_begin_differently_are_answered_too(small, prepared, chat):
    model, processor = small
    visual, prompts = prepared(processor)
    system = [{"role": "system", "content": "Look closely."}]
    other = processor.apply_chat_template(system + chat("Old?"), add_generation_prompt=True)
    together = generate_answers(model, processor, visual, [prompts[0], other], **LENGTH)
    alone = [generate_answers(model, processor, visual, [prompt], **LENGTH)[0] for prompt in (prompts[0], other)]
    assert together == alone


def test_beams_are_left_to_whole_prompts(small, prepared):
    model, processor = small
    visual, prompts = prepared(processor)
    together = generate_answers(model, processor, visual, prompts[:2], num_beams=2, max_new_tokens=4)
    alone = [generate_answers(model, processor, visual, [each], num_beams=2, max_new_tokens=4)[0] for each in prompts]
    assert together == alone[:2]


def test_what_cannot_be_answered_is_told(small, prepared):
    model, processor = small
    visual, prompts = prepared(processor)
    with pytest.raises(ConfigurationError, match="0 prompts"):
        generate_answers(model, processor, visual, [])
    with pytest.raises(ConfigurationError, match="0 at a time"):
        generate_answers(model, processor, visual, prompts, batch_size=0)
    two = {name: value.repeat_interleave(2, dim=0) for name, value in visual.items()}
    with pytest.raises(ConfigurationError, match="one image or clip at a time, not 2"):
        generate_answers(model, processor, two, prompts)
