"""GRPO and DPO go on from any step to the bit: weights, and all that is logged but times."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from small_vlms import save_small_vlm

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import TrainingSettings, train
from facekit.training.preferences.pairs import Pair, write_pairs
from facekit.training.rewards.columns import REWARDS, text_of

pytestmark = pytest.mark.filterwarnings("ignore:a call of ours:FutureWarning")  # TRL's own defaults

GROUP = {"generations": 4, "longest_answer": 8}
LORA = ("language_model.lora",)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Six questions, so that three steps of two are an epoch."""
    found = RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 6, seed=0, image_size=48))
    asked = [each.model_copy(update={"conversations": each.conversations[:2]}) for each in found.records]
    return RecordSet(asked, found.folder)


@pytest.fixture
def pairs(records, tmp_path):
    return write_pairs(tmp_path / "pairs.jsonl", [
        Pair(record.id, record.conversations[0].content, "It is fear.", f"Who knows {number}?")
        for number, record in enumerate(records.records)
    ])  # fmt: skip


@pytest.fixture
def opened(tmp_path):
    def build(family):
        if family is None:
            return facekit.create(
                encoder="tiny?image_size=48&width=32&depth=1",
                connector="region",
                backbone="tiny?width=48&depth=2&heads=4",
                seed=0,
            )
        if not (tmp_path / family).exists():
            save_small_vlm(family, tmp_path / family)
        model, processor = facekit.load(f"hf:{tmp_path / family}")
        processor.image_processor.image_size = 64
        return model, processor

    return build


def entries(folder):
    state = json.loads((folder / "training" / "checkpoint-7" / "trainer_state.json").read_text())
    times = ("step_time", "runtime", "per_second")
    return [
        {name: value for name, value in entry.items() if not any(time in name for time in times)}
        for entry in state["log_history"]
    ]


def check(records, opened, folder, stop, family=None, **values):
    chosen = TrainingSettings(
        **{"steps": 7, "batch_size": 8, "save_every": 1, "log_every": 1, "keep_checkpoints": 9, "learning_rate": 1e-2,
           "parts": ("connector", "language_model"), **values}
    )  # fmt: skip
    train(*opened(family), records, folder / "whole", chosen)
    shutil.copytree(folder / "whole", folder / "part")
    for step in range(stop + 1, 8):
        shutil.rmtree(folder / "part" / "training" / f"checkpoint-{step}")
    result = train(*opened(family), records, folder / "part", chosen, resume=True)
    assert (result.resumed_from, result.steps) == (stop, 7)
    whole, part = (load_file(folder / name / "model.safetensors") for name in ("whole", "part"))
    assert all(torch.equal(value, part[name]) for name, value in whole.items())
    assert entries(folder / "part") == entries(folder / "whole")
    return entries(folder / "whole")


@pytest.mark.parametrize(
    ("stop", "family", "values"),
    [
        (2, None, {"grpo": GROUP}),
        (3, None, {"grpo": GROUP}),
        (5, None, {"grpo": GROUP, "log_every": 3}),
        (3, None, {"grpo": {**GROUP, "iterations": 2, "beta": 0.05}}),
        (3, None, {"grpo": {**GROUP, "iterations": 2}, "accumulation": 2, "batch_size": 4, "log_every": 2}),
        (3, "qwen2.5-vl", {"grpo": {**GROUP, "iterations": 2, "beta": 0.05}, "parts": LORA}),
    ],
    ids=["in an epoch", "between two", "in the next", "in a round", "accumulated", "in its own class"],
)
def test_rewards_and_weights_are_those_of_a_run_without_a_stop(
    records, opened, tmp_path, monkeypatch, stop, family, values
):
    monkeypatch.setitem(
        REWARDS, "face", lambda completions, **columns: [min(1.0, len(text_of(each)) / 50) for each in completions]
    )
    logged = check(records, opened, tmp_path, stop, family, **values)
    assert len({entry["reward"] for entry in logged if entry.get("reward") is not None}) > 1


@pytest.mark.parametrize(("stop", "every", "parts"), [(3, 1, LORA), (4, 3, ("connector", "language_model"))])
def test_pairs_go_on_to_the_bit(records, opened, pairs, tmp_path, stop, every, parts):
    logged = check(records, opened, tmp_path, stop, dpo={"pairs": pairs}, batch_size=2, log_every=every, parts=parts)
    assert len({entry["loss"] for entry in logged if "loss" in entry}) > 1
