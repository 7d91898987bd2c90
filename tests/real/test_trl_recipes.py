"""Recipes face-grpo and face-dpo on TRL's trainers: what they learn, save, resume, measure and show."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from trl import GRPOTrainer

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.mixing import DataSource
from facekit.data.record_media import load_media
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.models.prepared import PreparedPictures
from facekit.training import Listeners, TrainingSettings, load_recipe, run_recipe, train
from facekit.training.preferences.pairs import Pair, write_pairs
from facekit.training.rewards.columns import REWARDS, text_of
from facekit.training.watching.validation import Measured

pytestmark = pytest.mark.filterwarnings("ignore:a call of ours:FutureWarning")  # TRL's own defaults


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Drawn faces, and a model that was trained on their answers for a moment."""
    folder = tmp_path_factory.mktemp("start")
    records = write_synthetic_dataset(folder / "data", 24, seed=0, image_size=48)
    model, processor = facekit.create(
        encoder="tiny?image_size=48&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&depth=2&heads=4",
        seed=0,
    )
    train(model, processor, records, folder / "model", TrainingSettings(steps=80, batch_size=8, learning_rate=3e-3))
    return folder


def length_reward(completions, **columns):
    return [min(1.0, len(text_of(each)) / 100) for each in completions]


def settings(**values):
    return {"steps": 4, "batch_size": 8, "save_every": 2, "log_every": 1, "learning_rate": 1e-3, **values}


def log_of(folder):
    last = max(folder.glob("training/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    return json.loads((last / "trainer_state.json").read_text())["log_history"]


@pytest.mark.parametrize("parts", [("connector", "language_model"), ("language_model.lora",)])
def test_log_probabilities_have_the_records_landmarks_and_each_picture_is_opened_once(
    start, tmp_path, monkeypatch, parts
):
    records = RecordSet.read(start / "data" / "records.jsonl")
    model, processor = facekit.load(start / "model")
    landmarks = {}
    for record in records.records:
        pixels, points = load_media(record, records.folder, processor)
        landmarks[pixels.numpy().tobytes()] = points
    compared, opened = [], []
    original, face = GRPOTrainer._get_per_token_logps_and_entropies, PreparedPictures.face

    def compare(self, model, input_ids, attention_mask, logits_to_keep, *args, **options):
        logps, *others = original(self, model, input_ids, attention_mask, logits_to_keep, *args, **options)
        if model is self.model:
            pixels = options["pixel_values"][:, :, :, :48].contiguous()
            points = torch.stack([landmarks[each.numpy().tobytes()] for each in pixels])
            with torch.no_grad():
                logits = self.accelerator.unwrap_model(model)(
                    input_ids=input_ids, attention_mask=attention_mask, pixel_values=pixels, landmarks=points
                ).logits[:, -logits_to_keep - 1 : -1]
            expected = logits.log_softmax(-1).gather(-1, input_ids[:, -logits_to_keep:, None])[..., 0]
            real = attention_mask[:, -logits_to_keep:].bool()
            torch.testing.assert_close(logps.detach()[real], expected[real], rtol=0, atol=1e-5)
            compared.append(torch.is_grad_enabled())
        return logps, *others

    def count(self, name):
        before = self.opened
        found = face(self, name)
        if self.opened > before:
            opened.append(name)
        return found

    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", compare)
    monkeypatch.setattr(PreparedPictures, "face", count)
    monkeypatch.setitem(REWARDS, "face", length_reward)  # this short a training earns no other
    group = {"generations": 4, "longest_answer": 8, "iterations": 2, "beta": 0.05}
    result = train(model, processor, records, tmp_path, TrainingSettings(**settings(parts=parts, grpo=group)))
    assert result.steps == 4
    assert compared.count(True) == 4
    assert compared.count(False) >= 2
    assert len(opened) == len(set(opened)) > 1
    assert "forward" not in model.__dict__
    rewards = [entry["rewards/face/mean"] for entry in log_of(tmp_path) if "rewards/face/mean" in entry]
    assert rewards
    assert all(0 <= reward <= 1 for reward in rewards)
    assert not list(tmp_path.glob("training/README.md"))
    again, _ = facekit.load(tmp_path)
    saved, before = load_file(tmp_path / "model.safetensors"), load_file(start / "model" / "model.safetensors")
    assert any(not torch.equal(saved[name], before[name]) for name in saved)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file() == (parts == ("language_model.lora",))
    for name, value in model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_the_first_loss_of_pairs_is_that_of_an_equal_reference(start, tmp_path):
    records = RecordSet.read(start / "data" / "records.jsonl")
    pairs = [
        Pair(record.id, record.conversations[0].content, "It is fear.", "Who knows?") for record in records.records
    ]
    path = write_pairs(tmp_path / "pairs.jsonl", pairs)
    for parts in (("connector", "language_model"), ("language_model.lora",)):
        model, processor = facekit.load(start / "model")
        folder = tmp_path / parts[-1]
        result = train(
            model, processor, records, folder, TrainingSettings(**settings(parts=parts, dpo={"pairs": path}))
        )
        losses = result.history.losses
        assert losses[0] == pytest.approx(0.693147, abs=1e-4)
        assert losses[-1] < losses[0]


@pytest.mark.filterwarnings("error::FutureWarning")
def test_nothing_is_sent_and_nothing_printed_that_a_user_cannot_change(start, tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr("trl.trainer.base_trainer.send_telemetry", lambda **told: sent.append(told))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setitem(REWARDS, "face", length_reward)
    model, processor = facekit.load(start / "model")
    chosen = settings(steps=1, grpo={"generations": 4, "longest_answer": 4}, gradient_checkpointing=True)
    train(model, processor, start / "data" / "records.jsonl", tmp_path, TrainingSettings(**chosen))
    assert sent == []


@pytest.mark.parametrize("kind", ["grpo", "dpo"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_what_is_frozen_is_in_evaluation_mode_and_sees_each_picture_of_a_step_once(
    start, tmp_path, monkeypatch, kind, checkpointing
):
    monkeypatch.setitem(REWARDS, "face", length_reward)
    records = RecordSet.read(start / "data" / "records.jsonl")
    model, processor = facekit.load(start / "model")
    pairs = [
        Pair(record.id, record.conversations[0].content, "It is fear.", "Who knows?") for record in records.records
    ]
    groups = {
        "grpo": {"generations": 4, "longest_answer": 4},
        "dpo": {"pairs": write_pairs(tmp_path / "pairs.jsonl", pairs)},
    }
    modes, seen = [], []
    model.connector.register_forward_pre_hook(lambda module, _: modes.append((module.training, model.training)))
    model.encoder.blocks[0].register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    train(model, processor, records, tmp_path / "run", TrainingSettings(**settings(
        steps=2, parts=("language_model.lora",), gradient_checkpointing=checkpointing, **{kind: groups[kind]},
    )))  # fmt: skip
    assert set(modes) == {(False, True)}
    assert seen == [2, 2] if kind == "grpo" else [8, 8]


def test_a_batch_of_broken_groups_is_refused(start, tmp_path):
    model, processor = facekit.load(start / "model")
    with pytest.raises(ConfigurationError, match=r"a step has 8 answers .* no multiple of grpo\.generations=3"):
        train(model, processor, start / "data" / "records.jsonl", tmp_path,
              TrainingSettings(**settings(grpo={"generations": 3})))  # fmt: skip


def test_pairs_are_never_cut_and_their_records_need_no_answers(start, tmp_path, caplog):
    read = RecordSet.read(start / "data" / "records.jsonl")
    question = read.records[0].conversations[0].content
    records = RecordSet([each.model_copy(update={"conversations": []}) for each in read.records], read.folder)
    pairs = [Pair(record.id, question, "It is fear.", "Who knows?") for record in records.records[:4]]
    pairs += [Pair(record.id, question, "It is fear. " * 60, "Who knows?") for record in records.records[4:6]]
    chosen = settings(batch_size=2, max_tokens=150, dpo={"pairs": write_pairs(tmp_path / "pairs.jsonl", pairs)})
    del chosen["steps"]
    model, processor = facekit.load(start / "model")
    model.connector.spare = torch.nn.Dropout(0.25)
    result = train(model, processor, records, tmp_path / "run", TrainingSettings(epochs=1, **chosen))
    assert result.steps == 2
    assert "2 of 6 pairs cannot be learned from" in caplog.text
    assert "150 tokens (max_tokens)" in caplog.text
    assert model.connector.spare.p == 0.25


def test_weights_of_several_files_which_nobody_would_keep_to_are_refused(start, tmp_path):
    files = [DataSource(start / "data" / "records.jsonl", weight, name) for name, weight in (("a", 2.0), ("b", 1.0))]
    model, processor = facekit.load(start / "model")
    with pytest.raises(ConfigurationError, match="grpo and dpo take every question or pair once an epoch"):
        train(model, processor, files, tmp_path, TrainingSettings(**settings(grpo={"generations": 4})))


def recipe(start, tmp_path, *overrides):
    records = start / "data" / "records.jsonl"
    return load_recipe("face-grpo", [
        f"records={records}", f"output={tmp_path / 'run'}", f"model.load={start / 'model'}", "model.dtype=float32",
        "steps=4", "batch_size=8", "accumulation=1", "precision=float32", "gradient_checkpointing=false",
        "save_every=2",
        "grpo.generations=4", "grpo.longest_answer=8", f"validation.records={records}", "validation.every=2",
        "validation.faces=1", "validation.tasks=[expression,age]", *overrides,
    ])  # fmt: skip


def falling(steps):
    """Metrics that fall by 0.3 a look, each with an interval of 0.1 to both sides."""
    looks = iter(range(steps))

    def measure(model, processor, records, tasks):
        value = 0.9 - 0.3 * next(looks)
        return Measured(
            {"expression": value, "age": 0.5}, {"expression": (value - 0.1, value + 0.1), "age": (0.4, 0.6)}
        )

    return measure


def test_a_recipe_looks_before_the_first_step_and_shows_a_task_that_fell_in_red(start, tmp_path):
    (result,) = run_recipe(recipe(start, tmp_path), listeners=Listeners(metrics=falling(9)))
    assert [point.step for point in result.report.points] == [0, 2, 4]
    assert [point.fallen for point in result.report.points] == [(), ("expression",), ("expression",)]
    page = result.summary.read_text(encoding="utf-8")
    assert "reward by step" in page
    assert [point.reward is not None for point in result.training.history.points] == [True] * 4
    assert page.count("0.600 [0.500, 0.700]") == 1
    assert "bad" in page[page.index("0.600 [0.500") - 200 : page.index("0.600 [0.500")]


def test_a_fall_can_end_the_run(start, tmp_path):
    (result,) = run_recipe(
        recipe(start, tmp_path, "validation.stop_on_fall=true"), listeners=Listeners(metrics=falling(9))
    )
    assert result.training.steps == 2
    assert [point.step for point in result.report.points] == [0, 2]
    facekit.load(tmp_path / "run")


def test_an_interrupted_run_goes_on(start, tmp_path):
    class StopError(Exception):
        pass

    def stop(point):
        if point.step == 2:
            raise StopError

    with pytest.raises(StopError):
        run_recipe(recipe(start, tmp_path, "save_every=1"), listeners=Listeners(metrics=falling(9), on_point=stop))
    assert [path.name for path in (tmp_path / "run" / "training").glob("checkpoint-*")] == ["checkpoint-1"]
    (result,) = run_recipe(
        recipe(start, tmp_path, "save_every=1"), resume=True, listeners=Listeners(metrics=falling(9))
    )
    assert (result.training.resumed_from, result.training.steps) == (1, 4)
    assert [point.step for point in result.report.points] == [0, 2, 4]
