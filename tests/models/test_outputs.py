"""The composed model's output is the language model's own with the visual tokens, wherever it is taken apart."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import torch
from torch.utils import _pytree as pytree
from transformers import DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast, MoeCausalLMOutputWithPast

from facekit.compat.transformers_cache import GENERATION_CACHE
from facekit.models import FaceKitCausalLMOutput
from facekit.models.outputs import with_visual_tokens


@pytest.fixture
def outputs():
    cache = DynamicCache()
    cache.update(torch.ones(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), 0)
    own = MoeCausalLMOutputWithPast(logits=torch.ones(1, 2, 3), aux_loss=torch.tensor(0.5), **{GENERATION_CACHE: cache})
    return with_visual_tokens(own, torch.full((1, 2, 4), 7.0))


def test_every_field_of_the_language_model_is_kept_in_its_order(outputs):
    assert isinstance(outputs, FaceKitCausalLMOutput)
    assert isinstance(outputs, MoeCausalLMOutputWithPast)
    assert list(outputs) == ["aux_loss", "logits", GENERATION_CACHE, "image_hidden_states"]
    assert outputs.aux_loss == 0.5
    assert outputs.to_tuple()[-1] is outputs.image_hidden_states


@pytest.mark.filterwarnings("ignore:a call of ours uses what is deprecated")  # the old name is what is tested
def test_the_cache_has_both_names(outputs):
    assert outputs.cache is outputs[GENERATION_CACHE]
    assert outputs.past_key_values is outputs.cache


def test_the_class_is_made_once():
    first, second = (with_visual_tokens(CausalLMOutputWithPast(logits=torch.ones(1)), None) for _ in range(2))
    assert type(first) is type(second)
    assert "image_hidden_states" not in first
    assert first.image_hidden_states is None


def through_gathering(outputs):  # as torch.nn.parallel does
    return type(outputs)((name, outputs[name]) for name in outputs)


def through_conversion(outputs):  # as accelerate does
    return type(outputs)(dict(outputs.items()))


def through_replacing(outputs):  # as FullyShardedDataParallel does
    changes = {field.name: getattr(outputs, field.name) for field in dataclasses.fields(outputs)}
    return dataclasses.replace(dataclasses.replace(outputs), **changes)


def through_a_tree(outputs):  # as DistributedDataParallel and torch.compile do
    leaves, structure = pytree.tree_flatten(outputs)
    return pytree.tree_unflatten(leaves, structure)


def through_pickle(outputs):
    return pickle.loads(pickle.dumps(outputs))


@pytest.mark.parametrize(
    "rebuild",
    [
        through_gathering,
        through_conversion,
        through_replacing,
        through_a_tree,
        through_pickle,
        copy.deepcopy,
        copy.copy,
    ],
)
def test_it_may_be_taken_apart_and_built_again(outputs, rebuild):
    again = rebuild(outputs)
    assert type(again) is type(outputs)
    assert list(again) == list(outputs)
    assert again.image_hidden_states.eq(7).all()
    assert again.cache.get_seq_length() == 2
    assert again.aux_loss == 0.5


def test_a_tuple_is_returned_where_asked_for(small, chat, make_batch):
    model, processor = small
    inputs = make_batch(processor, [chat()])
    outputs = model(**inputs, labels=inputs["input_ids"], use_cache=True)
    found = model(**inputs, labels=inputs["input_ids"], use_cache=True, return_dict=False)
    assert isinstance(found, tuple)
    assert len(found) == len(outputs) == 4
    assert torch.equal(found[0], outputs.loss)
    assert torch.equal(found[1], outputs.logits)
    assert torch.equal(found[-1], outputs.image_hidden_states)
    model.config.return_dict = False
    assert isinstance(model(**inputs), tuple)


def test_the_whole_model_compiles_without_a_break(small, chat, make_batch):
    model, processor = small
    inputs = dict(make_batch(processor, [chat("Why?", images=0)]))
    expected = model.eval()(**inputs, use_cache=False).logits
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.equal(compiled(**inputs, use_cache=False).logits, expected)
