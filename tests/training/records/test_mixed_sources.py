"""Four record files with weights 4:2:1:1, one of them text alone and one of pairs: shares, losses, resumption."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import pytest
import torch
from transformers import TrainerCallback

import facekit
from facekit.data import DataSource
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.mixing import mix_records
from facekit.data.records import FaceRecord, Turn, write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.training import TrainingSettings, load_recipe, run_recipe, train
from facekit.training.loop.batching import GroupedBatchSampler, Occurrences, group_records
from facekit.training.watching.history import LossHistory

WEIGHTS = (4, 2, 1, 1)
SIZES = (6, 30, 10, 18)


def turns(*said):
    return [Turn(role=("user", "assistant")[index % 2], content=words) for index, words in enumerate(said)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Few faces, many faces, pairs, and text alone."""
    folder = tmp_path_factory.mktemp("faces")
    drawn = RecordSet.read(write_synthetic_dataset(folder, 36, seed=2, image_size=32)).records
    pairs = [
        FaceRecord(id=f"pair-{index}", images=[drawn[index].image, drawn[index + 1].image],
                   landmarks=[drawn[index].landmarks, None], conversations=turns("The same?", "No."))
        for index in range(10)
    ]  # fmt: skip
    text = [FaceRecord(id=f"text-{index}", conversations=turns(f"Count to {index}.", "1, 2")) for index in range(18)]
    parts = {"few": drawn[:6], "many": drawn[6:], "pairs": pairs, "text": text}
    return [write_records(folder / f"{name}.jsonl", part) for name, part in parts.items()]


@pytest.fixture
def sources(files):
    return [DataSource(path, weight) for path, weight in zip(files, WEIGHTS, strict=True)]


def fresh_model():
    return facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1", connector="region", backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )  # fmt: skip


def settings(**values):
    return TrainingSettings(
        **{
            "steps": 9,
            "batch_size": 16,
            "log_every": 1,
            "save_every": 2,
            "threads": 1,
            "landmark_noise": 0.01,
            **values,
        }
    )


def epoch_of(mixed, epoch, *, grouped=False, processes=1):
    """Indices of an epoch, batch by batch, of all processes."""
    dealt = {"seed": 5, "processes": processes, "mixture": mixed.mixture}
    batches = []
    for rank in range(processes):
        if grouped:
            sampler = group_records(mixed.records, fresh_model()[1], 4, rank=rank, **dealt)
        else:
            sampler = GroupedBatchSampler([0] * len(mixed), [0] * len(mixed), 4, rank=rank, **dealt)
        sampler.set_epoch(epoch)
        found = list(sampler)
        assert len(found) == len(sampler)
        batches += found
    return batches


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
def test_shares_are_exact_in_every_epoch(sources, grouped, processes):
    mixed = mix_records(sources)
    for epoch in range(3):
        batches = epoch_of(mixed, epoch, grouped=grouped, processes=processes)
        indices = [index for batch in batches for index in batch]
        assert len(indices) - 64 in range(2 * processes), "a group's last round may repeat one to be shared"
        counts = Counter(mixed.mixture.sources[index % 64] for index in set(indices))
        assert [counts[source] for source in range(4)] == [32, 16, 8, 8]
        if grouped:
            frames = {tuple(sorted({len(mixed.records[index % 64].media_paths("")) > 0 for index in batch}))
                      for batch in batches}  # fmt: skip
            assert frames == {(False,), (True,)}, "text alone has batches of its own"


def test_a_small_file_is_repeated_and_a_large_one_seen_in_turn(sources):
    mixed = mix_records(sources)
    first, second = ([index for batch in epoch_of(mixed, epoch) for index in batch] for epoch in (0, 1))
    few = Counter(index % 64 for index in first if index % 64 < 6)
    assert sum(few.values()) == 32
    assert set(few.values()) == {5, 6}
    many = [[index % 64 for index in epoch if 6 <= index % 64 < 36] for epoch in (first, second)]
    assert [len(seen) for seen in many] == [16, 16]
    assert len(set(many[0])) == 16
    assert len({*many[0], *many[1]}) == 30, "what the first epoch left over comes first in the second"


def test_a_repeated_record_is_augmented_anew(sources):
    mixed = mix_records(sources)
    dataset = FaceDataset(mixed, fresh_model()[1], DatasetOptions(landmark_noise=0.01))
    examples = Occurrences(dataset)
    again = [examples[index] for index in (0, 64, 128, 64, 0)]
    assert torch.equal(again[0].landmarks, again[4].landmarks)
    assert torch.equal(again[1].landmarks, again[3].landmarks)
    assert not torch.equal(again[0].landmarks, again[1].landmarks)
    assert not torch.equal(again[1].landmarks, again[2].landmarks)
    assert torch.equal(examples[0].landmarks, dataset[0].landmarks)


def test_losses_are_those_of_a_plain_loop_over_the_same_batches(sources, tmp_path):
    result = train(*fresh_model(), sources, tmp_path, settings(steps=4, learning_rate=1e-9, warmup=0.0))
    model, processor = fresh_model()
    mixed = mix_records(sources)
    dataset = FaceDataset(mixed, processor, DatasetOptions(landmark_noise=0.01))
    sampler = GroupedBatchSampler([0] * 64, [0] * 64, 16, mixture=mixed.mixture)
    expected = []
    for batch in sampler:
        alone = [FaceCollator(0)([Occurrences(dataset)[index]]) for index in batch]
        counts = torch.tensor([float((each["labels"] != -100).sum()) for each in alone])
        with torch.no_grad():
            losses = torch.stack([model(**each).loss for each in alone])
        expected.append(float((losses * counts).sum() / counts.sum()))
    assert result.history.losses == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("values", [{}, {"row_tokens": 700}, {"loss_average": "sample"}], ids=str)
def test_the_loss_of_each_file_is_that_of_a_plain_loop_over_its_examples(sources, tmp_path, values):
    chosen = settings(steps=4, log_every=2, learning_rate=1e-9, warmup=0.0, **values)
    result = train(*fresh_model(), sources, tmp_path, chosen)
    model, processor = fresh_model()
    mixed = mix_records(sources)
    examples = Occurrences(FaceDataset(mixed, processor, DatasetOptions(landmark_noise=0.01)))
    batches = list(GroupedBatchSampler([0] * 64, [0] * 64, 16, mixture=mixed.mixture))
    for point, pair in zip(result.history.points, (batches[:2], batches[2:]), strict=True):
        sums, counts = Counter(), Counter()
        for index in (each for batch in pair for each in batch):
            alone = FaceCollator(0)([examples[index]])
            name = mixed.mixture.names[mixed.mixture.sources[index % 64]]
            weight = 1 if "loss_average" in values else int((alone["labels"] != -100).sum())
            with torch.no_grad():
                sums[name] += float(model(**alone).loss) * weight
            counts[name] += weight
        assert len(counts) == 4
        assert point.sources == pytest.approx({name: sums[name] / counts[name] for name in counts}, abs=1e-5)
    again = LossHistory.read(tmp_path / "training" / "losses.json")
    assert again == result.history
    assert list(again.by_source()) == ["few.jsonl", "many.jsonl", "pairs.jsonl", "text.jsonl"]
    assert again.by_source()["text.jsonl"].losses == [point.sources["text.jsonl"] for point in again.points]


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("grouped", [False, True])
def test_a_run_that_is_killed_twice_ends_with_the_same_bits(sources, tmp_path, grouped):
    chosen = settings(group_batches=grouped)
    whole = train(*fresh_model(), sources, tmp_path / "whole", chosen)
    for stop in (3, 7):
        with pytest.raises(KeyboardInterrupt):
            train(*fresh_model(), sources, tmp_path / "cut", chosen, resume=True, callbacks=[StopAt(stop)])
    resumed = train(*fresh_model(), sources, tmp_path / "cut", chosen, resume=True)
    assert resumed.resumed_from == 6
    assert resumed.history == whole.history, "the losses of each file, too"
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_other_weights_are_another_run(sources, tmp_path):
    train(*fresh_model(), sources, tmp_path, settings(steps=2))
    heavier = [dataclasses.replace(sources[0], weight=5), *sources[1:]]
    with pytest.raises(ConfigurationError, match="cannot be resumed as another: records was"):
        train(*fresh_model(), heavier, tmp_path, settings(steps=2), resume=True)


def test_kept_tokens_learn_what_pixels_do(sources, tmp_path):
    losses = [
        train(*fresh_model(), sources, tmp_path / str(kept), settings(cache_features=kept)).history.losses
        for kept in (False, True)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=2e-6)


def recipe_file(folder, files, data):
    (folder / "mine.yaml").write_text(
        f"output: {folder / 'out'}\nmodel: {{encoder: 'tiny?image_size=32&width=32&depth=1', connector: mlp, "
        "backbone: 'tiny?width=48&depth=1&heads=2'}\n"
        f"records: ???\nstages: {{train: {{steps: 1, batch_size: 4, threads: 1, data: {data}}}}}\n"
    )
    return folder / "mine.yaml"


def test_a_recipe_names_several_files_and_its_page_their_shares(files, tmp_path):
    entries = ", ".join(f"{{records: {path}, weight: {weight}}}" for path, weight in zip(files, WEIGHTS, strict=True))
    recipe = load_recipe(recipe_file(tmp_path, files, f"[{entries}]"))
    assert recipe.stages[0].data_name == "few.jsonl (4), many.jsonl (2), pairs.jsonl (1), text.jsonl (1)"
    (result,) = run_recipe(recipe)
    assert [(each.records, each.examples, each.share) for each in result.report.sources] == [
        (6, 32, 0.5), (30, 16, 0.25), (10, 8, 0.125), (18, 8, 0.125)
    ]  # fmt: skip
    page = result.summary.read_text()
    assert "examples an epoch" in page
    assert "12.5 %" in page
    assert "final loss" in page
    written = json.loads((result.training.history_path.parent / "report.json").read_text())["sources"]
    assert {each["name"] for each in written} == {"few.jsonl", "many.jsonl", "pairs.jsonl", "text.jsonl"}
    known = {each["name"]: each["final_loss"] for each in written if each["final_loss"] is not None}
    assert known == pytest.approx(result.training.history.points[-1].sources)
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    assert load_recipe(tmp_path / "again.yaml").stages[0].data == recipe.stages[0].data


def test_shares_are_of_the_records_that_can_be_used(files, tmp_path):
    lost = files[1].with_name("lost.jsonl")
    lines = files[1].read_text().splitlines()
    lines[3], lines[4] = lines[3].replace("images/", "nowhere/"), lines[4][:40]
    lost.write_text("\n".join(lines))
    data = f"[{{records: {files[3]}, weight: 1}}, {{records: {lost}, weight: 3}}]"
    (result,) = run_recipe(load_recipe(recipe_file(tmp_path, files, data), ["skip_limit=0.1"]))
    assert [(each.records, each.examples) for each in result.report.sources] == [(18, 12), (28, 34)]
    assert [entry.index for entry in result.training.skipped_records] == [21, 22]
    assert result.report.counts.records == 48


def test_files_on_the_command_line_take_the_place_of_those_of_a_recipe(files, tmp_path):
    path = recipe_file(tmp_path, files, f"[{files[0]}]")
    assert load_recipe(path).stages[0].data_name == "few.jsonl"
    assert load_recipe(path, [f"records={files[1]}"]).stages[0].data_name == "many.jsonl"
    several = load_recipe(path, [f"data=[{{records: {files[2]}, weight: 1}}, {{records: {files[3]}, weight: 3}}]"])
    assert several.stages[0].data_name == "pairs.jsonl (1), text.jsonl (3)"
    with pytest.raises(ConfigurationError, match="there is no key 'wieght'; did you mean 'weight'"):
        load_recipe(path, [f"data=[{{records: {files[2]}, wieght: 1}}]"])
