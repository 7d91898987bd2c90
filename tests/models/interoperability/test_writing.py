"""Writing back: bit for bit what was read, loadable by transformers, in shards, with adapters merged, or refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    InternVLForConditionalGeneration,
    LlavaForConditionalGeneration,
)

import facekit
from facekit.errors import CheckpointError, ConfigurationError
from facekit.models.interoperability import export, weights

CLASSES = {"llava": LlavaForConditionalGeneration, "internvl": InternVLForConditionalGeneration}
BOTH = tuple(CLASSES)
CHAT = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How old?"}]}]


def read_all(folder):
    merged = {}
    for path in sorted(folder.glob("*.safetensors")):
        merged |= load_file(path)
    return merged


def add_lora(model, targets):
    """LoRA with weights that matter, on a composed model, in place."""
    inject_adapter_in_model(LoraConfig(r=2, lora_alpha=8, target_modules=targets), model)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    return model.eval()


def as_published(path):
    """A checkpoint's tensors; some versions of transformers leave ``vision_model.`` out, which LLaVA's authors have."""
    tensors = load_file(path / "model.safetensors")
    if json.loads((path / "config.json").read_text())["model_type"] != "llava":
        return tensors
    return {
        name if ".vision_model." in name else name.replace("vision_tower.", "vision_tower.vision_model."): value
        for name, value in tensors.items()
    }


@pytest.mark.parametrize("name", BOTH)
def test_what_was_read_comes_back_bit_for_bit(name, foreign, tmp_path):
    folder, theirs, _ = foreign[name]
    model, processor = facekit.load(folder)
    export(model, processor, tmp_path / "out", f"{name}-hf")
    original, written = as_published(folder), read_all(tmp_path / "out")
    assert written.keys() == original.keys()
    assert all(
        torch.equal(written[key], original[key]) and written[key].dtype == original[key].dtype for key in original
    )
    again, report = CLASSES[name].from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    expected = theirs.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in again.state_dict().items())


@pytest.mark.parametrize("name", BOTH)
def test_what_was_written_answers_as_before_in_transformers(name, foreign, make_picture, tmp_path):
    folder, theirs, their_processor = foreign[name]
    export(*facekit.load(folder), tmp_path / "out", f"{name}-hf")
    again = CLASSES[name].from_pretrained(tmp_path / "out").eval()
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert type(processor) is type(their_processor)
    assert processor.chat_template == their_processor.chat_template
    picture = make_picture(50, 40)
    prompt = processor.apply_chat_template(CHAT, add_generation_prompt=True)
    options = {"crop_to_patches": False} if name == "internvl" else {}
    given = {"images": [picture], "text": [prompt], "return_tensors": "pt", **options}
    inputs, expected = processor(**given), their_processor(**given)
    assert torch.equal(inputs["input_ids"], expected["input_ids"])
    assert torch.equal(inputs["pixel_values"], expected["pixel_values"])
    kept = {key: inputs[key] for key in ("input_ids", "pixel_values")}
    with torch.no_grad():
        assert torch.equal(again(**kept).logits, theirs(**kept).logits)


@pytest.mark.parametrize("name", BOTH)
def test_the_way_through_facekits_own_format_loses_nothing(name, foreign, tmp_path):
    folder = foreign[name][0]
    export(*facekit.load(folder), tmp_path / "own", "facekit")
    assert facekit.load(tmp_path / "own")[1].image_processor.landmarker is None
    export(*facekit.load(tmp_path / "own"), tmp_path / "out", f"{name}-hf")
    original, written = as_published(folder), read_all(tmp_path / "out")
    assert written.keys() == original.keys()
    assert all(torch.equal(written[key], original[key]) for key in original)


def test_shards_are_written_and_read_and_no_more_than_one_is_held(foreign, tmp_path, monkeypatch):
    folder = foreign["llava"][0]
    model, processor = facekit.load(folder)
    written = []

    def count(tensors, path, **options):
        written.append(sum(value.numel() * value.element_size() for value in tensors.values()))
        return save(tensors, path, **options)

    save, limit = weights.save_file, 20_000
    monkeypatch.setattr(weights, "save_file", count)
    out = export(model, processor, tmp_path / "out", "llava-hf", max_shard_size=limit)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    largest = max(value.numel() * 4 for value in model.state_dict().values())
    assert len(written) == len(list(out.glob("model-*.safetensors"))) > 5
    assert max(written) <= max(limit, largest)
    assert index["metadata"]["total_size"] == sum(written)
    original = as_published(folder)
    assert index["weight_map"].keys() == original.keys()
    assert all(torch.equal(value, original[key]) for key, value in read_all(out).items())
    again, _ = facekit.load(out)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())
    CLASSES["llava"].from_pretrained(out)


@pytest.mark.parametrize("name", BOTH)
def test_the_language_model_alone_takes_prompt_embeddings(name, foreign, make_picture, tmp_path):
    model, processor = facekit.load(foreign[name][0])
    export(model, processor, tmp_path / "text", "language-model")
    language_model = AutoModelForCausalLM.from_pretrained(tmp_path / "text").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "text")
    assert tokenizer("How old?")["input_ids"] == processor.tokenizer("How old?")["input_ids"]
    inputs = processor(images=make_picture(32, 32), text=CHAT, landmarks=[None])
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"])
        embeddings = model.get_input_embeddings()(inputs["input_ids"])
        embeddings[inputs["input_ids"] == model.config.image_token_id] = features.flatten(0, 1)
        alone = language_model(inputs_embeds=embeddings).logits
        torch.testing.assert_close(alone, model(**inputs).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BOTH)
def test_lora_is_merged_into_what_is_written_and_the_model_keeps_its_own(name, foreign, make_picture, tmp_path):
    model, processor = facekit.load(foreign[name][0])
    inputs = processor(images=make_picture(32, 32), text=CHAT, landmarks=[None])
    with torch.no_grad():
        before = model(**inputs).logits
        add_lora(model, ["q_proj", "down_proj"])
        expected = model(**inputs).logits
    assert float((expected - before).abs().max()) > 1e-2
    with pytest.raises(ConfigurationError, match="has adapters"):
        export(model, processor, tmp_path / "none", f"{name}-hf")
    for format in ("facekit", f"{name}-hf"):
        export(model, processor, tmp_path / format, format, merge_lora=True)
        merged, _ = facekit.load(tmp_path / format)
        with torch.no_grad():
            torch.testing.assert_close(merged(**inputs).logits, expected, rtol=0, atol=1e-4)
    CLASSES[name].from_pretrained(tmp_path / f"{name}-hf")
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, expected)


def test_an_adapter_trained_on_internvl_itself_loads_beside_its_base(foreign, make_picture, tmp_path):
    folder, _, _ = foreign["internvl"]
    theirs = InternVLForConditionalGeneration.from_pretrained(folder)
    trained = get_peft_model(theirs, LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj", "fc1", "linear_1"]))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for key, value in trained.named_parameters():
            if "lora_B" in key:
                value.copy_(0.3 * torch.randn(value.shape, generator=generator))
    trained.eval().save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(folder)}))
    model, processor = facekit.load(tmp_path / "adapter")
    inputs = processor(images=make_picture(32, 32), text=CHAT, landmarks=[None])
    with torch.no_grad():
        expected = trained(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"][:, 0]).logits
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=1e-4)
    export(model, processor, tmp_path / "merged", "internvl-hf", merge_lora=True)
    merged = InternVLForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        logits = merged(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"][:, 0]).logits
        torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_an_adapter_on_facekits_own_model_loads_beside_its_base(tmp_path, make_picture):
    parts = {
        "encoder": "tiny?image_size=48&width=32&depth=1",
        "connector": "mlp",
        "backbone": "tiny?width=48&heads=4&depth=1",
    }
    model, processor = facekit.create(**parts, seed=0)
    export(model, processor, tmp_path / "base", "facekit")
    trained = get_peft_model(model, LoraConfig(r=2, target_modules=["v_proj"], modules_to_save=["connector"]))
    with torch.no_grad():
        for key, value in trained.named_parameters():
            if "lora_B" in key or "modules_to_save" in key:
                value.add_(0.1)
    trained.eval().save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": "base"}))
    again, _ = facekit.load(tmp_path / "adapter")
    export(trained, processor, tmp_path / "merged", "facekit", merge_lora=True)
    merged, _ = facekit.load(tmp_path / "merged")
    inputs = processor(images=make_picture(48, 48), text=CHAT, landmarks=[None])
    with torch.no_grad():
        expected = trained(**inputs).logits
        torch.testing.assert_close(again(**inputs).logits, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(merged(**inputs).logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BOTH)
def test_an_adapter_of_the_language_model_alone_finds_its_place(name, foreign, make_picture, tmp_path):
    folder = foreign[name][0]
    model, processor = facekit.load(folder)
    trained = get_peft_model(model.language_model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    trained.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(folder)}))
    again, _ = facekit.load(tmp_path / "adapter")
    inputs = processor(images=make_picture(32, 32), text=CHAT, landmarks=[None])
    with torch.no_grad():
        torch.testing.assert_close(again(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-5)


def test_an_adapter_that_adapts_what_is_not_there_is_refused(foreign, tmp_path):
    folder = foreign["llava"][0]
    other = facekit.load(foreign["internvl"][0])[0]
    trained = get_peft_model(other.encoder, LoraConfig(r=2, target_modules=["q_proj"]))
    trained.save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": str(folder)}))
    with pytest.raises(CheckpointError, match="which the model does not have"):
        facekit.load(tmp_path)


def test_a_composition_of_named_parts_can_be_written_as_llava(foreign, make_picture, tmp_path):
    llava = foreign["llava"][0]
    export(*facekit.load(llava), tmp_path / "text", "language-model")
    theirs = LlavaForConditionalGeneration.from_pretrained(llava)
    theirs.model.vision_tower.save_pretrained(tmp_path / "tower")
    model, processor = facekit.create(
        encoder=f"hf:{tmp_path / 'tower'}",
        connector="mlp",
        backbone=f"hf:{tmp_path / 'text'}?chat_template=vicuna",
        seed=0,
    )
    export(model, processor, tmp_path / "out", "llava-hf")
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    tower = {name for name in names if name.startswith("vision_tower.")}
    assert tower
    assert all(name.startswith("vision_tower.vision_model.") for name in tower), "as published, and as vLLM wants it"
    again = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out").eval()
    inputs = processor(images=make_picture(32, 32), text=CHAT, landmarks=[None])
    with torch.no_grad():
        logits = again(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"][:, 0]).logits
        torch.testing.assert_close(logits, model(**inputs).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("parts", "format", "words"),
    [
        ({}, "llava-hf", "the encoder is 'tiny', where LLaVA has clip_vision_model or siglip_vision_model"),
        ({}, "internvl-hf", "the encoder is 'tiny', where InternVL has internvl_vision"),
        ({"encoder": "hf", "connector": "region"}, "llava-hf", "LLaVA cannot hold the connector 'region'"),
        ({"encoder": "hf", "connector": "mlp?depth=3"}, "llava-hf", "two linear layers, this one 3"),
        (
            {"encoder": "hf", "connector": "pixel-shuffle"},
            "internvl-hf",
            "'hf' with 'clip_vision_model', where InternVL",
        ),
    ],
)
def test_a_composition_that_is_none_of_theirs_is_refused_with_the_reason(parts, format, words, foreign, tmp_path):
    tower = foreign["llava"][1].model.vision_tower
    tower.save_pretrained(tmp_path / "tower")
    chosen = {
        "encoder": "tiny?image_size=48&width=32&depth=1",
        "connector": "mlp",
        "backbone": "tiny?width=48&heads=4&depth=1",
    }
    chosen |= parts
    if chosen["encoder"] == "hf":
        chosen["encoder"] = f"hf:{tmp_path / 'tower'}"
    model, processor = facekit.create(**chosen, seed=0)
    with pytest.raises(ConfigurationError) as caught:
        export(model, processor, tmp_path / "out", format)
    assert words in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unknown_format_a_size_and_a_folder_in_use_are_refused(foreign, tmp_path):
    model, processor = facekit.load(foreign["llava"][0])
    with pytest.raises(ConfigurationError, match="no export format 'mlx'; choose one of facekit"):
        export(model, processor, tmp_path, "mlx")
    with pytest.raises(ConfigurationError, match="this tokenizer has no merges of them"):
        export(model, processor, tmp_path, "gguf")
    with pytest.raises(ConfigurationError, match="a shard size is"):
        export(model, processor, tmp_path, "facekit", max_shard_size="many")
    with pytest.raises(ConfigurationError, match="holds a checkpoint already"):
        export(model, processor, foreign["llava"][0], "llava-hf")


@pytest.mark.parametrize("format", ["facekit", "language-model", "llava-hf"])
def test_a_model_that_was_given_another_floating_type_says_so_where_it_is_written(format, foreign, tmp_path):
    model, processor = facekit.load(foreign["llava"][0])
    out = export(model.to(torch.bfloat16), processor, tmp_path / "out", format)
    config = json.loads((out / "config.json").read_text())
    assert {config["dtype"], config.get("text_config", config)["dtype"]} == {"bfloat16"}
    if format != "language-model":
        assert facekit.load(out)[0].dtype is torch.bfloat16


def test_an_export_that_fails_leaves_nothing(foreign, tmp_path, monkeypatch):
    model, processor = facekit.load(foreign["llava"][0])

    def fail(folder, **options):
        (folder / "half").mkdir()
        (folder / "half" / "tokenizer.json").write_text("{")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(processor), "save_pretrained", lambda self, folder, **options: fail(folder))
    with pytest.raises(OSError, match="No space left"):
        export(model, processor, tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_tokens_that_a_checkpoint_suppresses_stay_suppressed(foreign, tmp_path):
    shutil.copytree(foreign["llava"][0], tmp_path / "base")
    (tmp_path / "base" / "generation_config.json").write_text(json.dumps({"suppress_tokens": [9, 7]}))
    model, processor = facekit.load(tmp_path / "base")
    assert set(model.generation_config.suppress_tokens) == {7, 9, model.config.image_token_id}
    out = export(model, processor, tmp_path / "out", "llava-hf")
    assert json.loads((out / "generation_config.json").read_text())["suppress_tokens"] == [7, 9]
    other = facekit.create(encoder="tiny", connector="mlp", backbone=f"hf:{save_text(model, processor, tmp_path)}")[0]
    assert set(other.generation_config.suppress_tokens) == {7, 9, other.config.image_token_id}


def save_text(model, processor, folder):
    return export(model, processor, folder / "text", "language-model")
