"""What goes wrong on the way to the hub, told in one sentence, on every road."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from huggingface_hub import constants
from local_hub import TOKEN

import facekit
from facekit.backbones.huggingface import load_huggingface_backbone
from facekit.encoders.fusion import build_encoder
from facekit.errors import CheckpointError
from facekit.hub import fetch_file
from facekit.models.interoperability import inspect_checkpoint

ROADS = {
    "load": facekit.load,
    "inspect": inspect_checkpoint,
    "encoder": lambda source: build_encoder(f"hf:{source}"),
    "languagebind": lambda source: build_encoder(f"languagebind:{source}"),
    "backbone": load_huggingface_backbone,
    "tokenizer": lambda source: facekit.load(Path(__file__).parents[1] / "data/face_llava_tiny/FaceLLaVA-tiny",
                                             tower_root=Path(__file__).parents[1] / "data/face_llava_tiny",
                                             tokenizer=source),
}  # fmt: skip


@pytest.fixture(params=ROADS)
def refused(request):
    """A function that takes a hub id on one of the roads and returns the one sentence."""

    def take(source):
        with pytest.raises(CheckpointError) as caught:
            ROADS[request.param](source)
        message = str(caught.value)
        assert "\n" not in message
        assert message.count(". ") == 0
        return message

    return take


def test_a_hub_out_of_reach(refused, hub):
    hub.close()
    message = refused("org/typo")
    assert message.startswith("'org/typo' is no folder here, and the hub at http://127.0.0.1:")
    assert "cannot be reached" in message


def test_a_hub_that_may_not_be_asked(refused, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    message = refused("org/typo")
    assert message.startswith("'org/typo' is no folder here, and the cache ")
    assert "HF_HUB_OFFLINE forbids downloads" in message


def test_a_name_that_the_hub_does_not_have(refused, hub):
    assert refused("org/typo") == (
        "'org/typo' is no folder here, and the hub has no model of that name, or a private one: log in with "
        "'hf auth login' or set HF_TOKEN"
    )


def test_a_name_that_the_hub_does_not_have_for_somebody_who_is_logged_in(refused, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    expected = "'org/typo' is no folder here, and the hub has no model of that name that your login may read"
    assert refused("org/typo") == expected


def test_a_gated_model(refused, hub, internvl, monkeypatch):
    hub.publish("org/gated", internvl, gated=True)
    asks = f"'org/gated' is gated on the hub: ask for access at {hub.address}/org/gated"
    assert refused("org/gated") == f"{asks}, then log in with 'hf auth login' or set HF_TOKEN"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert refused("org/gated") == asks


def test_a_token_that_the_hub_does_not_know(refused, hub, internvl, monkeypatch):
    hub.publish("org/model", internvl)
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    assert refused("org/model").startswith("the hub refuses the token that is set; renew it")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (500, "answers 'org/model' with status 500; try again later"),
        (429, "has had too many requests from here; wait some minutes"),
        (403, "forbids your login to read 'org/model'"),
    ],
)
def test_a_hub_that_answers_with_an_error(status, words, refused, hub, internvl):
    hub.publish("org/model", internvl)
    hub.fail("org/model", status)
    assert words in refused("org/model")


@pytest.mark.parametrize("source", ["a/b/c", "no spaces allowed", "double--dash/x"])
def test_what_cannot_be_the_name_of_a_model_is_not_asked_for(source, hub):
    for road in ("load", "encoder", "languagebind", "backbone"):
        with pytest.raises(CheckpointError) as caught:
            ROADS[road](source)
        assert source in str(caught.value)
        assert "\n" not in str(caught.value)
    assert hub.requests == []


def test_a_file_of_a_model_without_a_name_is_not_one_of_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="the name of a model is empty"):
        fetch_file("", ["config.json"])


def test_a_revision_that_is_not_there(hub, internvl):
    hub.tag("org/model", "v1.0", hub.publish("org/model", internvl))
    for take in (
        lambda: facekit.load("org/model", revision="v1.1"),
        lambda: inspect_checkpoint("org/model", revision="v1.1"),
        lambda: build_encoder("hf:org/model?revision=v1.1"),
        lambda: load_huggingface_backbone("org/model", revision="v1.1"),
    ):
        with pytest.raises(CheckpointError) as caught:
            take()
        assert str(caught.value) == ("'org/model' has no branch, tag or commit 'v1.1' on the hub; did you mean 'v1.0'?")


def test_a_folder_of_nearly_that_name_is_pointed_at(hub, tmp_path, monkeypatch):
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"; did you mean 'runs/demo'\?$"):
        facekit.load("runs/dmeo")


def test_a_name_that_means_a_folder_is_not_looked_for_on_the_hub(hub, ours, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("lora", "region"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text("{}")
    hub.publish("models/published", ours)
    for name, told in (
        (
            "runs/mine",
            "there is no folder 'runs/mine', and what stands below 'runs' is not looked for on the hub; check",
        ),
        ("models/regoin", "not looked for on the hub; did you mean 'models/region'?"),
        ("models/zzz", "not looked for on the hub; 'models' has lora, region"),
        ("models/published", "there is no folder 'models/published'"),
        ("./models/regoin", "checkpoint 'models/regoin' does not exist; did you mean 'models/region'?"),
        ("modles/region", None),
    ):
        before = len(hub.requests)
        with pytest.raises(CheckpointError) as caught:
            facekit.load(name)
        assert told is None or told in str(caught.value)
        assert (len(hub.requests) == before) == (told is not None), name
    for take in (build_encoder, load_huggingface_backbone):
        with pytest.raises(CheckpointError, match=r"there is no .*folder.*; did you mean 'models/region'\?$"):
            take("hf:models/regoin" if take is build_encoder else "models/regoin")


def test_a_downloaded_model_is_found_beside_a_folder_of_its_owners_name(hub, ours, tmp_path, monkeypatch):
    hub.publish("models/published", ours)
    facekit.load("models/published")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    facekit.load("models/published")


def test_a_downloaded_model_of_nearly_that_name_is_pointed_at(hub, ours):
    hub.publish("org/model-large", ours)
    facekit.load("org/model-large")
    hub.close()
    with pytest.raises(CheckpointError, match=r"; did you mean 'org/model-large'\?$"):
        facekit.load("org/model-lage")


def test_a_name_without_an_owner_may_be_one_of_the_hubs_old_models(hub):
    with pytest.raises(CheckpointError, match="'typo' is no folder here, and the hub has no model of that name"):
        facekit.load("typo")


def test_a_repository_without_a_configuration(hub, ours, tmp_path):
    (tmp_path / "README.md").write_text("nothing else")
    hub.publish("org/notes", tmp_path)
    with pytest.raises(CheckpointError, match=r"'org/notes' on the hub holds no checkpoint: it has no config\.json"):
        facekit.load("org/notes")
    (tmp_path / "tokenizer.json").write_text("{}")
    hub.publish("org/notes", tmp_path)
    with pytest.raises(CheckpointError, match=r"none of the files config\.json"):
        build_encoder("languagebind:org/notes")


def test_a_model_of_which_the_cache_has_a_part(hub, internvl, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    hub.publish("org/model", internvl)
    inspect_checkpoint("org/model")
    hub.close()
    with pytest.raises(CheckpointError, match="cannot be reached for what the cache does not have"):
        facekit.load("org/model")


def test_a_full_disk(hub, internvl, monkeypatch):
    hub.publish("org/model", internvl)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facekit.hub.snapshot_download", full)
    with pytest.raises(CheckpointError, match=r"cannot be kept in the cache .*: No space left on device; set HF_HOME"):
        facekit.load("org/model")
