"""Generation: the cache, beams and several sequences per prompt, and the pipeline of transformers."""

from __future__ import annotations

import pytest
import torch
from transformers import pipeline

from facekit.errors import ConfigurationError

LENGTH = {"max_new_tokens": 6, "min_new_tokens": 6}


@pytest.mark.parametrize("backbone", ["tiny", "hf-gemma3"])
def test_generation_with_cache_equals_without(compose, chat, make_batch, backbone):
    model, processor = compose(backbone=backbone)
    inputs = make_batch(processor, [chat("How old?"), chat("Which expression is it?")])
    cached = model.generate(**inputs, do_sample=False, use_cache=True, **LENGTH)
    assert cached[:, -6:].unique().numel() > 4
    assert torch.equal(cached, model.generate(**inputs, do_sample=False, use_cache=False, **LENGTH))


def test_only_the_first_step_encodes_pictures(small, chat, make_batch, monkeypatch):
    model, processor = small
    calls = []
    encode = model.get_image_features
    monkeypatch.setattr(model, "get_image_features", lambda *given: calls.append(1) or encode(*given))
    model.generate(**make_batch(processor, [chat()]), do_sample=False, **LENGTH)
    assert len(calls) == 1


def test_copies_of_a_prompt_keep_their_own_pictures(small, chat, make_batch, monkeypatch):
    model, processor = small
    inputs = make_batch(processor, [chat("One?"), chat("No?", images=0), chat("Two?", images=2)])
    seen = []
    encode = model.get_image_features
    monkeypatch.setattr(model, "get_image_features", lambda pixels, *rest: seen.append(pixels) or encode(pixels, *rest))
    tokens = model.generate(**inputs, do_sample=False, num_beams=2, num_return_sequences=2, **LENGTH)
    assert torch.equal(tokens[:, :-6], inputs["input_ids"].repeat_interleave(2, dim=0))
    assert len(seen) == 1
    assert torch.equal(seen[0], inputs["pixel_values"][[0, 0, 1, 2, 1, 2]])


def test_too_few_pictures_for_the_prompts_are_refused_and_not_repeated(small, chat, make_batch):
    model, processor = small
    inputs = make_batch(processor, [chat("One?"), chat("Two?")])
    inputs["pixel_values"], inputs["landmarks"] = inputs["pixel_values"][:1], inputs["landmarks"][:1]
    for options in ({}, {"num_beams": 2}):
        with pytest.raises(ConfigurationError, match="image tokens"):
            model.generate(**inputs, do_sample=False, **options, **LENGTH)


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_generation_goes_on_from_a_cache_under_either_name(small, chat, make_batch, name):
    model, processor = small
    inputs = make_batch(processor, [chat()])
    expected = model.generate(**inputs, do_sample=False, **LENGTH)
    read = {key: value[:, :-2] if key in ("input_ids", "attention_mask") else value for key, value in inputs.items()}
    with torch.no_grad():
        cache = model(**read, use_cache=True).cache
    text = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    assert torch.equal(model.generate(**text, **{name: cache}, do_sample=False, **LENGTH), expected)


def test_beams_equal_beams_of_each_prompt_alone(small, chat, make_batch):
    model, processor = small
    options = {"do_sample": False, "num_beams": 3, "num_return_sequences": 2, **LENGTH}
    inputs = make_batch(processor, [chat("Two?", images=2), chat("Two?", images=2)])
    together = model.generate(**inputs, **options)[:, -6:]
    for row in range(2):
        alone = {
            "input_ids": inputs["input_ids"][row : row + 1],
            "attention_mask": inputs["attention_mask"][row : row + 1],
            "pixel_values": inputs["pixel_values"][2 * row : 2 * row + 2],
            "landmarks": inputs["landmarks"][2 * row : 2 * row + 2],
        }
        assert torch.equal(model.generate(**alone, **options)[:, -6:], together[2 * row : 2 * row + 2])


def test_the_image_token_is_never_generated(small, chat, make_batch):
    model, processor = small
    with torch.no_grad():
        model.language_model.lm_head.weight[model.config.image_token_id] = 100.0
    torch.manual_seed(0)
    inputs = make_batch(processor, [chat()] * 4)
    answers = model.generate(**inputs, do_sample=True, **LENGTH)[:, -6:]
    assert not (answers == model.config.image_token_id).any()


def test_a_repetition_penalty_finds_every_id_in_range(compose, chat, make_batch):
    model, processor = compose(backbone="hf-llama")
    inputs = make_batch(processor, [chat()])
    answer = model.generate(**inputs, do_sample=False, repetition_penalty=1.3, **LENGTH)
    assert answer.shape[1] == inputs["input_ids"].shape[1] + 6


def test_the_pipeline_answers_a_chat_and_a_prompt(small, picture, points, tmp_path):
    model, processor = small
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    answerer = pipeline("image-text-to-text", model=str(tmp_path))
    content = [{"type": "image", "image": picture}, {"type": "text", "text": "How old is she?"}]
    chat = [{"role": "user", "content": content}]
    given = {"landmarks": [points]}
    inputs = processor(images=picture, text=chat, landmarks=[points])
    tokens = model.generate(**inputs, do_sample=False, **LENGTH)[:, inputs["input_ids"].shape[1] :]
    expected = processor.decode(tokens[0], skip_special_tokens=True)

    settings = {"generate_kwargs": {"do_sample": False, **LENGTH}, "return_full_text": False}
    (answer,) = answerer(text=chat, processor_kwargs=given, **settings)
    assert answer["generated_text"] == expected
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    (answer,) = answerer(images=[picture], text=prompt, **given, **settings)
    assert answer["generated_text"] == expected
