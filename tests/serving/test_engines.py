"""Which engine answers in ``facekit serve``."""

from __future__ import annotations

import importlib.util

import pytest
import small_runs

from facekit.errors import CheckpointError, ConfigurationError, MissingExtraError
from facekit.models.source import ModelSource
from facekit.serving import Engine, ServerSettings
from facekit.serving.engines import choose_engine

SETTINGS = ServerSettings("demo")


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
    assert choose_engine("transformers", None, ModelSource(tmp_path), SETTINGS) is Engine


def test_vllm_gets_the_folder_the_floating_type_and_what_the_user_says(checkpoint, with_vllm):
    source = ModelSource(checkpoint, dtype="bfloat16")
    made = choose_engine("vllm", '{"max_model_len": 512}', source, SETTINGS)
    assert made.keywords == {
        "folder": checkpoint, "max_media": SETTINGS.max_media, "options": {"dtype": "bfloat16", "max_model_len": 512}
    }  # fmt: skip


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
        choose_engine(name, options, ModelSource(tmp_path, **source), SETTINGS)


def test_a_checkpoint_of_another_format_is_refused_with_the_way_to_one_of_facekits(with_vllm, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava", "vision_config": {}, "text_config": {}}')
    with pytest.raises(ConfigurationError, match="write one with 'facekit export"):
        choose_engine("vllm", None, ModelSource(tmp_path), SETTINGS)
    with pytest.raises(CheckpointError):
        choose_engine("vllm", None, ModelSource(tmp_path / "nowhere"), SETTINGS)


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_the_engine_says_what_is_missing(checkpoint):
    with pytest.raises(MissingExtraError, match="needs vLLM"):
        choose_engine("vllm", None, ModelSource(checkpoint), SETTINGS)


def test_the_command_refuses_a_second_model_in_vllm(run_facekit, checkpoint):
    status, _, told = run_facekit(
        "serve", checkpoint, "--engine", "vllm", "--second-model", checkpoint, "--second-name", "b"
    )
    assert status != 0
    assert "the engine vllm serves one model" in told
