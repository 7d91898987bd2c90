"""Four sets of shards with weights 4:2:1:1, one of them text alone and one of pairs: shares, losses, resumption."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections import Counter
from itertools import islice

import pytest
import torch
from small_runs import At, interrupt

import facekit
from facekit.data import DataSource
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, RecordSet
from facekit.data.formats.shards import write_shards
from facekit.data.mixing import ShardSources, join_sources
from facekit.data.records import FaceRecord, Turn
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.training import TrainingSettings, load_recipe, run_recipe, train
from facekit.training.records import streamed
from facekit.training.records.streamed import NUMBERS_OF_A_SOURCE, MixedStreams

WEIGHTS = (4, 2, 1, 1)
SIZES = (6, 30, 10, 18)
NAMES = ("few", "many", "pairs", "text")


def turns(*said):
    return [Turn(role=("user", "assistant")[index % 2], content=words) for index, words in enumerate(said)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    drawn = RecordSet.read(write_synthetic_dataset(folder, 36, seed=2, image_size=32)).records
    pairs = [
        FaceRecord(id=f"pair-{index}", images=[drawn[index].image, drawn[index + 1].image],
                   landmarks=[drawn[index].landmarks, None], conversations=turns("The same?", "No."))
        for index in range(10)
    ]  # fmt: skip
    text = [FaceRecord(id=f"text-{index}", conversations=turns(f"Count to {index}.", "1, 2")) for index in range(18)]
    for name, part in zip(NAMES, (drawn[:6], drawn[6:], pairs, text), strict=True):
        write_shards(part, folder / "shards" / name, media_folder=folder, per_shard=7)
    return [folder / "shards" / name for name in NAMES]


@pytest.fixture
def sources(folders):
    return [DataSource(path, weight) for path, weight in zip(folders, WEIGHTS, strict=True)]


def fresh_model():
    return facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1", connector="region", backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )  # fmt: skip


def settings(**values):
    given = {"steps": 5, "batch_size": 16, "log_every": 1, "save_every": 2, "threads": 1, "workers": 0}
    return TrainingSettings(**{**given, "landmark_noise": 0.01, **values})


def stream_of(sources, folder, **options):
    return MixedStreams(
        join_sources(sources), fresh_model()[1], DatasetOptions(landmark_noise=0.01, **options),
        log_path=folder / "skipped.jsonl", limit=0.1,
    )  # fmt: skip


def numbers_of(stream, epoch):
    stream.set_epoch(epoch)
    return [stream._number(sample) for sample in islice(stream._over_and_over(), stream.samples_per_process)]


@pytest.mark.parametrize("processes", [1, 2])
def test_shares_are_exact_in_every_epoch(sources, tmp_path, monkeypatch, processes):
    monkeypatch.setattr(streamed, "count_processes", lambda: processes)
    for epoch in range(3):
        seen = []
        for rank in range(processes):
            monkeypatch.setenv("RANK", str(rank))
            seen += numbers_of(stream_of(sources, tmp_path), epoch)
        counts = Counter(number // NUMBERS_OF_A_SOURCE for number in seen)
        assert [counts[source] for source in range(4)] == [32, 16, 8, 8]


def test_a_small_set_is_repeated_and_a_large_one_seen_in_turn(sources, tmp_path):
    stream = stream_of(sources, tmp_path)
    first, second = (numbers_of(stream, epoch) for epoch in (0, 1))
    assert set(Counter(number for number in first if number < NUMBERS_OF_A_SOURCE).values()) == {5, 6}
    many = [[number for number in each if number // NUMBERS_OF_A_SOURCE == 1] for each in (first, second)]
    assert len({*many[0]}) == len(many[1]) == 16
    assert len({*many[0], *many[1]}) == 30, "what the first epoch left over comes first in the second"
    assert numbers_of(stream, 0) == first
    assert [number // NUMBERS_OF_A_SOURCE for number in first[:8]] != sorted(
        number // NUMBERS_OF_A_SOURCE for number in first[:8]
    )


def test_without_weights_every_sample_is_seen_once(folders, tmp_path):
    stream = stream_of([DataSource(path) for path in folders], tmp_path)
    assert [len(set(numbers_of(stream, epoch))) for epoch in (0, 1)] == [64, 64]


def test_a_repeated_sample_is_augmented_anew(sources, tmp_path):
    found = {}
    for example in stream_of(sources, tmp_path):
        found.setdefault(example.index, []).append(example.landmarks)
    again = next(each for number, each in found.items() if len(each) > 4 and number < NUMBERS_OF_A_SOURCE)
    assert not any(torch.equal(again[0], other) for other in again[1:])


def test_losses_of_each_set_are_those_of_a_plain_loop(sources, tmp_path):
    result = train(*fresh_model(), sources, tmp_path / "run", settings(steps=4, learning_rate=1e-9, warmup=0.0))
    model, _ = fresh_model()
    examples = list(stream_of(sources, tmp_path))
    for step, point in enumerate(result.history.points):
        sums, counts = Counter(), Counter()
        for example in examples[16 * step : 16 * step + 16]:
            alone = FaceCollator(0)([example])
            tokens = int((alone["labels"] != -100).sum())
            with torch.no_grad():
                sums[NAMES[example.index // NUMBERS_OF_A_SOURCE]] += float(model(**alone).loss) * tokens
            counts[NAMES[example.index // NUMBERS_OF_A_SOURCE]] += tokens
        assert point.sources == pytest.approx({name: sums[name] / counts[name] for name in counts}, abs=1e-5)
        assert point.loss == pytest.approx(sum(sums.values()) / sum(counts.values()), abs=1e-5)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_killed_ends_with_the_same_bits(sources, tmp_path, workers):
    whole = train(*fresh_model(), sources, tmp_path / "whole", settings())
    with pytest.raises(KeyboardInterrupt):
        train(*fresh_model(), sources, tmp_path / "cut", settings(), callbacks=[At(3, interrupt)])
    resumed = train(*fresh_model(), sources, tmp_path / "cut", settings(workers=workers), resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history == whole.history
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    heavier = [dataclasses.replace(sources[0], weight=5), *sources[1:]]
    with pytest.raises(ConfigurationError, match="cannot be resumed as another: records was"):
        train(*fresh_model(), heavier, tmp_path / "cut", settings(), resume=True)


def test_what_cannot_be_used_is_told_with_its_set(folders, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    with tarfile.open(broken / "000000.tar", "w") as shard:
        for number in range(3):
            content = b"no record" if number == 1 else json.dumps(
                {"id": f"t{number}", "conversations": [{"role": "user", "content": "Hm?"},
                                                       {"role": "assistant", "content": "No."}]}
            ).encode()  # fmt: skip
            entry = tarfile.TarInfo(f"{number:09d}.json")
            entry.size = len(content)
            shard.addfile(entry, io.BytesIO(content))
    sources = [DataSource(broken, 1), DataSource(folders[3], 1)]
    result = train(
        *fresh_model(), sources, tmp_path / "run", settings(epochs=1, steps=None, batch_size=7, skip_limit=0.1)
    )
    (entry,) = result.skipped_records
    assert entry.id == "broken/000000.tar/000000001"
    assert streamed.MixedNames(NAMES)[2 * NUMBERS_OF_A_SOURCE + 5] == "pairs, sample 000000005"


def test_what_cannot_be_mixed_is_refused(folders, sources, tmp_path, monkeypatch):
    file = write_synthetic_dataset(tmp_path / "file", 2, seed=0, image_size=32)
    with pytest.raises(ConfigurationError, match=r"all records files or all shards, and .*few is one of shards"):
        join_sources([DataSource(folders[0]), DataSource(file)])
    with pytest.raises(ConfigurationError, match="'many' has no weight and others have"):
        join_sources([DataSource(folders[0], 1), DataSource(folders[1])])
    monkeypatch.setattr(streamed, "count_processes", lambda: 8)
    with pytest.raises(ConfigurationError, match="'few' has 6 samples, too few for 8 processes"):
        stream_of(sources, tmp_path)
    with pytest.raises(ConfigurationError, match=r"group_batches needs a records file, and .*few, .*many.* are shards"):
        train(*fresh_model(), sources, tmp_path, settings(group_batches=True))


def test_a_recipe_names_sets_of_shards_and_its_page_their_shares(folders, tmp_path):
    data = ", ".join(f"{{records: {path}, weight: {weight}}}" for path, weight in zip(folders, WEIGHTS, strict=True))
    (tmp_path / "mine.yaml").write_text(
        f"output: {tmp_path / 'out'}\nmodel: {{encoder: 'tiny?image_size=32&width=32&depth=1', connector: mlp, "
        "backbone: 'tiny?width=48&depth=1&heads=2'}\n"
        f"records: ???\nstages: {{train: {{steps: 2, batch_size: 16, log_every: 1, threads: 1, data: [{data}]}}}}\n"
    )
    (result,) = run_recipe(load_recipe(tmp_path / "mine.yaml"))
    assert [(each.name, each.records, each.examples, each.share) for each in result.report.sources] == [
        ("few", 6, 32, 0.5), ("many", 30, 16, 0.25), ("pairs", 10, 8, 0.125), ("text", 18, 8, 0.125)
    ]  # fmt: skip
    assert result.report.counts.records == 64
    assert set(result.training.history.points[-1].sources) <= set(NAMES)
    assert isinstance(join_sources([DataSource(path) for path in folders]), ShardSources)


def test_numbers_of_every_face_of_large_sets_stay_with_their_set(sources, tmp_path):
    stream = stream_of(sources, tmp_path)
    sample = next(stream._over_and_over())
    of_set = dataclasses.replace(sample, key="1234567890001", source=1)  # face 1 of picture 123456789
    number = stream._number(of_set)
    assert stream.find_sources(torch.tensor([number])).tolist() == [1]
    assert stream.record_ids[number] == f"{NAMES[1]}, sample 1234567890001"
    too_long = dataclasses.replace(sample, key="20240101123045123456789")
    assert stream._number(too_long) is None
