"""A facekit model in TRL's own trainers, written as TRL's documentation writes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

import facekit
from facekit.data.records import Turn
from facekit.data.supervision import IGNORED, encode_conversation

QUESTION = [{"role": "user", "content": "Which expression does this face show?"}]
FEAR = [{"role": "assistant", "content": "I see fear."}]
JOY = [{"role": "assistant", "content": "It is happiness, or surprise."}]

pytestmark = pytest.mark.filterwarnings("ignore:a call of ours:FutureWarning")  # TRL's own defaults


@pytest.fixture
def start(tmp_path):
    """A saved model with region attention that finds landmarks in every picture, loaded as a user would."""
    points = np.random.default_rng(0).uniform(0.2, 0.8, (68, 2))
    np.save(tmp_path / "points.npy", points)
    model, processor = facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1", connector="region", backbone="tiny?width=48&depth=2&heads=4",
        landmarker=f"given:{tmp_path / 'points.npy'}?coordinates=normalised", seed=0,
    )  # fmt: skip
    for name, value in model.language_model.named_parameters():
        if value.ndim == 2 and "layers" in name:
            torch.nn.init.normal_(value, std=value.shape[1] ** -0.5)
    model.save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    return facekit.load(tmp_path / "start")


def pictures(count=4):
    drawn = (np.random.default_rng(index).integers(0, 255, (60, 60, 3), dtype=np.uint8) for index in range(count))
    return [Image.fromarray(each) for each in drawn]


def settings(kind, tmp_path, **options):
    common = {
        "output_dir": str(tmp_path / "run"), "report_to": [], "use_cpu": True, "bf16": False, "save_strategy": "no",
        "disable_tqdm": True, "logging_steps": 1, "max_steps": 2, "per_device_train_batch_size": 4,
    }  # fmt: skip
    return kind(**{**common, **options})


def logged(trainer, name="loss"):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize("adapters", [False, True])
def test_sft_has_facekits_labels_and_loss(start, tmp_path, adapters):
    model, processor = start
    turns = [Turn(**message) for message in (*QUESTION, *FEAR)]
    expected = encode_conversation(processor, turns)
    with torch.no_grad():
        inputs = processor(images=pictures(1)[0], text="<image>")
        loss = model(
            input_ids=torch.tensor([expected.input_ids]), labels=torch.tensor([expected.labels]),
            pixel_values=inputs["pixel_values"], landmarks=inputs["landmarks"],
        ).loss  # fmt: skip
    rows = [{"images": [picture], "messages": QUESTION + FEAR} for picture in pictures(1)] * 8
    options = {"peft_config": LoraConfig(target_modules=["q_proj", "v_proj"])} if adapters else {}
    trainer = SFTTrainer(
        model, settings(SFTConfig, tmp_path, assistant_only_loss=True, learning_rate=1e-2, max_steps=20),
        train_dataset=Dataset.from_list(rows), processing_class=processor, **options,
    )  # fmt: skip
    batch = trainer.data_collator([dict(rows[0])])
    assert batch["input_ids"].tolist() == [expected.input_ids]
    assert batch["labels"].tolist() == [expected.labels]
    assert sum(label != IGNORED for label in expected.labels) > 3
    trainer.train()
    losses = logged(trainer)
    assert losses[0] == pytest.approx(float(loss), abs=1e-5)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("adapters", [False, True])
def test_dpo_builds_its_reference_and_learns_the_pair(start, tmp_path, adapters):
    model, processor = start
    rows = [{"images": [picture], "prompt": QUESTION, "chosen": FEAR, "rejected": JOY} for picture in pictures()] * 4
    options = {"peft_config": LoraConfig(target_modules=["q_proj", "v_proj"])} if adapters else {}
    trainer = DPOTrainer(
        model, args=settings(DPOConfig, tmp_path, learning_rate=1e-2 if adapters else 1e-3, max_steps=12),
        train_dataset=Dataset.from_list(rows), processing_class=processor, **options,
    )  # fmt: skip
    assert adapters or type(trainer.ref_model) is type(model)
    trainer.train()
    losses = logged(trainer)
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    assert losses[-1] < losses[0] - 0.02


@pytest.mark.parametrize(("adapters", "beta", "iterations"), [(False, 0.0, 2), (False, 0.1, 1), (True, 0.1, 2)])
def test_grpos_log_probabilities_are_those_of_a_plain_forward_with_landmarks(
    start, tmp_path, monkeypatch, adapters, beta, iterations
):
    model, processor = start
    processor.landmarks_in_pixels = True
    compared = []
    original = GRPOTrainer._get_per_token_logps_and_entropies

    def compare(self, model, input_ids, attention_mask, logits_to_keep, *args, **options):
        logps, *others = original(self, model, input_ids, attention_mask, logits_to_keep, *args, **options)
        with torch.no_grad():
            plain = facekit.load(tmp_path / "start")[1](images=shown(input_ids), text=["<image>"] * len(input_ids))
            unwrapped = self.accelerator.unwrap_model(model)
            logits = unwrapped(
                input_ids=input_ids, attention_mask=attention_mask, landmarks=plain["landmarks"],
                pixel_values=options["pixel_values"][:, :, :, :48],
            ).logits[:, -logits_to_keep - 1 : -1]  # fmt: skip
        expected = logits.log_softmax(-1).gather(-1, input_ids[:, -logits_to_keep:, None])[..., 0]
        real = attention_mask[:, -logits_to_keep:].bool()
        torch.testing.assert_close(logps.detach()[real], expected[real], rtol=0, atol=1e-5)
        compared.append((len(input_ids), torch.is_grad_enabled()))
        return logps, *others

    def shown(input_ids):
        return [[picture] for picture in pictures(1)] * len(input_ids)

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", compare)
    rows = [{"images": [picture], "prompt": QUESTION, "task": "expression"} for picture in pictures()]
    options = {"peft_config": LoraConfig(target_modules=["q_proj", "v_proj"])} if adapters else {}

    def reward(completions, task, **columns):
        assert set(task) == {"expression"}
        return [float(len(completion[0]["content"])) for completion in completions]

    trainer = GRPOTrainer(
        model, reward,
        settings(GRPOConfig, tmp_path, num_generations=4, max_completion_length=6, num_iterations=iterations,
                 beta=beta, learning_rate=1e-3),
        train_dataset=Dataset.from_list(rows), processing_class=processor, **options,
    )  # fmt: skip
    trainer.train()
    assert len(logged(trainer)) == 2
    assert any(grad for _, grad in compared)
    if iterations > 1 or beta:
        assert any(not grad for _, grad in compared)


def test_grpo_without_the_option_says_that_landmarks_are_lost(start, tmp_path, caplog):
    model, processor = start
    rows = [{"images": [picture], "prompt": QUESTION} for picture in pictures()]
    trainer = GRPOTrainer(
        model, lambda completions, **columns: [float(len(each[0]["content"])) for each in completions],
        settings(GRPOConfig, tmp_path, num_generations=4, max_completion_length=6),
        train_dataset=Dataset.from_list(rows), processing_class=processor,
    )  # fmt: skip
    trainer.train()
    told = [record.getMessage() for record in caplog.records if "landmarks_in_pixels" in record.getMessage()]
    assert len(told) == 1
