"""GRPO and DPO on bases in their own class: what they see, what they learn from it, and what PEFT loads of it."""

from __future__ import annotations

import json

import numpy as np
import peft
import pytest
import torch
from datasets import Dataset
from small_vlms import FAMILIES, save_small_vlm
from transformers import AutoModelForImageTextToText
from trl import GRPOConfig, GRPOTrainer

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.record_media import load_media
from facekit.data.synthetic import write_synthetic_dataset
from facekit.models.landmark_rows import split_landmark_rows
from facekit.models.native.modeling import NativeModel, as_picture
from facekit.models.native.region import build_region
from facekit.spec import PartSpec
from facekit.training import TrainingSettings, train
from facekit.training.preferences.pairs import Pair, write_pairs
from facekit.training.rewards.columns import REWARDS, text_of

pytestmark = pytest.mark.filterwarnings("ignore:a call of ours:FutureWarning")  # TRL's own defaults

SIDE = 64
LORA = ("language_model.lora",)
PLAIN = ("qwen2.5-vl", "internvl", "gemma3", "smolvlm", "llava-onevision")
BASES = [(family, None, LORA) for family in PLAIN if family in FAMILIES] + [
    ("qwen2.5-vl", "region?num_heads=4", (*LORA, "connector.region")),
    ("internvl", "region?num_heads=4", LORA),
    ("internvl", None, ("language_model",)),
]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 6, seed=0, image_size=SIDE))


@pytest.fixture
def open_base(tmp_path):
    def build(family, connector=None):
        save_small_vlm(family, tmp_path / "base")
        model, processor = facekit.load(f"hf:{tmp_path / 'base'}")
        processor.image_processor.image_size = SIDE
        if connector is not None:
            torch.manual_seed(5)
            model.add_region(build_region(model.native, PartSpec.parse(connector)))
            torch.nn.init.constant_(model.region.cross_attention.gain, 2.0)
        return model, processor

    return build


def settings(**values):
    lora = {"rank": 4, "alpha": 8, "dropout": 0.0}
    return TrainingSettings(
        **{"steps": 4, "batch_size": 8, "save_every": 2, "log_every": 1, "learning_rate": 1e-3, "lora": lora, **values}
    )


def length_reward(completions, **columns):
    return [min(1.0, len(text_of(each)) / 20) for each in completions]


def plain_log_probabilities(model, ids, answer, pixels, points):
    """Of the last tokens of one question with its answer, read by itself."""
    with torch.no_grad():
        logits = model(input_ids=ids[None], pixel_values=pixels[None], landmarks=points[None]).logits[0]
    return logits[-answer - 1 : -1].log_softmax(-1).gather(-1, ids[-answer:, None])[:, 0]


@pytest.mark.parametrize(("family", "connector", "parts"), BASES)
def test_answers_and_their_log_probabilities_are_about_the_same_pictures(
    records, open_base, tmp_path, monkeypatch, family, connector, parts
):
    model, processor = open_base(family, connector)
    known = {}
    for record in records.records:
        pixels, points = load_media(record, records.folder, processor)
        known[pixels.numpy().tobytes()] = points
    differences, gradients, shown = [], [], set()
    original, generate = GRPOTrainer._get_per_token_logps_and_entropies, NativeModel.generate

    def compare(self, model, input_ids, attention_mask, logits_to_keep, *args, **options):
        logps, *others = original(self, model, input_ids, attention_mask, logits_to_keep, *args, **options)
        if model is self.model:
            gradients.append(torch.is_grad_enabled())
            media = split_landmark_rows(options["pixel_values"])
            lengths = attention_mask[:, -logits_to_keep:].sum(1).tolist()
            for row, (ids, mask, length) in enumerate(zip(input_ids, attention_mask.bool(), lengths, strict=True)):
                pixels = media.pixel_values[row].contiguous()
                points = known[pixels.numpy().tobytes()]
                torch.testing.assert_close(media.landmarks[row], points, rtol=0, atol=0)
                expected = plain_log_probabilities(
                    self.accelerator.unwrap_model(model), ids[mask], length, pixels, points
                )
                differences.append(float((logps.detach()[row, :length] - expected).abs().max()))
                assert options["pixel_values"][row].numpy().tobytes() in shown
        return logps, *others

    def look(self, *args, **options):
        if "pixel_values" in options:
            shown.update(each.numpy().tobytes() for each in options["pixel_values"])
        return generate(self, *args, **options)

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", compare)
    monkeypatch.setattr(NativeModel, "generate", look)
    monkeypatch.setitem(REWARDS, "face", length_reward)  # random weights earn no other
    group = {"generations": 4, "longest_answer": 8, "iterations": 2, "beta": 0.05}
    result = train(model, processor, records, tmp_path / "run", settings(parts=parts, grpo=group))
    assert result.steps == 4
    assert gradients.count(True) == 4
    assert gradients.count(False) == 2
    assert max(differences) < 1e-5
    assert "forward" not in model.__dict__
    assert (tmp_path / "run" / "adapter").is_dir() == (LORA[0] in parts)
    if LORA[0] in parts and connector is None:
        check_adapter(records, tmp_path)


def check_adapter(records, folder):
    """PEFT loads the adapter over the untouched base, with the merged model's logits, which are not the base's."""
    merged, processor = facekit.load(folder / "run")
    processor.image_processor.image_size = SIDE
    pixels, _ = load_media(records.records[0], records.folder, processor)
    ids = torch.tensor(processor.tokenize([f"{processor.image_token} Old?"])["input_ids"])
    inputs = processor.native.image_processor(images=[as_picture(pixels[0])], return_tensors="pt")
    arguments = merged.native_arguments(ids, pixels[None])
    arguments |= {name: value for name, value in inputs.items() if name in arguments}
    base = AutoModelForImageTextToText.from_pretrained(folder / "base").eval()
    with torch.no_grad():
        expected, before = merged(ids, pixels[None]).logits, base(**arguments).logits
        adapted = peft.PeftModel.from_pretrained(base, folder / "run" / "adapter").eval()(**arguments).logits
    torch.testing.assert_close(adapted, expected, rtol=1e-5, atol=1e-5)
    assert (adapted - before).abs().max() > 1e-4


@pytest.mark.parametrize("family", ["qwen2.5-vl", "internvl", "gemma3"])
def test_pairs_are_learned_from_the_loss_of_an_equal_reference(records, open_base, tmp_path, family):
    model, processor = open_base(family)
    pairs = [
        Pair(record.id, record.conversations[0].content, "It is fear.", "Who knows?") for record in records.records
    ]
    path = write_pairs(tmp_path / "pairs.jsonl", pairs)
    chosen = settings(parts=LORA, dpo={"pairs": path}, batch_size=4, steps=6, learning_rate=1e-2)
    losses = train(model, processor, records, tmp_path / "run", chosen).history.losses
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    assert losses[-1] < losses[0] - 0.01
    check_adapter(records, tmp_path)
    saved = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert saved["r"] == 4


def test_the_loaded_base_goes_into_trls_own_trainer_as_it_is(records, open_base, tmp_path):
    model, processor = open_base("internvl")
    processor.image_processor.landmarker, processor.landmarks_in_pixels = None, True
    asked = [{"role": "user", "content": "Old?"}]
    rows = [{"images": [str(records.folder / each.image)], "prompt": asked} for each in records.records]
    before = model.get_output_embeddings().weight.detach().clone()
    trainer = GRPOTrainer(
        model, lambda completions, **columns: length_reward(completions),
        GRPOConfig(str(tmp_path / "run"), num_generations=4, max_completion_length=6, num_iterations=2, max_steps=2,
                   per_device_train_batch_size=4, learning_rate=1e-2, use_cpu=True, report_to=[], save_strategy="no"),
        train_dataset=Dataset.from_list(rows), processing_class=processor,
    )  # fmt: skip
    trainer.train()
    assert trainer.state.global_step == 2
    assert not torch.equal(model.get_output_embeddings().weight, before)
