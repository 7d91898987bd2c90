"""Validation loss: what it is, that it disturbs nothing, the best model, early stopping, and going on."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import TrainerCallback

import facekit
from facekit.data.collation import FaceCollator
from facekit.data.dataset import FaceDataset, RecordSet
from facekit.data.records import FaceRecord, Turn
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import CheckpointError, ConfigurationError, RecordError
from facekit.training import LossValidation, TrainingSettings, load_recipe, run_recipe, train
from facekit.training.watching.validation_loss import ValidationLoss


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("faces")


@pytest.fixture(scope="module")
def records(folder):
    return RecordSet.read(write_synthetic_dataset(folder, 24, seed=2, image_size=32))


@pytest.fixture(scope="module")
def held_out(records):
    """Faces, a pair, text alone, and a record whose picture is not there."""
    turns = [Turn(role="user", content="The same?"), Turn(role="assistant", content="No.")]
    pair = FaceRecord(id="pair", images=[records.records[0].image, records.records[1].image], conversations=turns)
    text = FaceRecord(id="text", conversations=turns)
    lost = FaceRecord(id="lost", image="lost.png", conversations=turns)
    return RecordSet((*records.records[16:21], pair, text, lost), records.folder)


def fresh_model():
    return facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )


def settings(**values):
    common = {"steps": 8, "batch_size": 4, "log_every": 1, "save_every": 2, "threads": 1, "landmark_noise": 0.01}
    return TrainingSettings(**{**common, **values})


def weights(folder):
    return facekit.load(folder)[0].state_dict()


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("chosen", [{}, {"independent_turns": True, "loss_average": "sample"}, {"logits": "all"}])
def test_it_is_the_loss_of_the_records_one_by_one_and_disturbs_nothing(records, held_out, tmp_path, chosen):
    watched = LossValidation(held_out, tmp_path / "losses.json", every=4)
    with_it = train(*fresh_model(), records, tmp_path / "with", settings(**chosen), callbacks=[watched])
    without = train(*fresh_model(), records, tmp_path / "without", settings(**chosen))
    assert with_it.history.losses == without.history.losses
    assert same(weights(tmp_path / "with"), weights(tmp_path / "without"))
    assert [point.step for point in watched.points] == [4, 8]
    model, processor = facekit.load(tmp_path / "with")
    usable = held_out.select(range(7))
    if chosen.get("loss_average") != "sample":
        batches = [FaceCollator(0)([each]) for each in questions_in_order(usable, processor)]
        counts = torch.tensor([float((batch["labels"] != -100).sum()) for batch in batches])
        with torch.no_grad():
            losses = torch.stack([model(**batch).loss for batch in batches])
        assert watched.points[-1].loss == pytest.approx(float((losses * counts).sum() / counts.sum()), abs=1e-5)
    assert json.loads((tmp_path / "losses.json").read_text())[-1]["loss"] == watched.points[-1].loss
    assert watched.seconds > 0


def questions_in_order(records, processor):
    from facekit.data.dataset import DatasetOptions

    dataset = FaceDataset(records, processor, DatasetOptions(shuffle_turns=False))
    return [dataset[index] for index in range(len(records))]


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Falling(LossValidation):
    """Losses that fall until a step and rise from there on, whatever the model."""

    turn = 4

    def attach(self, measure, log):
        self.step = 0
        super().attach(lambda records: 1.0 + abs(self.step - self.turn), log)

    def on_step_end(self, args, state, control, **kwargs):
        self.step = state.global_step
        super().on_step_end(args, state, control, **kwargs)


@pytest.mark.parametrize("parts", [("connector", "language_model"), ("connector",)])
def test_the_best_model_is_kept_though_its_checkpoint_is_old(records, held_out, tmp_path, parts):
    watched = Falling(held_out, tmp_path / "losses.json", every=1, keep_best=True)
    chosen = settings(parts=parts, keep_checkpoints=1, save_every=1)
    train(*fresh_model(), records, tmp_path / "best", chosen, callbacks=[watched])
    assert watched.best == ValidationLoss(4, 1.0)
    kept = sorted(path.name for path in (tmp_path / "best" / "training").glob("checkpoint-*"))
    assert kept == ["checkpoint-4", "checkpoint-8"]
    fourth = Copies(4)
    train(*fresh_model(), records, tmp_path / "last", chosen, callbacks=[fourth])
    best = weights(tmp_path / "best")
    assert all(torch.equal(best[name], value) for name, value in fourth.weights.items())
    assert not same(best, weights(tmp_path / "last"))
    again, processor = fresh_model()
    train(again, processor, records, tmp_path / "best", chosen, resume=True, callbacks=[
        Falling(held_out, tmp_path / "losses.json", every=1, keep_best=True)
    ])  # fmt: skip
    assert same(best, again.state_dict())


class Copies(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.step:
            self.weights = {name: value.detach().clone() for name, value in model.named_parameters()}


def test_a_run_that_no_longer_improves_is_ended_and_stays_ended(records, held_out, tmp_path):
    def watch():
        return Falling(held_out, tmp_path / "losses.json", every=1, patience=2)

    result = train(*fresh_model(), records, tmp_path, settings(steps=20), callbacks=[watch()])
    assert result.steps == 6
    assert [point.step for point in result.history.points] == list(range(1, 7))
    resumed = train(*fresh_model(), records, tmp_path, settings(steps=20), resume=True, callbacks=[watch()])
    assert (resumed.steps, resumed.resumed_from) == (6, 6)


def test_patience_counts_improvements_of_a_size():
    watched = LossValidation(None, None, patience=2, min_improvement=0.1)
    for step, (loss, exhausted) in enumerate([(2.0, False), (1.8, False), (1.75, False), (1.72, True)]):
        watched.points.append(ValidationLoss(step, loss))
        assert watched.is_exhausted is exhausted
    assert watched.best == ValidationLoss(3, 1.72)


def test_a_run_that_goes_on_has_the_losses_of_a_whole_one(records, held_out, tmp_path):
    def watch(name):
        return LossValidation(held_out, tmp_path / f"{name}.json", every=2, keep_best=True)

    whole = watch("whole")
    train(*fresh_model(), records, tmp_path / "whole", settings(), callbacks=[whole])
    with pytest.raises(KeyboardInterrupt):
        train(*fresh_model(), records, tmp_path / "cut", settings(), callbacks=[watch("cut"), StopAt(5)])
    resumed = watch("cut")
    train(*fresh_model(), records, tmp_path / "cut", settings(), resume=True, callbacks=[resumed])
    assert resumed.points == whole.points
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_what_cannot_be_is_told(records, tmp_path):
    with pytest.raises(ConfigurationError, match="patience are at least 1"):
        LossValidation(records, tmp_path / "losses.json", patience=0)
    lost = RecordSet((records.records[0].model_copy(update={"image": "lost.png"}),), records.folder)
    watched = LossValidation(lost, tmp_path / "losses.json", every=1)
    with pytest.raises(RecordError, match="not one of 1 validation record can be used"):
        train(*fresh_model(), records, tmp_path / "run", settings(steps=2), callbacks=[watched])
    (tmp_path / "losses.json").write_text("rubbish")
    with pytest.raises(CheckpointError, match="is damaged"):
        watched.read(3)


def test_a_recipe_says_how_and_its_page_what_came_of_it(records, folder, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        f"output: {tmp_path / 'out'}\nrecords: {folder / 'records.jsonl'}\nmodel: {{encoder: "
        "'tiny?image_size=32&width=32&depth=1', connector: mlp, backbone: 'tiny?width=48&depth=1&heads=2'}\n"
        f"validation: {{records: {folder / 'records.jsonl'}, every: 2, faces: 0, loss_records: 4, keep_best: true, "
        "patience: 3}\nstages: {train: {steps: 4, batch_size: 4, threads: 1}}\n"
    )
    (result,) = run_recipe(load_recipe(tmp_path / "mine.yaml"))
    assert [point.step for point in result.report.validation_losses] == [2, 4]
    assert "validation loss" in result.summary.read_text()
    report = json.loads((result.summary.parent / "report.json").read_text())
    assert [point["step"] for point in report["validation_losses"]] == [2, 4]
    with pytest.raises(ConfigurationError, match="go by the validation loss; give loss_records"):
        load_recipe(tmp_path / "mine.yaml", ["validation.loss_records=0"])


def test_records_without_a_conversation_are_told_before_the_first_step(records, tmp_path):
    silent = RecordSet([each.model_copy(update={"conversations": []}) for each in records.records], records.folder)
    watched, steps = LossValidation(silent, tmp_path / "losses.json"), []
    with pytest.raises(RecordError, match="not one of 24 validation records has a conversation"):
        train(*fresh_model(), records, tmp_path / "run", settings(), callbacks=[watched], on_progress=steps.append)
    assert steps == []


@pytest.mark.parametrize("wants_it", [False, True])
def test_a_stage_whose_held_out_records_have_labels_alone_has_no_validation_loss(records, tmp_path, caplog, wants_it):
    silent = [each.model_copy(update={"conversations": []}).model_dump_json() for each in records.records[:4]]
    held_out = records.folder / "labels-alone.jsonl"
    held_out.write_text("".join(f"{line}\n" for line in silent), encoding="utf-8")
    recipe = load_recipe("tiny-cpu", [
        f"records={records.folder / 'records.jsonl'}", f"output={tmp_path / 'run'}", "stage=region", "steps=2",
        "batch_size=4", "threads=1", "model.encoder=tiny?image_size=32&width=32&depth=1", "model.connector=region",
        "model.backbone=tiny?width=48&depth=1&heads=2", f"validation.records={held_out}",
        f"validation.keep_best={str(wants_it).lower()}",
    ])  # fmt: skip
    if wants_it:
        with pytest.raises(RecordError, match="not one of 4 validation records has a conversation"):
            run_recipe(recipe)
        return
    (result,) = run_recipe(recipe)
    assert result.report.validation_losses == ()
    assert "labels-alone.jsonl has no conversations, so there is no validation loss" in caplog.text


def test_a_loss_that_is_nan_is_never_the_best(records, tmp_path):
    validation = LossValidation(records, tmp_path / "losses.json")
    validation.points = [ValidationLoss(1, float("nan")), ValidationLoss(2, 3.0), ValidationLoss(3, float("nan"))]
    assert validation.best == ValidationLoss(2, 3.0)
