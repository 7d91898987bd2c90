"""Whole models by hub id: every format, their revisions, the cache without the hub, and what is downloaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from local_hub import TOKEN
from safetensors.torch import load_file, save_file

import facekit
from facekit.errors import CheckpointError
from facekit.hub import cached_source
from facekit.models.interoperability import inspect_checkpoint

RELEASED = Path(__file__).parents[1] / "data" / "face_llava_tiny"


def assert_same(model, other):
    wanted, found = other.state_dict(), model.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("name", ["ours", "internvl", "llava"])
def test_a_repository_gives_the_model_of_its_folder(name, hub, request):
    folder = request.getfixturevalue(name)
    hub.publish("org/model", folder)
    model, processor = facekit.load("org/model")
    expected, theirs = facekit.load(folder)
    assert_same(model, expected)
    assert processor.tokenizer.get_vocab() == theirs.tokenizer.get_vocab()
    assert processor.image_processor.to_dict() == theirs.image_processor.to_dict()


def publish_released(hub):
    hub.publish("chaubeyG/FaceLLaVA", RELEASED / "FaceLLaVA-tiny")
    for tower in (RELEASED / "LanguageBind").iterdir():
        hub.publish(f"LanguageBind/{tower.name}", tower)


def test_released_face_llava_finds_its_towers_by_their_own_ids(hub):
    publish_released(hub)
    model, _ = facekit.load("chaubeyG/FaceLLaVA")
    expected, _ = facekit.load(RELEASED / "FaceLLaVA-tiny", tower_root=RELEASED)
    assert_same(model, expected)
    assert {request.path.split("/")[3] for request in hub.requests if "/revision/" in request.path} == {
        "chaubeyG",
        "LanguageBind",
    }


def test_a_tower_that_is_not_there_is_named(hub):
    hub.publish("chaubeyG/FaceLLaVA", RELEASED / "FaceLLaVA-tiny")
    with pytest.raises(CheckpointError) as caught:
        facekit.load("chaubeyG/FaceLLaVA")
    assert str(caught.value).startswith("'LanguageBind/LanguageBind_Image")
    assert "tower_root names the folder that has the towers' folders" in str(caught.value)


def test_a_tokenizer_is_named_by_hub_id(hub, llava):
    publish_released(hub)
    hub.publish("lmsys/vicuna", llava)
    _, processor = facekit.load("chaubeyG/FaceLLaVA", tokenizer="lmsys/vicuna")
    assert processor.tokenizer("a")["input_ids"] == facekit.load(llava)[1].tokenizer("a")["input_ids"]
    assert not hub.asked("GET", "model.safetensors")[1:], "the weights beside the tokenizer are left alone"


@pytest.mark.parametrize(
    ("preset", "repository", "name"),
    [
        ("facellm-1b", "OpenGVLab/InternVL3-1B-hf", "internvl"),
        ("facellm-1b-region", "OpenGVLab/InternVL3-1B-hf", "internvl"),
    ],
)
def test_a_preset_starts_from_its_repository(preset, repository, name, hub, request):
    folder = request.getfixturevalue(name)
    hub.publish(repository, folder)
    model, _ = facekit.create(preset=preset, seed=0)
    expected, _ = facekit.create(preset=preset, checkpoint=str(folder), seed=0)
    assert_same(model, expected)


def test_the_preset_of_the_released_weights_starts_from_its_repositories(hub):
    publish_released(hub)
    model, processor = facekit.create(preset="face-llava-7b-released")
    expected, _ = facekit.load("chaubeyG/FaceLLaVA")
    assert_same(model, expected)
    assert processor.image_processor.landmarker == "mesh"


@pytest.mark.parametrize("base", ["OpenGVLab/InternVL3-1B-hf", None])
def test_an_adapter_finds_its_base_model_on_the_hub(base, hub, adapter, internvl, tmp_path):
    copied = shutil.copytree(adapter, tmp_path / "adapter")
    settings = json.loads((copied / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = base or str(internvl)
    (copied / "adapter_config.json").write_text(json.dumps(settings))
    if base is not None:
        hub.publish(base, internvl)
    hub.publish("Idiap/FaceLLM-1B", copied)
    model, _ = facekit.load("Idiap/FaceLLM-1B")
    settings["base_model_name_or_path"] = str(internvl)
    (copied / "adapter_config.json").write_text(json.dumps(settings))
    assert_same(model, facekit.load(copied)[0])
    assert any("lora_A" in name for name in model.state_dict())


def test_an_adapter_takes_the_revision_of_its_base_that_it_was_trained_on(hub, adapter, internvl, tmp_path):
    first = hub.publish("org/base", internvl)
    changed = shutil.copytree(internvl, tmp_path / "changed")
    weights = load_file(changed / "model.safetensors")
    save_file({name: value * 2 for name, value in weights.items()}, changed / "model.safetensors", {"format": "pt"})
    hub.publish("org/base", changed)
    copied = shutil.copytree(adapter, tmp_path / "adapter")
    settings = json.loads((copied / "adapter_config.json").read_text())
    for revision, scale in ((first, 1), (None, 2)):
        settings |= {"base_model_name_or_path": "org/base", "revision": revision}
        (copied / "adapter_config.json").write_text(json.dumps(settings))
        model, _ = facekit.load(copied)
        assert torch.equal(model.connector.layers[1].weight, scale * weights["multi_modal_projector.linear_1.weight"])


def test_a_base_model_that_cannot_be_had_is_told_with_its_adapter(hub, adapter, tmp_path):
    copied = shutil.copytree(adapter, tmp_path / "adapter")
    settings = json.loads((copied / "adapter_config.json").read_text()) | {"base_model_name_or_path": "org/gone"}
    (copied / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(
        CheckpointError, match=r"the base model of the adapter in '.*' is missing: 'org/gone' is no fold"
    ):
        facekit.load(copied)


def test_a_branch_a_tag_and_a_commit_are_revisions(hub, ours, tmp_path):
    first = hub.publish("org/model", ours)
    hub.tag("org/model", "v1.0", first)
    changed = shutil.copytree(ours, tmp_path / "changed")
    weights = load_file(changed / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, changed / "model.safetensors", {"format": "pt"})
    hub.publish("org/model", changed)
    hub.publish("org/model", ours, branch="dev/next")
    name = "connector.layers.0.weight"
    for revision, offset in (("main", 1), ("v1.0", 0), (first, 0), (first[:8], 0), ("dev/next", 0)):
        model, _ = facekit.load("org/model", revision=revision)
        assert torch.equal(model.state_dict()[name], weights[name] + offset), revision


def test_the_weights_belong_to_the_commit_of_the_configuration(hub, ours, tmp_path, monkeypatch):
    """Somebody pushes while the model is being downloaded."""
    hub.publish("org/model", ours)
    download = facekit.hub.hf_hub_download

    def push_first(*arguments, **options):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / "model.safetensors").write_bytes(b"of another commit")
        hub.publish("org/model", tmp_path / "other")
        return download(*arguments, **options)

    monkeypatch.setattr("facekit.hub.hf_hub_download", push_first)
    assert_same(facekit.load("org/model")[0], facekit.load(ours)[0])


@pytest.mark.parametrize("name", ["ours", "internvl"])
@pytest.mark.parametrize("how", ["gone", "offline"])
def test_a_downloaded_model_loads_without_the_hub(name, how, hub, request, monkeypatch):
    hub.publish("org/model", request.getfixturevalue(name))
    before, _ = facekit.load("org/model")
    if how == "gone":
        hub.close()
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    assert_same(facekit.load("org/model")[0], before)
    assert len(hub.requests) == asked


def test_a_downloaded_commit_is_not_asked_for_again(hub, ours):
    commit = hub.publish("org/model", ours)
    facekit.load("org/model", revision=commit)
    asked = len(hub.requests)
    facekit.load("org/model", revision=commit)
    assert len(hub.requests) == asked


def test_a_cut_download_goes_on(hub, ours, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.publish("org/model", ours)
    hub.cut("model.safetensors", 5000, 7000)
    assert_same(facekit.load("org/model")[0], facekit.load(ours)[0])
    ranges = [request.headers.get("range") for request in hub.asked("GET", "model.safetensors")]
    assert ranges == [None, "bytes=5000-", "bytes=12000-"]


def test_a_download_that_is_cut_for_good_is_told_and_the_next_run_finishes_it(hub, internvl, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    folder = shutil.copytree(internvl, tmp_path / "sharded")
    split_in_two(folder)
    hub.publish("org/model", folder)
    hub.cut("model-00002-of-00002.safetensors", *[0] * 20)
    with pytest.raises(CheckpointError) as caught:
        facekit.load("org/model")
    assert "the download of 'org/model' broke off" in str(caught.value)
    assert "\n" not in str(caught.value)
    hub.cuts.clear()
    hub.requests.clear()
    assert_same(facekit.load("org/model")[0], facekit.load(internvl)[0])
    assert not hub.asked("GET", "model-00001-of-00002.safetensors"), "it arrived whole the first time"


def split_in_two(folder):
    weights = load_file(folder / "model.safetensors")
    places = {name: f"model-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(weights)}
    for shard in set(places.values()):
        save_file({name: weights[name] for name in weights if places[name] == shard}, folder / shard, {"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def test_only_the_weights_of_one_layout_are_downloaded(hub, internvl, tmp_path):
    folder = shutil.copytree(internvl, tmp_path / "many")
    split_in_two(folder)
    others = ("consolidated.safetensors", "pytorch_model.bin", "flax_model.msgpack", "original/weights.safetensors")
    for other in others:
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_bytes(b"another copy")
    hub.publish("org/model", folder)
    facekit.load("org/model")
    got = {request.file for request in hub.requests if request.method == "GET"}
    assert {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"} <= got
    assert not got & {Path(other).name for other in others}


def test_pytorch_weights_are_read_where_there_is_nothing_else(hub, llava, tmp_path):
    folder = shutil.copytree(llava, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    hub.publish("org/model", folder)
    expected, _ = facekit.load(llava)
    assert_same(facekit.load("org/model")[0], expected)
    hub.close()
    assert_same(facekit.load("org/model")[0], expected)


def test_a_private_model_is_read_with_the_token(hub, ours, monkeypatch):
    hub.publish("tester/mine", ours, private=True)
    with pytest.raises(CheckpointError, match="or a private one: log in with 'hf auth login' or set HF_TOKEN"):
        facekit.load("tester/mine")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert_same(facekit.load("tester/mine")[0], facekit.load(ours)[0])


@pytest.mark.parametrize("name", ["ours", "internvl", "llava"])
def test_a_repository_is_inspected_without_downloading_weights(name, hub, request):
    folder = request.getfixturevalue(name)
    hub.publish("org/model", folder)
    found, wanted = inspect_checkpoint("org/model"), inspect_checkpoint(folder)
    assert (found.format, found.parts, found.tokens_per_image) == (wanted.format, wanted.parts, wanted.tokens_per_image)
    assert {request.headers.get("range") is None for request in hub.asked("GET", "model.safetensors")} == {False}
    assert not (found.folder / "model.safetensors").exists()


def test_an_adapter_is_inspected_without_downloading_its_base(hub, adapter, internvl, tmp_path):
    copied = shutil.copytree(adapter, tmp_path / "adapter")
    settings = json.loads((copied / "adapter_config.json").read_text()) | {"base_model_name_or_path": "org/base"}
    (copied / "adapter_config.json").write_text(json.dumps(settings))
    hub.publish("org/base", internvl)
    report = inspect_checkpoint(copied)
    assert report.adapter_parameters == 2 * (2 * 32 + 2 * 32)
    assert report.parameters == inspect_checkpoint(internvl).parameters + report.adapter_parameters
    assert not (report.base / "model.safetensors").exists()


def test_where_a_folder_of_the_cache_comes_from_is_known(hub, ours):
    commit = hub.publish("org-1/model-x.y", ours)
    folder = facekit.hub.fetch_folder("org-1/model-x.y")
    assert cached_source(folder) == ("org-1/model-x.y", commit)
    assert cached_source(ours) is None
