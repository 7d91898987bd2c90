"""The cache is found under every name, in arguments and outputs, and ours never raises the library's warning."""

from __future__ import annotations

import logging

import pytest
import torch
import transformers
from torch import nn
from transformers import Cache, DynamicCache, LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM
from transformers.utils import logging as transformers_logging

from facekit.compat.transformers_cache import (
    GENERATION_CACHE,
    cache_argument,
    cache_of,
    generation_arguments,
)

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture
def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **SIZES)).eval()


@pytest.fixture
def library_log(monkeypatch):
    """What transformers logs; its warnings that come once come again."""
    once = getattr(transformers_logging.warning_once, "cache_clear", None)
    if once is not None:
        once()
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def test_the_name_is_that_of_the_version():
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    expected = "cache" if version >= (5, 24) else "past_key_values"
    assert expected == GENERATION_CACHE


def test_the_second_step_goes_on_from_the_cache_of_the_first_without_a_warning(llama, library_log):
    ids = torch.tensor([[3, 9, 4]])
    whole = llama(input_ids=ids).logits
    first = llama(input_ids=ids[:, :2], use_cache=True, **cache_argument(llama, DynamicCache(config=llama.config)))
    cache = cache_of(first)
    assert cache.get_seq_length() == 2
    second = llama(input_ids=ids[:, 2:], **cache_argument(llama, cache))
    torch.testing.assert_close(second.logits, whole[:, 2:])
    tokens = llama.generate(ids, max_new_tokens=2, do_sample=False, **generation_arguments({"past_key_values": cache}))
    assert tokens.shape[1] <= 5
    assert not [line for line in library_log if "deprecated" in line]


def test_no_cache_is_no_argument(llama):
    assert cache_argument(llama, None) == {}


def test_code_of_a_checkpoint_keeps_the_name_of_its_time():
    class Old(nn.Module):
        def forward(self, input_ids, past_key_values=None, use_cache=None):
            """Written before the rename."""

    class New(nn.Module):
        def forward(self, input_ids, cache=None):
            """Written after it."""

    class Coming(nn.Module):
        def forward(self, input_ids, state: Cache | None = None):
            """Under a name that nobody knows yet."""

    class Wrapper(nn.Module):
        def forward(self, *args, **kwargs):
            """Takes anything."""

    names = [list(cache_argument(kind(), DynamicCache())) for kind in (Old, New, Coming, Wrapper)]
    assert names == [["past_key_values"], ["cache"], ["state"], [GENERATION_CACHE]]


def test_a_state_space_model_has_its_cache_too():
    config = MambaConfig(vocab_size=32, hidden_size=16, state_size=4, num_hidden_layers=2)
    outputs = MambaForCausalLM(config).eval()(input_ids=torch.tensor([[1, 2]]), use_cache=True)
    assert cache_of(outputs) is not None


def test_an_output_without_cache_has_none(llama):
    assert cache_of(llama(input_ids=torch.tensor([[1]]), use_cache=False)) is None


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_generation_takes_either_name(name):
    found = generation_arguments({name: "it", "max_new_tokens": 3})
    assert found == {GENERATION_CACHE: "it", "max_new_tokens": 3}
