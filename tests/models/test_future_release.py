"""A release that renames the cache and adds a field to a language model's output changes no answer."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from future_release import FutureLlama, FutureOutput, FutureWarningOfALibrary

import facekit
from facekit.models import FaceKitCausalLMOutput
from facekit.models.sessions import option_log_likelihoods

QUESTIONS = ["How old is she?", "Which expression is it?", "Is it a photograph?"]


@pytest.fixture
def pair(compose):
    """The same model with today's language model and with that of a future release, and their processor."""
    model, processor = compose()
    future = copy.deepcopy(model)
    future.language_model.__class__ = FutureLlama
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarningOfALibrary)
        yield model.eval(), future.eval(), processor


def test_the_shim_warns_of_the_old_names(pair):
    _, future, _ = pair
    ids = torch.tensor([[5, 6]])
    cache = future.language_model(input_ids=ids, use_cache=True).key_value_state
    for name in ("cache", "past_key_values"):
        with pytest.raises(FutureWarningOfALibrary, match=name):
            future.language_model(input_ids=ids, **{name: cache})
        with pytest.raises(FutureWarningOfALibrary, match=name):
            getattr(future.language_model(input_ids=ids, use_cache=True), name)


def test_answers_are_the_same(pair, picture, points):
    model, future, processor = pair
    options = {"landmarks": points, "max_new_tokens": 8}
    answers = facekit.ask(model, processor, picture, QUESTIONS, **options)
    assert len(set(answers)) > 1
    assert facekit.ask(future, processor, picture, QUESTIONS, **options) == answers


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"use_cache": False}])
def test_generation_is_the_same(pair, chat, make_batch, options):
    model, future, processor = pair
    inputs = make_batch(processor, [chat(question) for question in QUESTIONS])
    options = {"max_new_tokens": 6, "do_sample": False, **options}
    assert torch.equal(model.generate(**inputs, **options), future.generate(**inputs, **options))


def test_likelihoods_are_the_same(pair, chat, make_batch):
    model, future, processor = pair
    inputs = make_batch(processor, [chat()])
    options = [[7, 9, 11], [8], [12, 5]]
    expected = option_log_likelihoods(model, inputs, options)
    assert len(set(expected)) == 3
    assert option_log_likelihoods(future, inputs, options) == expected


def test_the_output_has_the_new_field_and_gives_the_cache_under_every_name(pair, chat, make_batch):
    _, future, processor = pair
    inputs = make_batch(processor, [chat()])
    outputs = future(**inputs, use_cache=True)
    assert isinstance(outputs, FaceKitCausalLMOutput)
    assert isinstance(outputs, FutureOutput)
    assert list(outputs) == ["logits", "key_value_state", "token_entropy", "image_hidden_states"]
    following = torch.tensor([[9]])
    mask = torch.ones(1, inputs["input_ids"].shape[1] + 1, dtype=torch.long)
    states = [copy.deepcopy(outputs.key_value_state) for _ in range(3)]
    names = ("key_value_state", "cache", "past_key_values")
    steps = [
        future(input_ids=following, attention_mask=mask, **{name: state}).logits
        for name, state in zip(names, states, strict=True)
    ]
    assert torch.equal(steps[0], steps[1])
    assert torch.equal(steps[0], steps[2])
    assert not torch.equal(steps[0], future(input_ids=following).logits)
