"""The adapter for VLMEvalKit against the interface that it documents; the suite itself is no package of an index."""

from __future__ import annotations

import importlib.util
import sys
import types

import numpy as np
import pytest
from PIL import Image

from facekit.errors import ConfigurationError, MissingExtraError
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.plugs.vlmevalkit import FaceKitVLM, register_in_vlmevalkit
from facekit.evaluation.tasks.questions import Question

SUITE = importlib.util.find_spec("vlmeval") is not None


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("pictures")
    for name in ("a.png", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / name)
    return folder / "a.png", folder / "b.jpg"


def part(kind, value):
    return {"type": kind, "value": str(value)}


def test_a_message_is_answered_as_the_model_answers_it(folder, model_and_processor, paths):
    adapter = FaceKitVLM(str(folder), max_new_tokens=6)
    message = [part("image", paths[0]), part("text", "Which expression?"), part("text", "One word.")]
    question = Question("0", "Which expression?\nOne word.", (paths[0],), max_new_tokens=6)
    expected = dict(FaceKitModel(*model_and_processor).answer([question]))[0]
    assert expected
    assert adapter.generate_inner(message, dataset="MMBench") == expected


def test_several_pictures_reach_the_model_in_their_order(folder, model_and_processor, paths):
    adapter = FaceKitVLM(str(folder), max_new_tokens=6)
    message = [part("image", paths[1]), part("text", "The same person?"), part("image", paths[0])]
    question = Question("0", "The same person?", (paths[1], paths[0]), max_new_tokens=6)
    expected = dict(FaceKitModel(*model_and_processor).answer([question]))[0]
    assert adapter.generate_inner(message) == expected


def test_messages_without_a_picture_or_with_sound_are_refused(folder, paths):
    adapter = FaceKitVLM(str(folder))
    with pytest.raises(ConfigurationError, match="no picture"):
        adapter.generate_inner([part("text", "Why?")])
    with pytest.raises(ConfigurationError, match="'audio'"):
        adapter.generate_inner([part("image", paths[0]), part("audio", "a.wav")])
    with pytest.raises(ConfigurationError, match="max_new_tokens"):
        FaceKitVLM(str(folder), max_new_tokens=0)


@pytest.mark.skipif(SUITE, reason="VLMEvalKit is installed")
def test_without_the_suite_registering_says_how_to_install_it():
    with pytest.raises(MissingExtraError, match="VLMEvalKit is not installed"):
        register_in_vlmevalkit("facekit", "runs/demo")


@pytest.mark.skipif(SUITE, reason="VLMEvalKit is installed; its own table is used")
def test_registering_puts_a_maker_of_the_model_into_the_table_of_the_suite(folder, paths, monkeypatch):
    config = types.ModuleType("vlmeval.config")
    config.supported_VLM = {}
    monkeypatch.setitem(sys.modules, "vlmeval", types.ModuleType("vlmeval"))
    monkeypatch.setitem(sys.modules, "vlmeval.config", config)
    register_in_vlmevalkit("demo", str(folder), max_new_tokens=3)
    made = config.supported_VLM["demo"]()
    assert isinstance(made, FaceKitVLM)
    assert isinstance(made.generate_inner([part("image", paths[0]), part("text", "Who?")]), str)
