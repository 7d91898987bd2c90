"""Vision-language models of other libraries as bases: loaded in their own class, asked, scored, evaluated, saved."""

from __future__ import annotations

import json
import re

import pytest
import torch
from foreign_checkpoints import byte_tokenizer
from safetensors.torch import load_file, save_file
from small_vlms import FAMILIES, RECURRENT, face_picture
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    CLIPImageProcessor,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
)

import facekit
from facekit.errors import CheckpointError, ConfigurationError
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.tasks.questions import Question
from facekit.models import Session
from facekit.models.interoperability.inspection import inspect_checkpoint
from facekit.models.interoperability.recognition import NATIVE_SETTINGS

QUESTIONS = [f"Question {number}{', and so on' * (number % 3)}?" for number in range(40)]


@pytest.fixture
def open_base(small_vlm, tmp_path):
    """Returns a family's own model and processor, and the same as facekit opens them; pictures are 64 px squares."""

    def build(family):
        own = small_vlm(family)
        model, processor = facekit.load(f"hf:{tmp_path / family}")
        processor.image_processor.image_size, processor.image_processor.landmarker = 64, None
        return own, model, processor

    return build


def answer_by_own_processor(model, processor, picture, question):
    content = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
    inputs = processor.apply_chat_template(
        [[{"role": "user", "content": content}]],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    tokens = model.generate(**inputs, max_new_tokens=2, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    return processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_forty_questions_are_answered_as_one_by_one_and_as_by_the_own_processor(family, open_base):
    (own, own_processor), model, processor = open_base(family)
    assert type(model.native) is type(own)
    picture = face_picture(1, 64, 64)
    together = facekit.ask(model, processor, picture, QUESTIONS, max_new_tokens=2)
    session = Session.open(model, processor, picture)
    assert [session.generate(question, max_new_tokens=2)[0] for question in QUESTIONS] == together
    for number in (0, 1, 2):
        assert answer_by_own_processor(own, own_processor, picture, QUESTIONS[number]) == together[number]
    assert len(set(together)) > 1
    assert facekit.ask(model, processor, face_picture(2, 64, 64), QUESTIONS, max_new_tokens=2) != together


@pytest.mark.parametrize("family", ["qwen2.5-vl", "gemma3"])
def test_several_pictures_and_none_are_asked_about(family, open_base):
    _, model, processor = open_base(family)
    pictures = [face_picture(number, 64, 64) for number in (1, 2)]
    both = facekit.ask(model, processor, pictures, QUESTIONS[:3], max_new_tokens=6)
    assert both == [facekit.ask(model, processor, pictures, each, max_new_tokens=6)[0] for each in QUESTIONS[:3]]
    assert both != facekit.ask(model, processor, pictures[::-1], QUESTIONS[:3], max_new_tokens=6)
    session = Session.of_media(model, processor, [])
    assert session.generate(QUESTIONS[:3], max_new_tokens=4) == [
        session.generate(each, max_new_tokens=4)[0] for each in QUESTIONS[:3]
    ]


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_evaluation_answers_in_batches_as_alone_and_scores_as_a_plain_forward(family, open_base, tmp_path):
    _, model, processor = open_base(family)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        face_picture(number, 64, 64).save(path)
    options = ("yes", "no", "I cannot say")
    questions = [
        Question(f"{path}{text}", text, (path,), max_new_tokens=4, options=options)
        for path in paths
        for text in ("Old?", "Is the picture genuine?")
    ]
    model_under_test = FaceKitModel(model, processor)
    together = dict(model_under_test.answer(questions))
    assert together == {index: dict(model_under_test.answer([each]))[0] for index, each in enumerate(questions)}
    scores = dict(model_under_test.score_options(questions))
    session = Session.open(model, processor, paths[1])
    prompt = session.write_prompt("Old?")
    ids = processor.tokenize([prompt])["input_ids"][0]
    for option in options:
        tokens = torch.tensor(session._option_tokens(prompt, option))
        with torch.inference_mode():
            whole = torch.cat([torch.tensor(ids), tokens])[None]
            features = session.media.features[0][None]
            logits = model(input_ids=whole, image_features=features).logits[0, len(ids) - 1 : -1]
        plain = float(logits.log_softmax(-1).gather(-1, tokens[:, None]).sum())
        assert scores[2][option] == pytest.approx(plain, abs=1e-5, rel=1e-5)


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_a_saved_base_is_one_of_its_class_again_with_the_same_logits(family, open_base, tmp_path):
    (own, _), model, processor = open_base(family)
    processor.image_processor.crop_margin = 0.25
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    again = AutoModelForImageTextToText.from_pretrained(folder)
    assert type(again) is type(own)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in own.state_dict().items())
    assert json.loads((folder / "config.json").read_text())["architectures"] == [type(own).__name__]
    reloaded, settings = facekit.load(folder)
    assert (settings.image_processor.crop_margin, settings.image_processor.image_size) == (0.25, 64)
    picture = face_picture(1, 64, 64)
    assert facekit.ask(reloaded, settings, picture, "Old?", max_new_tokens=6) == facekit.ask(
        model, processor, picture, "Old?", max_new_tokens=6
    )


def test_a_family_that_nobody_tested_is_asked_prompt_by_prompt_with_the_same_answers(open_base, monkeypatch):
    _, model, processor = open_base("qwen3-vl")
    picture = face_picture(1, 64, 64)
    shared = facekit.ask(model, processor, picture, QUESTIONS[:6], max_new_tokens=4)
    monkeypatch.setattr("facekit.models.native.inputs.CONTINUED", frozenset())
    seen = []
    model.encoder.register_forward_hook(lambda *_: seen.append(1))
    assert facekit.ask(model, processor, picture, QUESTIONS[:6], max_new_tokens=4, batch_size=3) == shared
    assert len(seen) == 2


def test_internvl_and_llava_without_the_prefix_are_composed_as_before(small_vlm, tmp_path):
    small_vlm("llava")
    model, _ = facekit.load(tmp_path / "llava")
    assert type(model).__name__ == "FaceKitForConditionalGeneration"
    assert not (tmp_path / "llava" / NATIVE_SETTINGS).exists()


def test_what_a_base_cannot_do_is_one_sentence(open_base, tmp_path):
    _, model, processor = open_base("qwen2-vl")
    picture = face_picture(1, 64, 64)
    with pytest.raises(ConfigurationError, match="is given pictures, not clips; give frames as a list of pictures"):
        facekit.ask(model, processor, facekit.faces.read_clip([picture] * 3), "Old?")
    with pytest.raises(ConfigurationError, match="answers a question once"):
        facekit.ask(model, processor, picture, "Old?", num_beams=2)
    with pytest.raises(ConfigurationError, match="leave device_map out"):
        facekit.load(f"hf:{tmp_path / 'qwen2-vl'}", device_map="auto")
    (tmp_path / "qwen2-vl" / "chat_template.jinja").unlink()
    with pytest.raises(ConfigurationError, match="Qwen2VLProcessor has no chat template"):
        facekit.load(tmp_path / "qwen2-vl")


def test_a_prompt_that_was_cut_within_a_picture_is_told(open_base):
    _, model, processor = open_base("qwen2-vl")
    ids = torch.full((1, processor.tokens_per_frame + 1), processor.image_token_id)
    with pytest.raises(ConfigurationError, match=rf"have {ids.shape[1]} image tokens, and a picture has"):
        model(input_ids=ids)


def test_another_tokenizer_that_does_not_fit_a_base_is_told(small_vlm, tmp_path):
    small_vlm("qwen2-vl")
    folder = tmp_path / "qwen2-vl"
    with pytest.raises(CheckpointError, match=r"the tokenizer in '.*nowhere' cannot be loaded"):
        facekit.load(folder, tokenizer=tmp_path / "nowhere")
    larger = AutoTokenizer.from_pretrained(folder)
    larger.add_tokens([f"<more{index}>" for index in range(2000)])
    larger.save_pretrained(tmp_path / "larger")
    with pytest.raises(CheckpointError, match="embeddings; name the one that it was trained with"):
        facekit.load(folder, tokenizer=tmp_path / "larger")
    larger = AutoTokenizer.from_pretrained(folder)
    larger.save_pretrained(tmp_path / "same")
    assert facekit.load(folder, tokenizer=tmp_path / "same")[1].tokenizer.name_or_path == str(tmp_path / "same")


def test_tensors_that_a_base_has_no_place_for_are_told(small_vlm, tmp_path, caplog):
    small_vlm("qwen2-vl")
    weights = load_file(tmp_path / "qwen2-vl" / "model.safetensors")
    name = next(name for name in weights if ".layers.0." in name)
    weights[name.replace(".layers.0.", ".layers.77.")] = weights[name].clone()
    save_file(weights, tmp_path / "qwen2-vl" / "model.safetensors", metadata={"format": "pt"})
    facekit.load(tmp_path / "qwen2-vl")
    assert re.search(
        r"has no place for 1 of the tensors in '.*', such as .*layers\.77\..*; they are left out", caplog.text
    )


def test_a_packed_base_is_inspected(small_vlm, tmp_path):
    pytest.importorskip("bitsandbytes")
    small_vlm("qwen2-vl")
    whole, packed = (inspect_checkpoint(tmp_path / "qwen2-vl", load_in=kind) for kind in (None, "4bit"))
    assert packed.num_bytes < whole.num_bytes


def test_a_folder_that_is_no_vision_language_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="nor a vision-language model that transformers reads by itself"):
        facekit.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "facekit"}')
    with pytest.raises(CheckpointError, match="leave 'hf:' out"):
        facekit.load(f"hf:{tmp_path}")


def test_damaged_weights_and_settings_are_named(open_base, tmp_path):
    _, model, processor = open_base("qwen2-vl")
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    (tmp_path / "saved" / NATIVE_SETTINGS).write_text('{"image_processor": {"num_frames": 0}}')
    with pytest.raises(CheckpointError, match=r"facekit_native\.json' cannot be read: num_frames is at least 1"):
        facekit.load(tmp_path / "saved")
    weights = tmp_path / "saved" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged or cut off"):
        facekit.load(tmp_path / "saved")


def test_a_family_without_image_tokens_is_refused_by_inspection_as_by_loading(tmp_path):
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = GitConfig(vision_config={**sizes, "image_size": 32, "patch_size": 16}, vocab_size=400, **sizes)
    GitForCausalLM(config).save_pretrained(tmp_path)
    words = byte_tokenizer(["<s>", "</s>", "<pad>"], bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    side = {"height": 32, "width": 32}
    GitProcessor(CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=side), words).save_pretrained(tmp_path)
    for use in (facekit.load, inspect_checkpoint):
        with pytest.raises(ConfigurationError, match="GitForCausalLM puts no image tokens among its words"):
            use(tmp_path)


@pytest.mark.parametrize(("pattern", "message"), [("*.safetensors", "has no weights"), ("tokenizer*", "no tokenizer")])
def test_a_base_that_was_copied_in_part_is_told_what_it_lacks(small_vlm, tmp_path, pattern, message):
    small_vlm("qwen2.5-vl")
    for path in (tmp_path / "qwen2.5-vl").glob(pattern):
        path.unlink()
    with pytest.raises(CheckpointError, match=message):
        facekit.load(f"hf:{tmp_path / 'qwen2.5-vl'}")


def test_region_maps_of_a_base_are_refused_by_its_own_projector(open_base):
    _, model, processor = open_base("qwen2.5-vl")
    with pytest.raises(ConfigurationError, match="the base's own projector has no region attention"):
        facekit.region_maps(model, processor, face_picture())
