"""Parts by hub id: encoders and language models, from repositories laid out as their authors lay them out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import open_clip
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModel

import facekit
from facekit.backbones.huggingface import load_huggingface_backbone
from facekit.encoders.fusion import build_encoder
from facekit.errors import CheckpointError, InvalidSpecError

RELEASED = Path(__file__).parents[1] / "data" / "face_llava_tiny"
CLIP = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
        "image_size": 32, "patch_size": 8}  # fmt: skip


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    CLIPVisionModel(CLIPVisionConfig(**CLIP)).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"crop_size": 32, "image_mean": [0.1, 0.2, 0.3]}))
    return folder


def assert_same(module, other):
    wanted, found = other.state_dict(), module.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


def test_a_vision_model_is_that_of_its_folder(hub, clip):
    hub.publish("openai/clip", clip)
    encoder = build_encoder("hf:openai/clip")
    assert_same(encoder, build_encoder(f"hf:{clip}"))
    assert encoder.transform.mean == (0.1, 0.2, 0.3)
    hub.close()
    assert_same(build_encoder("hf:openai/clip"), encoder)


def test_a_vision_model_takes_a_revision(hub, clip, tmp_path):
    hub.tag("openai/clip", "v1", hub.publish("openai/clip", clip))
    changed = shutil.copytree(clip, tmp_path / "changed")
    weights = load_file(changed / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, changed / "model.safetensors", {"format": "pt"})
    (changed / "preprocessor_config.json").unlink()
    hub.repositories["openai/clip"].commit({"preprocessor_config.json": None})
    hub.publish("openai/clip", changed)
    pinned, newest = build_encoder("hf:openai/clip?revision=v1"), build_encoder("hf:openai/clip")
    assert_same(pinned, build_encoder(f"hf:{clip}"))
    assert pinned.transform.mean == (0.1, 0.2, 0.3) != newest.transform.mean
    assert_same(newest, build_encoder(f"hf:{changed}"))


def test_the_vision_part_of_a_whole_model_comes_without_the_shards_of_its_language_model(hub, internvl, tmp_path):
    folder = shutil.copytree(internvl, tmp_path / "sharded")
    weights = load_file(folder / "model.safetensors")
    places = {name: f"model-{'vision' if 'vision_tower' in name else 'language'}.safetensors" for name in weights}
    for shard in set(places.values()):
        save_file({name: weights[name] for name in weights if places[name] == shard}, folder / shard, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "model.safetensors").unlink()
    hub.publish("OpenGVLab/InternVL3-1B-hf", folder)
    assert_same(build_encoder("hf:OpenGVLab/InternVL3-1B-hf"), build_encoder(f"hf:{internvl}"))
    assert hub.asked("GET", "model-vision.safetensors")
    assert not hub.asked("GET", "model-language.safetensors")


def test_without_weights_only_the_configuration_is_downloaded(hub, clip):
    hub.publish("openai/clip", clip)
    build_encoder("hf:openai/clip?pretrained=false")
    assert not hub.asked("HEAD", "model.safetensors")


def test_languagebinds_towers_are_those_of_their_folders(hub):
    (tower,) = (each for each in (RELEASED / "LanguageBind").iterdir() if "Image" in each.name)
    hub.publish("LanguageBind/LanguageBind_Image", tower)
    options = "?pretrained=false&layer=-1"
    encoder = build_encoder(f"languagebind:LanguageBind/LanguageBind_Image{options}")
    assert encoder.to_config() == build_encoder(f"languagebind:{tower}{options}").to_config()


def test_timms_pretrained_weights_come_from_its_repository(hub, tmp_path):
    model = timm.create_model("test_vit")
    save_file(model.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    hub.publish("timm/test_vit.r160_in1k", tmp_path)
    encoder = build_encoder("timm:test_vit.r160_in1k?pretrained=true")
    assert_same(encoder, build_encoder(f"timm:test_vit.r160_in1k?checkpoint={tmp_path / 'model.safetensors'}"))
    hub.close()
    assert_same(build_encoder("timm:test_vit.r160_in1k?pretrained=true"), encoder)


@pytest.fixture
def tiny_openclip(tmp_path, monkeypatch):
    """A tiny model that open_clip knows, with weights under one tag; its own are of hundreds of megabytes."""
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16}
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    (tmp_path / "ViT-tiny.json").write_text(json.dumps({"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS))
    open_clip.add_model_config(tmp_path / "ViT-tiny.json")
    weights = {"hub": {"hf_hub": "laion/tiny/", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "ViT-tiny", weights)
    folder = tmp_path / "weights"
    folder.mkdir()
    model = open_clip.create_model("ViT-tiny")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors", {"format": "pt"})
    return folder


def test_openclips_pretrained_weights_come_from_their_repository(hub, tiny_openclip):
    hub.publish("laion/tiny", tiny_openclip)
    encoder = build_encoder("openclip:ViT-tiny?pretrained=hub")
    local = build_encoder(f"openclip:ViT-tiny?pretrained={tiny_openclip / 'open_clip_model.safetensors'}")
    assert_same(encoder, local)
    assert encoder.transform.mean == (0.5, 0.5, 0.5)
    hub.close()
    assert_same(build_encoder("openclip:ViT-tiny?pretrained=hub"), encoder)


@pytest.mark.parametrize("fault", ["absent", "gone", "offline"])
def test_weights_of_a_tag_that_cannot_be_had_are_told_in_one_sentence(fault, hub, tiny_openclip, monkeypatch):
    words = {"absent": "the hub has no model of that name", "gone": f"the hub at {hub.address} cannot be reached",
             "offline": "HF_HUB_OFFLINE forbids downloads"}[fault]  # fmt: skip
    monkeypatch.setattr("time.sleep", lambda _: None)
    if fault == "gone":
        hub.close()
    if fault == "offline":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for spec, subject in (
        ("openclip:ViT-tiny?pretrained=hub", "open_clip has no weights 'hub' of ViT-tiny here: "),
        ("timm:test_vit.r160_in1k?pretrained=true", "timm has no weights of 'test_vit.r160_in1k' here: "),
    ):
        with pytest.raises(CheckpointError) as caught:
            build_encoder(spec)
        message = str(caught.value)
        assert message.startswith(subject)
        assert words in message
        assert "\n" not in message


def test_a_tag_that_timm_does_not_have_is_no_matter_of_the_hub(hub):
    with pytest.raises(InvalidSpecError, match="cannot create"):
        build_encoder("timm:test_vit.imagenet99?pretrained=true")
    assert hub.requests == []


def test_a_language_model_is_that_of_its_folder_and_knows_where_it_comes_from(hub, language):
    hub.publish("Qwen/tiny", language)
    loaded, local = load_huggingface_backbone("Qwen/tiny"), load_huggingface_backbone(str(language))
    assert_same(loaded.model, local.model)
    assert loaded.tokenizer.get_vocab() == local.tokenizer.get_vocab()
    assert loaded.tokenizer.chat_template == local.tokenizer.chat_template
    assert loaded.model.config.name_or_path == loaded.tokenizer.name_or_path == "Qwen/tiny"


def test_a_language_model_takes_a_revision_and_loads_without_the_hub(hub, language, tmp_path):
    hub.tag("Qwen/tiny", "v1", hub.publish("Qwen/tiny", language))
    changed = shutil.copytree(language, tmp_path / "changed")
    (changed / "chat_template.jinja").write_text("{{ messages[0].content }}")
    hub.publish("Qwen/tiny", changed)
    templates = {}
    for revision in ("v1", "main"):
        templates[revision] = load_huggingface_backbone("Qwen/tiny", revision=revision).tokenizer.chat_template
    assert templates["main"] == "{{ messages[0].content }}" != templates["v1"]
    hub.close()
    for revision, template in templates.items():
        assert load_huggingface_backbone("Qwen/tiny", revision=revision).tokenizer.chat_template == template


def test_nothing_is_asked_of_the_hub_but_what_is_needed(hub, language, tmp_path):
    """transformers would look for adapters, and have pickled weights converted by a service, in the background."""
    folder = shutil.copytree(language, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    hub.publish("Qwen/tiny", folder)
    load_huggingface_backbone("Qwen/tiny")
    asked = {request.file for request in hub.requests}
    assert "pytorch_model.bin" in asked
    assert asked <= {
        "main",
        hub.repositories["Qwen/tiny"].branches["main"],
        "model.safetensors",
        *map(str, names(folder)),
    }


def names(folder):
    return (path.name for path in folder.iterdir())


def test_code_of_a_repository_is_not_downloaded_unless_it_is_trusted(hub, language, tmp_path):
    folder = shutil.copytree(language, tmp_path / "own")
    settings = json.loads((folder / "config.json").read_text())
    settings |= {"model_type": "own-kind", "auto_map": {"AutoModelForCausalLM": "modeling_own.Own"}}
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "modeling_own.py").write_text("raise SystemExit('this code ran')")
    hub.publish("org/own", folder)
    with pytest.raises(CheckpointError, match=r"runs code of its own \(modeling_own\.py\)"):
        load_huggingface_backbone("org/own")
    got = {request.file for request in hub.requests if request.method == "GET"}
    assert not got & {"modeling_own.py", "model.safetensors"}


def test_a_composition_of_hub_ids_saves_and_loads(hub, clip, language, tmp_path):
    hub.publish("openai/clip", clip)
    hub.publish("Qwen/tiny", language)
    model, processor = facekit.create(encoder="hf:openai/clip", connector="mlp", backbone="hf:Qwen/tiny", seed=0)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "saved")
    hub.close()
    assert_same(facekit.load(tmp_path / "saved")[0], model)
