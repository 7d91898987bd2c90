"""GRPO and DPO on questions about two pictures: both are seen in their order, and verification pays by ``same``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_vlms import save_small_vlm
from trl import GRPOTrainer

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.record_media import load_media
from facekit.data.records import FaceRecord, Turn
from facekit.data.synthetic import write_synthetic_dataset
from facekit.models.landmark_rows import split_landmark_rows
from facekit.training import TrainingSettings, train
from facekit.training.preferences.pairs import Pair, write_pairs
from facekit.training.rewards.columns import REWARDS, text_of

pytestmark = pytest.mark.filterwarnings("ignore:a call of ours:FutureWarning")  # TRL's own defaults

SIDE = 64
ASKED = ("Do these two pictures show the same person?", "Is <image> the same person as <image>?")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Four pairs, asked about in two ways, and two faces with other questions."""
    faces = RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 8, seed=0, image_size=SIDE))
    pairs = []
    for number, (first, second) in enumerate(zip(faces.records[:4], faces.records[4:], strict=True)):
        same = number % 2 == 0
        turns = [Turn(role="user", content=ASKED[number // 2], task="verification"),
                 Turn(role="assistant", content="Yes." if same else "No.", task="verification")]  # fmt: skip
        pairs.append(
            FaceRecord(id=f"pair-{number}", images=[first.image, second.image], same=same, conversations=turns,
                       landmarks=[first.landmark_array(faces.folder).tolist(), None])
        )  # fmt: skip
    return RecordSet([*pairs, *faces.records[:2]], faces.folder)


@pytest.fixture(params=["region", "internvl", "qwen2.5-vl"])
def opened(request, tmp_path):
    if request.param == "region":
        return facekit.create(
            encoder=f"tiny?image_size={SIDE}&width=32&depth=1", connector="region",
            backbone="tiny?width=48&depth=2&heads=4", seed=0,
        )  # fmt: skip
    save_small_vlm(request.param, tmp_path / "base")
    model, processor = facekit.load(f"hf:{tmp_path / 'base'}")
    processor.image_processor.image_size = SIDE
    return model, processor


def test_log_probabilities_are_about_both_pictures_and_the_reward_is_about_the_truth(
    records, opened, tmp_path, monkeypatch
):
    model, processor = opened
    shown = {}
    for record in records.records:
        pixels, points = load_media(record, records.folder, processor)
        shown[pixels.numpy().tobytes()] = points
    differences, truths = [], []
    original, reward = GRPOTrainer._get_per_token_logps_and_entropies, REWARDS["verification"]

    def compare(self, model, input_ids, attention_mask, logits_to_keep, *args, **options):
        logps, *others = original(self, model, input_ids, attention_mask, logits_to_keep, *args, **options)
        media, counts = split_landmark_rows(options["pixel_values"]), options["num_images"]
        assert set(counts) <= {1, 2}
        parts = media.pixel_values.split(counts)
        for row, pixels in enumerate(parts):
            mask = attention_mask[row].bool()
            length, ids = int(mask[-logits_to_keep:].sum()), input_ids[row][mask]
            points = shown[pixels[:, 0].numpy().tobytes()]  # pairs in the order of their record
            with torch.no_grad():
                unwrapped = self.accelerator.unwrap_model(model)
                logits = unwrapped(input_ids=ids[None], pixel_values=pixels, landmarks=points[:, None]).logits[0]
            expected = logits[-length - 1 : -1].log_softmax(-1).gather(-1, ids[-length:, None])[:, 0]
            differences.append(float((logps.detach()[row, :length] - expected).abs().max()))
        return logps, *others

    def pay(completions, same, **columns):
        truths.extend(same)
        paid = reward(completions, same, **columns)  # random weights earn nothing, so lengths are paid
        lengths = [len(text_of(each)) / 20 for each in completions]
        return [None if value is None else length for value, length in zip(paid, lengths, strict=True)]

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", compare)
    monkeypatch.setitem(REWARDS, "verification", pay)
    group = {"generations": 4, "longest_answer": 8, "iterations": 2, "rewards": {"verification": 1.0, "face": 1.0}}
    chosen = TrainingSettings(
        steps=6, batch_size=16, save_every=6, log_every=1, learning_rate=1e-3, parts=("language_model.lora",),
        grpo=group, seed=3,
    )  # fmt: skip
    assert train(model, processor, records, tmp_path / "run", chosen).steps == 6
    assert max(differences) < 1e-5
    assert {True, False} <= set(truths)


def test_the_verification_reward_of_a_row_is_that_of_its_record(records):
    answers = [[{"role": "assistant", "content": "Yes, it is the same person."}]]
    prompt = [[{"role": "user", "content": [{"type": "text", "text": ASKED[0]}]}]]
    paid = [REWARDS["verification"](answers, [record.same], prompt) for record in records.records]
    assert paid == [[1.0], [0.0], [1.0], [0.0], [None], [None]]


def test_pairs_of_answers_about_two_pictures_are_learned(records, opened, tmp_path):
    pairs = [
        Pair(record.id, record.conversations[0].content, record.conversations[1].content, "Who knows?")
        for record in records.records[:4]
    ]
    path = write_pairs(tmp_path / "pairs.jsonl", pairs)
    chosen = TrainingSettings(
        steps=6, batch_size=4, save_every=6, log_every=1, learning_rate=1e-2, parts=("language_model.lora",),
        dpo={"pairs": path},
    )  # fmt: skip
    losses = train(*opened, records, tmp_path / "run", chosen).history.losses
    assert losses[0] == pytest.approx(np.log(2), abs=1e-4)
    assert losses[-1] < losses[0] - 0.01
