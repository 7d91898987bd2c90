"""A run on shards is one like any other: every sample once an epoch, resumed as it was, damage left out and told."""

from __future__ import annotations

import io
import logging
import tarfile
from collections import Counter

import pytest
from small_runs import At, interrupt, small_model

from facekit.data.dataset import RecordSet
from facekit.data.formats.shards import write_shards
from facekit.data.records import Turn
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, RecordError
from facekit.training import TrainingSettings, train
from facekit.training.records.streamed import SampleNames, StreamedDataset, iterate_source, open_source
from facekit.training.watching.run_watcher import LossGuard

SETTINGS = {
    "epochs": 2, "batch_size": 4, "log_every": 1, "save_every": 2, "threads": 1, "workers": 0, "landmark_noise": 0.01,
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 20, seed=2, image_size=64))


@pytest.fixture(scope="module")
def shards(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "all"
    write_shards(records.records, folder, media_folder=records.folder, per_shard=8)
    return folder


@pytest.fixture
def seen(monkeypatch):
    """The samples that came, in their order."""
    found, come = [], StreamedDataset.__iter__

    def watch(self):
        for example in come(self):
            found.append(example.index)
            yield example

    monkeypatch.setattr(StreamedDataset, "__iter__", watch)
    return found


def test_a_run_on_shards_sees_every_sample_once_an_epoch_and_is_resumed_as_it_was(shards, seen, tmp_path):
    chosen = TrainingSettings(**SETTINGS)
    whole = train(*small_model("region"), shards, tmp_path / "whole", chosen)
    assert whole.steps == 10
    assert Counter(seen) == dict.fromkeys(range(20), 2)
    assert sorted(seen[:20]) == list(range(20)) != seen[:20]
    assert seen[:20] != seen[20:]
    with pytest.raises(KeyboardInterrupt):
        train(*small_model("region"), shards, tmp_path / "cut", chosen, callbacks=[At(7, interrupt)])
    resumed = train(*small_model("region"), shards, tmp_path / "cut", chosen, resume=True)
    assert resumed.resumed_from == 6
    assert resumed.history.losses == whole.history.losses


def test_a_run_is_not_resumed_on_other_shards(shards, records, tmp_path):
    chosen = TrainingSettings(**{**SETTINGS, "epochs": None, "steps": 2})
    train(*small_model("region"), shards, tmp_path / "run", chosen)
    other = tmp_path / "other"
    write_shards(records.records, other, media_folder=records.folder, per_shard=5)
    with pytest.raises(ConfigurationError, match=r"records was '20 in 3 shards .* and is '20 in 4 shards"):
        train(*small_model("region"), other, tmp_path / "run", chosen, resume=True)


def test_samples_that_cannot_be_used_are_told_by_number(shards, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for shard in shards.glob("*.tar"):
        with tarfile.open(shard) as source, tarfile.open(folder / shard.name, "w") as target:
            for member in source:
                content = b"no picture" if member.name == "000000009.png" else source.extractfile(member).read()
                member.size = len(content)
                target.addfile(member, io.BytesIO(content))
    chosen = {**SETTINGS, "epochs": 1}
    result = train(*small_model("region"), folder, tmp_path / "run", TrainingSettings(**chosen, skip_limit=0.1))
    assert list(result.skipped) == [9]
    assert result.steps == 5
    with pytest.raises(RecordError, match=r"1 of 20 samples cannot be used, more than skip_limit=0\.01"):
        train(*small_model("region"), folder, tmp_path / "strict", TrainingSettings(**chosen))


def test_words_that_a_template_refuses_and_long_answers_follow_the_rules_of_records_files(records, tmp_path, caplog):
    """Samples are checked as they are read: the same faults, the same lists."""
    listed = list(records.records)
    system = Turn(role="system", content="Be brief.")
    listed[4] = listed[4].model_copy(update={"conversations": [system, *listed[4].conversations]})
    long = Turn(role="assistant", content=" ".join(["joy"] * 300))
    listed[6] = listed[6].model_copy(update={"conversations": [*listed[6].conversations[:3], long]})
    shards = tmp_path / "shards"
    write_shards(listed, shards, media_folder=records.folder, per_shard=7)
    model, processor = small_model("region")
    processor.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        + processor.chat_template
    )
    chosen = TrainingSettings(**{**SETTINGS, "max_tokens": 250, "skip_limit": 0.1})
    with caplog.at_level(logging.INFO):
        result = train(model, processor, shards, tmp_path / "run", chosen)
    assert list(result.skipped) == [4]
    assert "the chat template refuses the conversation: no system" in result.skipped[4]
    (shortened,) = result.shortened_records
    assert (shortened.index, shortened.kept, shortened.left_out[0].question) == (6, (0,), 2)
    assert "shards cannot be checked beforehand; samples that cannot be used are skipped" in caplog.text


@pytest.mark.parametrize("values", [{"cache_features": True, "parts": ("connector",)}, {"group_batches": True}])
def test_what_needs_all_records_beforehand_is_refused(shards, tmp_path, values):
    with pytest.raises(ConfigurationError, match=f"{next(iter(values))} needs a records file"):
        train(*small_model("region"), shards, tmp_path, TrainingSettings(**SETTINGS, **values))


def test_samples_have_names_in_messages():
    assert SampleNames()[7] == "sample 000000007"
    assert SampleNames()[3:5] == ["sample 000000003", "sample 000000004"]
    assert LossGuard(SampleNames()).record_ids[12] == "sample 000000012"


def test_a_source_is_a_records_file_or_shards(shards, records, tmp_path):
    assert open_source(records.folder / "records.jsonl").records == records.records
    assert open_source(shards) == shards
    assert tuple(iterate_source(shards)) == records.records
    assert tuple(iterate_source(records)) == records.records
    with pytest.raises(RecordError):
        open_source(tmp_path)


def test_a_sample_that_cannot_be_used_is_one_sentence_from_a_loading_process_too(records, tmp_path):
    bare = [record.model_copy(update={"conversations": ()}) for record in records.records]
    write_shards(bare, tmp_path / "shards", media_folder=records.folder, per_shard=8)
    settings = TrainingSettings(**{**SETTINGS, "workers": 1})
    with pytest.raises(RecordError, match=r"\A1 of 20 samples cannot be used.*: it has no conversation.*\Z") as caught:
        train(*small_model("region"), tmp_path / "shards", tmp_path / "run", settings)
    assert "Traceback" not in str(caught.value)
