"""Bases in their own class are trained: packed questions equal single ones, and what is saved others load alone."""

from __future__ import annotations

import copy
import json
import shutil
from contextlib import nullcontext

import peft
import pytest
import torch
from safetensors.torch import load_file
from small_vlms import FAMILIES, RECURRENT, save_small_vlm
from torch.nn import functional as F
from transformers import AutoModelForImageTextToText, AutoProcessor

import facekit
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.records import FaceRecord, Turn
from facekit.data.supervision import encode_conversation
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.models.interoperability import export
from facekit.models.interoperability.recognition import NATIVE_SETTINGS
from facekit.models.memory import ModelShape
from facekit.models.native.modeling import as_picture
from facekit.models.native.region import REGION_FOLDER, build_region
from facekit.spec import PartSpec
from facekit.training import TrainingSettings, train
from facekit.training.loop.losses import find_targets, supervised_loss
from facekit.training.loop.prefix_attention import packed_inputs, split_attention
from facekit.training.trainable.parts import list_trained_parts, trainable_parts
from facekit.training.watching.run_report import find_origins
from facekit.training.watching.validation_loss import LossValidation

LORA = {"parts": ("language_model.lora",), "lora": {"rank": 4, "alpha": 8, "dropout": 0.0}}
REGION, WITH_REGION = "region?num_heads=4", ("qwen2.5-vl", "internvl", "gemma3")
QUICK = {"batch_size": 2, "steps": 3, "independent_turns": True, "turns_per_example": 3, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 4, seed=7, image_size=64))


@pytest.fixture
def open_base(tmp_path):
    """Returns model and processor of a family as facekit opens them; pictures are 64 px squares."""

    def build(family, connector=None):
        save_small_vlm(family, tmp_path / family)
        model, processor = facekit.load(f"hf:{tmp_path / family}")
        if connector is not None:
            torch.manual_seed(5)
            model.add_region(build_region(model.native, PartSpec.parse(connector)))
        processor.image_processor.image_size, processor.image_processor.landmarker = 64, None
        return model, processor

    return build


def gradients(model):
    found = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return found


def train_on_packed(model, batch, *, split):
    inputs = dict(batch)
    segments = inputs.pop("segments")
    targets = find_targets(inputs.pop("labels"), segments)
    blocks = model.image_blocks(inputs["input_ids"])
    with split_attention(model.language_model) if split else nullcontext():
        text_config = model.config.get_text_config()
        inputs.update(packed_inputs(segments, inputs["position_ids"], text_config, blocks=blocks))
        loss = supervised_loss(model, model.get_output_embeddings(), inputs, targets)
        loss.backward()
    return float(loss.detach()), gradients(model), len(targets.labels)


def train_on_single(model, processor, examples, questions, count):
    """The same loss, one question with its answer after the other, as nobody would pack them."""
    total = 0.0
    for example, turns in zip(examples, questions, strict=True):
        for start in range(0, len(turns), 2):
            tokens = encode_conversation(processor, turns[start : start + 2])
            ids, labels = torch.tensor([tokens.input_ids]), torch.tensor(tokens.labels)
            media = {"pixel_values": example.pixel_values[None], "landmarks": example.landmarks[None]}
            logits = model(input_ids=ids, **media).logits[0]
            loss = F.cross_entropy(logits[:-1], labels[1:], ignore_index=-100, reduction="sum") / count
            loss.backward()
            total += float(loss.detach())
    return total, gradients(model)


@pytest.mark.parametrize(
    ("family", "connector"), [*((family, None) for family in FAMILIES), *((family, REGION) for family in WITH_REGION)]
)
def test_packed_questions_have_loss_and_gradients_of_a_plain_loop(family, connector, open_base, records):
    model, processor = open_base(family, connector)
    if connector is not None:
        with torch.no_grad():
            model.region.cross_attention.gain.fill_(1.0)
    options = DatasetOptions(independent_turns=True, shuffle_turns=False, turns_per_example=4)
    dataset = FaceDataset(records.select([0, 1]), processor, options)
    examples = [dataset[index] for index in range(2)]
    batch = FaceCollator(0, row_tokens=100_000)(examples)
    assert len(batch["input_ids"]) == 1
    questions = [record.conversations[:8] for record in dataset.records.records]
    packed, of_packed, count = train_on_packed(model, batch, split=True)
    masked, of_masked, _ = train_on_packed(model, batch, split=False)
    single, of_single = train_on_single(model, processor, examples, questions, count)
    assert packed == pytest.approx(single, abs=1e-5)
    assert masked == pytest.approx(single, abs=1e-5)
    assert connector is None or of_single["connector.region.landmark_projector.global_projection.0.weight"].any()
    largest = max(float(value.abs().max()) for value in of_single.values())
    for name, value in of_single.items():
        scale = max(float(value.abs().max()), 1e-4 * largest)  # a key's bias moves no softmax: its gradient is noise
        assert (of_packed[name] - value).abs().max() <= 1e-3 * scale, name
        assert (of_masked[name] - value).abs().max() <= 1e-3 * scale, name


@pytest.mark.parametrize(("family", "connector"), [*((family, None) for family in FAMILIES), ("internvl", REGION)])
def test_three_steps_on_packed_questions_go_as_three_steps_of_a_plain_loop(family, connector, open_base, records):
    model, processor = open_base(family, connector)
    plain = copy.deepcopy(model)
    options = DatasetOptions(independent_turns=True, shuffle_turns=False, turns_per_example=2)
    dataset = FaceDataset(records.select([0]), processor, options)
    batch = FaceCollator(0, row_tokens=100_000)([dataset[0]])
    questions = [dataset.records.records[0].conversations[:4]]
    losses = []
    for _ in range(3):
        packed, of_packed, count = train_on_packed(model, batch, split=True)
        single, of_single = train_on_single(plain, processor, [dataset[0]], questions, count)
        losses.append((packed, single))
        for each, found in ((model, of_packed), (plain, of_single)):
            norm = torch.stack([value.norm() for value in found.values()]).norm()
            with torch.no_grad():
                for name, value in each.named_parameters():
                    if name in found:
                        value.sub_(0.1 * found[name] / norm)
    assert all(packed == pytest.approx(single, abs=1e-5) for packed, single in losses)
    assert losses[0][0] - losses[2][0] > 0.05


@pytest.mark.parametrize("family", ["qwen2.5-vl", "gemma3", "idefics3"])
def test_packed_questions_about_two_pictures_have_the_loss_of_a_plain_loop(family, open_base, records):
    model, processor = open_base(family)
    words = [("user", "The same?"), ("assistant", "No."), ("user", "Who is older?"), ("assistant", "The first one.")]
    turns = [Turn(role=role, content=content) for role, content in words]
    pictures = [record.image for record in records.records]
    pairs = [
        FaceRecord(id=f"pair-{start}", images=pictures[start : start + 2], conversations=turns,
                   independent_questions=True)
        for start in (0, 2)
    ]  # fmt: skip
    dataset = FaceDataset(
        RecordSet(tuple(pairs), records.folder), processor, DatasetOptions(independent_turns=True, shuffle_turns=False)
    )
    examples = [dataset[index] for index in range(2)]
    packed, _, count = train_on_packed(model, FaceCollator(0, row_tokens=100_000)(examples), split=True)
    total = 0.0
    for example in examples:
        for start in (0, 2):
            tokens = encode_conversation(processor, turns[start : start + 2], frames=(1, 1))
            with torch.inference_mode():
                logits = model(torch.tensor([tokens.input_ids]), pixel_values=example.pixel_values[:, None]).logits[0]
            labels = torch.tensor(tokens.labels)[1:]
            total += float(F.cross_entropy(logits[:-1], labels, ignore_index=-100, reduction="sum")) / count
    assert packed == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_learned_is_the_answer_and_its_end_after_the_own_processors_prompt(family, open_base, records):
    model, processor = open_base(family)
    picture, (question, answer) = FaceDataset(records, processor)[0].pixel_values, records.records[0].conversations[:2]
    tokens = encode_conversation(processor, [question, answer])
    learned = [token for token in tokens.labels if token != -100]
    words = processor.tokenizer.decode(learned)
    assert words.strip().startswith(answer.content[:12])
    assert learned[-1] == processor.tokenizer.eos_token_id or family in ("llava", "llava-next")  # they write no end
    content = [{"type": "image", "image": as_picture(picture[0])}, {"type": "text", "text": question.content}]
    own = processor.native.apply_chat_template(
        [[{"role": "user", "content": content}]], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    prompt = list(own["input_ids"][0])
    assert tokens.input_ids[: len(prompt)] == prompt
    assert set(tokens.labels[: len(prompt) - 1]) == {-100}
    assert model.count_visual_tokens(1) == tokens.input_ids.count(model.config.image_token_id)


@pytest.mark.parametrize("family", [*FAMILIES, *RECURRENT])
def test_adapters_load_over_the_base_by_peft_alone_and_merged_by_transformers_alone(
    family, open_base, records, tmp_path
):
    model, processor = open_base(family)
    settings = TrainingSettings(**LORA, **{**QUICK, "independent_turns": family in FAMILIES})
    train(model, processor, records, tmp_path / "run", settings)
    batch = FaceCollator(0)([FaceDataset(records, processor)[0]])
    # Logits in double precision: merging rounds the weights to float32, and nothing else may tell the models apart.
    inputs = {"input_ids": batch["input_ids"], "pixel_values": batch["pixel_values"].double()}
    arguments = {"input_ids": inputs["input_ids"], **model._picture_inputs(inputs["pixel_values"])}
    arguments |= model._token_types(inputs["input_ids"])
    with torch.inference_mode():
        trained = model.double()(**inputs).logits
        base = AutoModelForImageTextToText.from_pretrained(tmp_path / family).eval()
        before = base.double()(**arguments).logits
        base = AutoModelForImageTextToText.from_pretrained(tmp_path / family).eval()
        adapted_model = peft.PeftModel.from_pretrained(base, tmp_path / "run" / "adapter").eval()
        adapted = adapted_model.double()(**arguments).logits
        merged_model = AutoModelForImageTextToText.from_pretrained(tmp_path / "run").eval()
        merged = merged_model.double()(**arguments).logits
        by_facekit = [facekit.load(tmp_path / "run" / each)[0].double()(**inputs).logits for each in ("", "adapter")]
    assert type(merged_model).__name__ == type(model.native).__name__
    assert (trained - before).abs().max() > 1e-3
    close = 1e-5 if family in FAMILIES else 1e-3  # a recurrence carries its rounding along
    for found in (adapted, merged, *by_facekit):
        assert torch.allclose(found, trained, atol=close, rtol=close)
    AutoProcessor.from_pretrained(tmp_path / "run")
    assert (tmp_path / "run" / "adapter" / NATIVE_SETTINGS).is_file()
    names = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert all("lora_" in name and "vision" not in name and "visual" not in name for name in names)


@pytest.mark.parametrize("family", WITH_REGION)
def test_region_attention_learns_beside_adapters_and_lies_beside_what_peft_and_transformers_load(
    family, open_base, records, tmp_path, caplog
):
    model, processor = open_base(family, REGION)
    before = {name: value.clone() for name, value in model.named_parameters()}
    parts = ("language_model.lora", "connector.region")
    losses = LossValidation(records, tmp_path / "losses.jsonl", every=4)
    settings = TrainingSettings(
        **{**LORA, "parts": parts, **QUICK, "steps": 8, "learning_rate": 5e-3, "gradient_checkpointing": True}
    )
    train(model, processor, records, tmp_path / "run", settings, callbacks=[losses])
    assert losses.points[-1].loss < losses.points[0].loss
    assert [(each.kind, each.name) for each in find_origins(model)] == [
        ("base", type(model.native).__name__),
        ("connector", "region"),
    ]
    learned = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert any(name.startswith("connector.region.landmark_projector.") for name in learned)
    assert all(name.startswith(("connector.region.", "language_model.")) for name in learned)
    example = FaceDataset(records, processor)[0]
    batch = FaceCollator(0)([example])
    inputs = {name: batch[name] for name in ("input_ids", "pixel_values")}
    arguments = {"input_ids": batch["input_ids"], **model._picture_inputs(batch["pixel_values"])}
    arguments |= model._token_types(batch["input_ids"])
    with torch.inference_mode():
        seen, blind = model(**inputs, landmarks=batch["landmarks"]).logits, model(**inputs).logits
        for each in ("", "adapter"):
            again, _ = facekit.load(tmp_path / "run" / each)
            assert "outside the language model" not in caplog.text
            assert torch.allclose(again(**inputs, landmarks=batch["landmarks"]).logits, seen, atol=1e-5)
        base = AutoModelForImageTextToText.from_pretrained(tmp_path / family).eval()
        adapted = peft.PeftModel.from_pretrained(base, tmp_path / "run" / "adapter").eval()(**arguments).logits
        merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "run").eval()(**arguments).logits
    assert (seen - blind).abs().max() > 1e-4
    assert torch.allclose(adapted, blind, atol=1e-5)
    assert torch.allclose(merged, blind, atol=1e-5)
    assert all("lora_" in name for name in load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors"))


def test_a_model_without_region_attention_leaves_none_of_an_earlier_one_in_its_folder(open_base, records, tmp_path):
    settings = TrainingSettings(**LORA, **{**QUICK, "steps": 1})
    train(*open_base("qwen2-vl", REGION), records, tmp_path / "run", settings)
    folders = [tmp_path / "run" / each / REGION_FOLDER for each in ("", "adapter")]
    assert all((folder / "connector.safetensors").is_file() for folder in folders)
    shutil.rmtree(tmp_path / "run" / "training" / "checkpoint-1")
    train(*open_base("qwen2-vl"), records, tmp_path / "run", settings)
    assert not any(path.is_file() for folder in folders for path in folder.rglob("*"))


def test_a_run_with_region_attention_in_mixed_precision_is_resumed_as_if_it_had_not_stopped(
    open_base, records, tmp_path
):
    settings = TrainingSettings(
        parts=("connector.region",), save_every=2, **{**QUICK, "steps": 4}, precision="bfloat16"
    )
    model, processor = open_base("internvl", REGION)
    model.to(torch.bfloat16)
    train(model, processor, records, tmp_path / "run", settings)
    expected = {name: value.clone() for name, value in model.named_parameters()}
    last = tmp_path / "run" / "training" / "checkpoint-4"
    shutil.rmtree(last)
    again, processor = open_base("internvl", REGION)
    again.to(torch.bfloat16)
    assert train(again, processor, records, tmp_path / "run", settings, resume=True).resumed_from == 2
    assert all(torch.equal(value, expected[name]) for name, value in again.named_parameters())
    assert expected["connector.region.cross_attention.gain"].any()


def test_a_run_is_resumed_with_the_weights_of_an_uninterrupted_one(open_base, records, tmp_path):
    settings = TrainingSettings(parts=("connector", "language_model"), save_every=2, **{**QUICK, "steps": 4})
    model, processor = open_base("qwen2.5-vl")
    train(model, processor, records, tmp_path / "whole", settings)
    expected = {name: value.clone() for name, value in model.named_parameters()}
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole" / "training").rename(tmp_path / "cut" / "training")
    last = tmp_path / "cut" / "training" / "checkpoint-4"
    for path in sorted(last.rglob("*"), reverse=True):
        path.unlink()
    last.rmdir()
    again, processor = open_base("qwen2.5-vl")
    result = train(again, processor, records, tmp_path / "cut", settings, resume=True)
    assert result.resumed_from == 2
    assert all(torch.equal(value, expected[name]) for name, value in again.named_parameters())


def test_parts_are_trained_by_name_and_the_rest_stays(open_base, records, tmp_path):
    model, processor = open_base("llava-onevision")
    before = {name: value.clone() for name, value in model.named_parameters()}
    assert {"encoder", "connector", "language_model", "native"} == {name.partition(".")[0] for name in before}
    train(model, processor, records, tmp_path / "run", TrainingSettings(parts=("connector",), **QUICK))
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if name.startswith("connector.") or name.endswith("image_newline")}
    with trainable_parts(model, ("language_model",)):
        settings = TrainingSettings(parts=("language_model",), **QUICK)
        table = {part.name: part for part in list_trained_parts(model, settings)}
    assert sum(part.parameters for part in table.values()) == sum(value.numel() for value in before.values())
    assert table["language_model"].trainable == table["language_model"].parameters > 0


def test_text_alone_leaves_a_connector_as_it_is(open_base, tmp_path):
    model, processor = open_base("qwen2-vl")
    turns = [Turn(role="user", content="What is a face?"), Turn(role="assistant", content="The front of a head.")]
    words = RecordSet((FaceRecord(id="words", conversations=turns),), tmp_path)
    before = {name: value.clone() for name, value in model.named_parameters()}
    settings = TrainingSettings(parts=("connector",), **{**QUICK, "steps": 1})
    assert train(model, processor, words, tmp_path / "run", settings).steps == 1
    assert all(torch.equal(value, before[name]) for name, value in model.named_parameters())


def test_mixed_precision_with_checkpointing_lowers_the_held_out_loss(open_base, records, tmp_path):
    model, processor = open_base("gemma3")
    watched = LossValidation(records.select([2, 3]), tmp_path / "losses.jsonl", every=2)
    settings = TrainingSettings(
        **LORA, **{**QUICK, "steps": 6}, precision="bfloat16", gradient_checkpointing=True, row_tokens=3000
    )
    train(model, processor, records.select([0, 1]), tmp_path / "run", settings, callbacks=[watched])
    losses = [point.loss for point in watched.points]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == 3


def test_the_memory_estimate_counts_the_encoder_of_all_tiles_where_it_is_trained(open_base):
    model, _ = open_base("internvl")
    with trainable_parts(model, ("encoder",)):
        shape = ModelShape.of(model)
    assert (shape.visual_tokens, shape.encoder.tokens, shape.encoder.layers) == (20, 5 * 16, 3)
    with trainable_parts(model, ("language_model",)):
        assert ModelShape.of(model).encoder is None


def test_a_family_that_nobody_tested_learns_question_by_question_only(open_base, records, tmp_path, monkeypatch):
    recurrent, processor = open_base("qwen3.5")
    with pytest.raises(ConfigurationError, match="set independent_turns and row_tokens off"):
        train(recurrent, processor, records, tmp_path / "run", TrainingSettings(**LORA, **QUICK))
    model, processor = open_base("llava")
    monkeypatch.setattr("facekit.models.native.inputs.CONTINUED", frozenset())
    with pytest.raises(ConfigurationError, match="set independent_turns and row_tokens off"):
        train(model, processor, records, tmp_path / "run", TrainingSettings(**LORA, **QUICK))
    settings = TrainingSettings(**LORA, **{**QUICK, "independent_turns": False})
    assert train(model, processor, records, tmp_path / "run", settings).steps == 3


def test_what_a_base_is_not_trained_with_is_one_sentence(open_base, records, tmp_path):
    model, processor = open_base("qwen2-vl")
    with pytest.raises(ConfigurationError, match="encodes pictures itself, so leave it out"):
        train(model, processor, records, tmp_path / "run", TrainingSettings(cache_features=True, **LORA, **QUICK))
    with pytest.raises(ConfigurationError, match="region has no parameters"):
        train(model, processor, records, tmp_path / "run", TrainingSettings(parts=("connector.region",), **QUICK))
    train(model, processor, records, tmp_path / "run", TrainingSettings(**LORA, **QUICK))
    adapted, processor = facekit.load(tmp_path / "run" / "adapter")
    with pytest.raises(ConfigurationError, match="is that of a base in its own class"):
        train(adapted, processor, records, tmp_path / "more", TrainingSettings(**LORA, **QUICK))
    with pytest.raises(ConfigurationError, match="is written in its own class"):
        export(adapted, processor, tmp_path / "exported", "llava-hf", merge_lora=True)
    with pytest.raises(ConfigurationError, match="merge them into what is written"):
        export(adapted, processor, tmp_path / "exported")
    export(adapted, processor, tmp_path / "exported", merge_lora=True)
    merged, processor = facekit.load(tmp_path / "exported")
    pixels = FaceDataset(records, processor)[0].pixel_values[None]
    prompt = torch.tensor(processor.tokenize([processor.image_token + "Old?"])["input_ids"])
    with torch.inference_mode():
        of_adapter, of_merged = (each(input_ids=prompt, pixel_values=pixels).logits for each in (adapted, merged))
    assert torch.allclose(of_adapter, of_merged, atol=1e-5)
    assert train(merged, processor, records, tmp_path / "more", TrainingSettings(**LORA, **QUICK)).steps == 3
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "qwen2-vl")
