"""LLaVA-1.5 and InternVL as transformers saves them: the same pixels, prompts and logits in the composed model."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import InternVLForConditionalGeneration, LlavaForConditionalGeneration

import facekit
from facekit.encoders.huggingface import HuggingFaceEncoder
from facekit.errors import CheckpointError

BOTH = ("llava", "internvl")
SIZES = [(32, 32), (64, 64), (48, 32), (31, 77), (200, 90), (20, 24)]


@pytest.fixture(scope="module")
def composed(foreign):
    return {name: facekit.load(each[0]) for name, each in foreign.items()}


def chat(question="How old?"):
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def theirs(processor, pictures, prompts):
    options = {"crop_to_patches": False} if "InternVL" in type(processor).__name__ else {}
    return processor(images=pictures, text=prompts, return_tensors="pt", padding=True, padding_side="left", **options)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_pixels_are_those_of_the_checkpoints_own_processor(name, size, foreign, composed, make_picture):
    picture = make_picture(*size)
    expected = theirs(foreign[name][2], [picture], [foreign[name][2].image_token])["pixel_values"]
    pixels = composed[name][1].image_processor(picture)["pixel_values"]
    assert torch.equal(pixels[:, 0], expected)


@pytest.mark.parametrize(("side", "tiles"), [(32, 1), (45, 1), (46, 5)])
def test_small_square_pictures_are_one_tile_in_transformers_too(side, tiles, internvl, composed, make_picture):
    picture = make_picture(side, side)
    expected = internvl[2](images=[picture], text=["<IMG_CONTEXT>"], return_tensors="pt")["pixel_values"]
    pixels = composed["internvl"][1].image_processor(picture)["pixel_values"]
    assert len(expected) == tiles
    assert torch.equal(pixels[:, 0], expected[-1:])  # of several tiles the last one is the whole picture


@pytest.mark.parametrize("name", BOTH)
def test_prompts_and_logits_are_those_of_transformers(name, foreign, composed, make_picture):
    _, model, processor = foreign[name]
    ours, our_processor = composed[name]
    pictures = [make_picture(50, 40), make_picture(33, 90, seed=1)]
    chats = [chat(), chat("Which expression does this face show?")]
    prompts = [processor.apply_chat_template(each, add_generation_prompt=True) for each in chats]
    expected_inputs = theirs(processor, pictures, prompts)
    inputs = our_processor(images=pictures, text=chats, landmarks=[None, None])
    assert torch.equal(inputs["input_ids"], expected_inputs["input_ids"])
    assert torch.equal(inputs["attention_mask"], expected_inputs["attention_mask"])
    with torch.no_grad():
        expected = model(
            **{key: expected_inputs[key] for key in ("input_ids", "attention_mask", "pixel_values")}
        ).logits
        logits = ours(**inputs).logits
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(logits[real], expected[real], rtol=0, atol=1e-4)
    assert float(logits[real].std()) > 0.1


@pytest.mark.parametrize("name", BOTH)
def test_the_picture_moves_the_logits(name, composed, make_picture):
    model, processor = composed[name]
    inputs = [processor(images=make_picture(32, 32, seed), text=chat(), landmarks=[None]) for seed in (0, 1)]
    with torch.no_grad():
        first, second = (model(**each).logits[:, -1] for each in inputs)
    assert float((first - second).abs().max()) > 1e-3


@pytest.mark.parametrize("name", BOTH)
def test_answers_are_those_of_transformers(name, foreign, composed, make_picture):
    _, model, processor = foreign[name]
    ours, our_processor = composed[name]
    picture = make_picture(32, 32)
    prompt = processor.apply_chat_template(chat(), add_generation_prompt=True)
    inputs = theirs(processor, [picture], [prompt])
    settings = {"max_new_tokens": 6, "do_sample": False}
    kept = {key: inputs[key] for key in ("input_ids", "attention_mask", "pixel_values")}
    tokens = model.generate(**kept, **settings, suppress_tokens=[our_processor.image_token_id], pad_token_id=0)
    expected = processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert facekit.ask(ours, our_processor, picture, "How old?", max_new_tokens=6) == [expected.strip()]


def test_a_loaded_llava_has_facekits_parts(composed):
    model, processor = composed["llava"]
    assert isinstance(model.encoder, HuggingFaceEncoder)
    assert (len(model.encoder.model.encoder.layers), len(model.encoder.unused_layers)) == (2, 1)
    assert model.config.connector["name"] == "mlp"
    assert model.config.text_config.model_type == "llama"
    assert model.tokens_per_frame == processor.tokens_per_frame == 16
    assert processor.image_processor.landmarker is None


def test_a_loaded_internvl_has_facekits_parts(composed):
    model, processor = composed["internvl"]
    assert model.config.encoder["vision_config"]["model_type"] == "internvl_vision"
    assert len(model.encoder.unused_layers) == 0
    assert model.config.connector == {"name": "pixel-shuffle", "input_width": 32, "output_width": 32, "factor": 2}
    assert model.config.text_config.model_type == "qwen2"
    assert model.tokens_per_frame == 4
    assert processor.image_token == "<IMG_CONTEXT>"


@pytest.mark.parametrize("name", BOTH)
def test_saved_as_facekits_own_it_stays_the_same(name, composed, make_picture, tmp_path):
    model, processor = composed[name]
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again, again_processor = facekit.load(tmp_path)
    given = {"images": make_picture(50, 40), "text": chat(), "landmarks": [None]}
    inputs, again_inputs = processor(**given), again_processor(**given)
    assert torch.equal(inputs["pixel_values"], again_inputs["pixel_values"])
    assert torch.equal(inputs["input_ids"], again_inputs["input_ids"])
    with torch.no_grad():
        torch.testing.assert_close(again(**again_inputs).logits, model(**inputs).logits)


@pytest.mark.parametrize("name", BOTH)
def test_both_habits_of_naming_tensors_are_read(name, foreign, composed, tmp_path):
    target = shutil.copytree(foreign[name][0], tmp_path / "named")
    weights = load_file(target / "model.safetensors")
    newer = {}
    for key, value in weights.items():
        key = key.replace("language_model.lm_head.", "lm_head.").replace(
            "language_model.model.", "model.language_model."
        )
        key = key.replace(
            "vision_tower.", "model.vision_tower.vision_model." if name == "llava" else "model.vision_tower."
        )
        newer[key.replace("multi_modal_projector.", "model.multi_modal_projector.")] = value
    save_file(newer, target / "model.safetensors", metadata={"format": "pt"})
    model, _ = facekit.load(target)
    expected = composed[name][0].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("tied", [True, False])
def test_the_head_is_tied_where_the_checkpoint_ties_it(name, tied, save_tiny, tmp_path):
    save_tiny[name](tmp_path, tie_word_embeddings=tied)
    kind = LlavaForConditionalGeneration if name == "llava" else InternVLForConditionalGeneration
    theirs_again = kind.from_pretrained(tmp_path).eval()
    model, _ = facekit.load(tmp_path)
    ids = torch.arange(10, 30).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, theirs_again(input_ids=ids).logits, rtol=0, atol=1e-4)
    shared = model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert shared is tied


def test_a_siglip_tower_is_read_whole(save_tiny, tmp_path, make_picture):
    theirs_model, _ = save_tiny["llava"](
        tmp_path, tower="siglip_vision_model", vision_feature_select_strategy="full", vision_feature_layer=-1
    )
    model, processor = facekit.load(tmp_path)
    inputs = processor(images=make_picture(32, 32), text=chat(), landmarks=[None])
    with torch.no_grad():
        expected = theirs_model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"][:, 0]).logits
        torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=1e-4)


def test_a_floating_type_can_be_chosen(foreign):
    model, _ = facekit.load(foreign["internvl"][0], dtype="bfloat16")
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}


def test_a_checkpoint_without_processor_files_still_loads(foreign, tmp_path):
    target = shutil.copytree(foreign["llava"][0], tmp_path / "bare")
    for path in target.iterdir():
        if path.name not in ("config.json", "generation_config.json", "model.safetensors"):
            path.unlink()
    model, processor = facekit.load(target)
    assert processor.image_token_id == model.config.image_token_id == 4
    assert processor.tokenizer("<17>")["input_ids"] == [17]


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("llava", {"vision_feature_layer": [-2, -1]}, "joins the vision layers"),
        ("llava", {"vision_feature_layer": -9}, "reads vision layer -9"),
        ("llava", {"projector_hidden_act": "relu"}, "has 'relu' in its projector"),
        ("llava", {"multimodal_projector_bias": False}, "has a projector without biases"),
        ("internvl", {"downsample_ratio": 0.3}, "is not one over a whole number"),
        ("internvl", {"vision_feature_select_strategy": "full"}, "keeps the class token"),
    ],
)
def test_what_facekit_has_no_part_for_is_refused_by_name(name, changes, words, foreign, tmp_path):
    target = shutil.copytree(foreign[name][0], tmp_path / "changed")
    path = target / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CheckpointError) as caught:
        facekit.load(target)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_damaged_weights_are_told(foreign, tmp_path):
    target = shutil.copytree(foreign["llava"][0], tmp_path / "cut")
    path = target / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CheckpointError, match="damaged or cut off"):
        facekit.load(target)
    path.unlink()
    with pytest.raises(CheckpointError, match="has no weights"):
        facekit.load(target)
