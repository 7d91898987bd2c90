"""Dividing a model among devices: plans, maps by name, equal answers, and what is refused.

A machine without GPUs has one device under two names, ``cpu`` and ``cpu:0``, between which inputs are moved all the
same; plans for GPUs are computed from their memory alone.
"""

from __future__ import annotations

import pytest
from PIL import Image

import facekit
from facekit.errors import ConfigurationError
from facekit.models import ModelSource, placement
from facekit.models.placement import divide, refuse_divided

SPLIT = {
    "encoder": "cpu",
    "connector": "cpu",
    "language_model.model.embed_tokens": "cpu",
    "language_model.model.layers.0": "cpu",
    **{f"language_model.model.{name}": "cpu:0" for name in ("layers.1", "layers.2", "norm", "rotary_emb")},
    "language_model.lm_head": "cpu:0",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    saved = tmp_path_factory.mktemp("models") / "tiny"
    for part in facekit.create(preset="facekit-tiny", landmarker="none", seed=0):
        part.save_pretrained(saved)
    return saved


@pytest.fixture
def two_names(monkeypatch):
    """Let accelerate take ``cpu`` and ``cpu:0`` for one device where weights lie on it already."""
    monkeypatch.setattr("accelerate.utils.modeling.check_device_same", lambda first, second: first.type == second.type)


def ask(source):
    picture = Image.radial_gradient("L").resize((96, 96)).convert("RGB")
    return facekit.ask(*source.load(), picture, ["Age?", "Which expression?"], max_new_tokens=4)


def give_gpus(monkeypatch, *sizes):
    """Let plans see GPUs of so many bytes, and let nothing be moved to them; the places are kept."""
    memory = {**dict(enumerate(sizes)), "cpu": 1 << 30}
    monkeypatch.setattr("accelerate.utils.modeling.get_max_memory", lambda given=None: dict(memory))
    monkeypatch.setattr("accelerate.utils.get_balanced_memory", lambda *args, **options: dict(memory))
    return memory


def test_a_divided_model_says_what_the_whole_one_says(folder, two_names):
    whole = ask(ModelSource(folder, device="cpu"))
    model, _ = ModelSource(folder, device_map=SPLIT).load()
    assert model.hf_device_map == SPLIT
    assert ask(ModelSource(folder, device_map=SPLIT)) == whole


def test_a_plan_fills_the_gpus_and_keeps_encoder_and_connector_together(folder, monkeypatch):
    model, _ = ModelSource(folder, device="cpu").load()
    size = sum(weight.nbytes for weight in model.parameters())
    give_gpus(monkeypatch, size, size)
    places = placement._plan(model, "sequential")
    assert places["encoder"] == places["connector"] == 0
    assert set(places.values()) == {0, 1}
    layers = {name for name in places if name.startswith("language_model.model.layers.")}
    assert all(name.removeprefix("language_model.model.layers.").isdigit() for name in layers), "layers stay whole"


@pytest.mark.parametrize(
    ("device_map", "words"),
    [
        ("everywhere", "there is no device_map 'everywhere'; choose one of auto, balanced"),
        ({"": "disk"}, "device_map puts the model on the disk"),
        ({"": "cuda:99"}, "the device 'cuda:99' cannot be used here"),
        ({"": "gpu"}, "the device 'gpu' cannot be used here"),
        ({"encoder": "cpu", "connector": "cpu"}, "device_map leaves a part of the model out"),
        (
            {**SPLIT, "language_model.model": "cpu:0"},
            "device_map has 'language_model.model' and a module in it",
        ),
        ({**SPLIT, "tower": "cpu"}, "device_map names 'tower', but the model has no such module"),
        ({**SPLIT, "connector": "cpu:0"}, "encoder and connector stay together on one device, but device_map has"),
    ],
)
def test_a_map_that_cannot_be_used_is_one_sentence(folder, device_map, words):
    with pytest.raises(ConfigurationError, match=words):
        ModelSource(folder, device_map=device_map).load()


def test_a_model_too_large_for_gpus_and_cpu_is_refused(folder, monkeypatch):
    model, _ = ModelSource(folder, device="cpu").load()
    monkeypatch.setattr(placement, "_plan", lambda model, name: {"encoder": 0, "language_model": "disk"})
    with pytest.raises(ConfigurationError, match="does not fit into the memory of this machine's GPUs and CPU"):
        divide(model, "auto")


def test_a_divided_model_is_not_trained(folder, two_names):
    model, _ = ModelSource(folder, device_map=SPLIT).load()
    with pytest.raises(ConfigurationError, match="training needs the model on one device"):
        refuse_divided(model, "training")
    refuse_divided(ModelSource(folder, device_map="auto").load()[0], "training")
