"""Which engine answers in ``facekit serve``."""

from __future__ import annotations

import importlib.util

import pytest
import small_runs
from adapter_runs import adapt_with_peft

from facekit.errors import CheckpointError, ConfigurationError, MissingExtraError
from facekit.models.source import ModelSource
from facekit.serving import Engine
from facekit.serving.engines import choose_engine
from facekit.serving.vllm.adapters import ServedAdapter


@pytest.fixture
def with_vllm(monkeypatch):
    """As if vLLM were installed; nothing of it is imported before an engine is made."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find("json" if name == "vllm" else name))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    model, processor = small_runs.small_model()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_facekits_own_engine_answers_unless_another_is_named(tmp_path):
    assert choose_engine("transformers", None, ModelSource(tmp_path)) is Engine


def test_vllm_gets_the_folder_what_the_user_says_and_its_share_of_the_memory(checkpoint, with_vllm):
    options = '{"max_model_len": 512}'
    made = choose_engine("vllm", options, ModelSource(checkpoint), max_media=8)
    given = {"max_model_len": 512}
    assert made.keywords == {"folder": checkpoint, "adapter": None, "max_media": 8, "options": given}
    beside = choose_engine("vllm", options, ModelSource(checkpoint), models=2)
    assert beside.keywords["options"] == {"gpu_memory_utilization": 0.45, "max_model_len": 512}
    own = choose_engine("vllm", '{"gpu_memory_utilization": 0.3}', ModelSource(checkpoint), models=2)
    assert own.keywords["options"] == {"gpu_memory_utilization": 0.3}


def test_an_adapter_over_a_checkpoint_of_facekits_is_opened_beside_it(checkpoint, with_vllm, tmp_path):
    adapt_with_peft(checkpoint, tmp_path / "adapter", 0.1, r=10, rank_pattern={"layers.0.self_attn.q_proj": 20})
    made = choose_engine("vllm", None, ModelSource(tmp_path / "adapter"))
    assert made.keywords["folder"] == checkpoint
    assert made.keywords["adapter"] == ServedAdapter(tmp_path / "adapter", 32)


def test_an_adapter_that_changes_more_than_the_language_model_is_refused(checkpoint, with_vllm, tmp_path):
    adapt_with_peft(checkpoint, tmp_path / "adapter", 0.1, modules_to_save=["connector"])
    with pytest.raises(ConfigurationError, match=r"has connector\..*--merge-lora"):
        choose_engine("vllm", None, ModelSource(tmp_path / "adapter"))


@pytest.mark.parametrize(
    ("name", "options", "source", "words"),
    [
        ("sglang", None, {}, "--engine is one of transformers, vllm, not 'sglang'"),
        ("transformers", "{}", {}, "--engine-options are vLLM's"),
        ("vllm", "{", {}, "--engine-options are no JSON"),
        ("vllm", "[1]", {}, "--engine-options are a JSON object"),
        ("vllm", None, {"load_in": "4bit"}, "leave --load-in and --device-map out"),
    ],
)
def test_a_wrong_choice_is_refused_before_anything_is_loaded(name, options, source, words, with_vllm, tmp_path):
    with pytest.raises(ConfigurationError, match=words):
        choose_engine(name, options, ModelSource(tmp_path, **source))


def test_a_checkpoint_of_another_format_is_refused_with_the_way_to_one_of_facekits(with_vllm, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava", "vision_config": {}, "text_config": {}}')
    with pytest.raises(ConfigurationError, match="write one with 'facekit export"):
        choose_engine("vllm", None, ModelSource(tmp_path))
    with pytest.raises(CheckpointError):
        choose_engine("vllm", None, ModelSource(tmp_path / "nowhere"))


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_engine_says_what_is_missing(checkpoint):
    with pytest.raises(MissingExtraError, match="needs vLLM"):
        choose_engine("vllm", None, ModelSource(checkpoint))
