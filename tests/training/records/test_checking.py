"""What cannot be used is known, named and left out before the first step, whatever it is, and stays so when resumed."""

from __future__ import annotations

import json
import multiprocessing
import re

import pytest
import torch
from broken_records import MAX_TOKENS, TEMPLATE, WAYS, write_broken_records
from transformers import TrainerCallback

import facekit
from facekit.data.dataset import DatasetOptions, RecordSet
from facekit.data.lenient import read_leniently
from facekit.errors import MissingExtraError, RecordError
from facekit.training import TrainingSettings, train
from facekit.training.records import checking
from facekit.training.records.checking import CHECK_NAME, RecordCheck
from facekit.training.records.corrupt import SkippingDataset

COUNT = 20 * len(WAYS)
SETTINGS = {
    "epochs": 1, "batch_size": 20, "log_every": 1, "save_every": 3, "threads": 1, "max_tokens": MAX_TOKENS,
    "skip_limit": 0.05,
}  # fmt: skip


def fresh_model():
    model, processor = facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1", connector="region", backbone="tiny?width=24&depth=1&heads=2",
        seed=0,
    )  # fmt: skip
    processor.chat_template = TEMPLATE
    return model, processor


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    return write_broken_records(tmp_path_factory.mktemp("faces"), COUNT)


@pytest.fixture(scope="module")
def straight(broken, tmp_path_factory):
    return train(*fresh_model(), broken[0], tmp_path_factory.mktemp("run"), TrainingSettings(**SETTINGS))


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def check_of(path, **options):
    return RecordCheck(read_leniently(path), fresh_model()[1], DatasetOptions(**{"max_tokens": MAX_TOKENS, **options}))


def test_every_broken_record_is_named_once_with_its_reason(broken, straight):
    _, reasons = broken
    lines = (straight.history_path.parent / "skipped.jsonl").read_text().splitlines()
    listed = [json.loads(line) for line in lines]
    assert {entry["id"] for entry in listed} == set(reasons)
    assert len(listed) == len(reasons) == len(WAYS)
    assert [entry["index"] for entry in listed] == list(range(7, COUNT, 20))
    for entry in listed:
        assert reasons[entry["id"]] in entry["reason"]
    assert [entry.id for entry in straight.skipped_records] == [entry["id"] for entry in listed]
    assert straight.steps == (COUNT - len(WAYS)) // 20


def test_a_run_with_broken_records_that_is_cut_three_times_ends_with_the_same_bits(broken, straight, tmp_path):
    for step in (4, 8, 13):
        settings = TrainingSettings(**SETTINGS)
        with pytest.raises(KeyboardInterrupt):
            train(*fresh_model(), broken[0], tmp_path, settings, resume=True, callbacks=[StopAt(step)])
    resumed = train(*fresh_model(), broken[0], tmp_path, TrainingSettings(**SETTINGS), resume=True)
    assert resumed.resumed_from == 12
    assert resumed.history.losses == straight.history.losses
    assert resumed.skipped == straight.skipped
    expected = facekit.load(straight.model_folder)[0].state_dict()
    found = facekit.load(resumed.model_folder)[0].state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_too_many_are_all_listed_before_anything_is_trained(broken, tmp_path):
    path, reasons = broken
    with pytest.raises(RecordError) as told:
        train(*fresh_model(), path, tmp_path, TrainingSettings(**{**SETTINGS, "skip_limit": 0.04}))
    assert str(told.value).startswith(f"20 of {COUNT} records cannot be used, more than skip_limit=0.04 allows: 'face-")
    assert f"and 15 more, all in {tmp_path / 'training' / 'skipped.jsonl'}" in str(told.value)
    assert len((tmp_path / "training" / "skipped.jsonl").read_text().splitlines()) == len(reasons)
    assert not list((tmp_path / "training").glob("checkpoint-*"))


def test_several_processes_find_what_one_finds(broken, tmp_path, monkeypatch):
    alone = check_of(broken[0]).run(tmp_path / "one.json", is_resumed=False, workers=1)
    monkeypatch.setattr(checking, "_SECONDS_ALONE", 0.0)
    state = torch.random.get_rng_state()
    seen = []
    several = check_of(broken[0]).run(tmp_path / "two.json", is_resumed=False, workers=2, on_progress=seen.append)
    assert several == alone
    assert torch.equal(torch.random.get_rng_state(), state), "nothing is drawn from the random state of the run"
    assert (seen[-1].stage, seen[-1].done, seen[-1].unit) == ("check records", COUNT - 6, "records")


def test_ctrl_c_leaves_no_process_behind(broken, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "_SECONDS_ALONE", 0.0)

    def press(state):
        if state.done > 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as held:
        check_of(broken[0]).run(tmp_path / CHECK_NAME, is_resumed=False, workers=2, on_progress=press)
    assert held.value is not None
    assert multiprocessing.active_children() == []
    assert not (tmp_path / CHECK_NAME).exists()


def test_what_was_found_is_remembered_and_what_was_repaired_is_used(broken, tmp_path, monkeypatch):
    folder = tmp_path / "faces"
    folder.mkdir()
    path, _ = write_broken_records(folder, COUNT)
    memory = tmp_path / CHECK_NAME
    first = check_of(path).run(memory, is_resumed=False)
    (folder / "rubbish.png").write_bytes((folder / "1.png").read_bytes())
    checked = []
    check = RecordCheck.check
    monkeypatch.setattr(RecordCheck, "check", lambda self, at: checked.append(at) or check(self, at))
    assert check_of(path).run(memory, is_resumed=True) == first, "a checkpoint goes on with what it began with"
    assert checked == []
    again = check_of(path).run(memory, is_resumed=False)
    assert len(checked) == len(first.unusable) - len(read_leniently(path).broken)
    assert [entry for entry in first.unusable if entry not in again.unusable] == [first.unusable[1]]
    check_of(path, max_tokens=MAX_TOKENS + 1).run(memory, is_resumed=True)
    assert len(checked) > COUNT // 2, "another limit is another check"
    memory.write_text("rubbish")
    assert check_of(path).run(memory, is_resumed=True) == again


def test_media_may_be_left_to_the_steps_that_need_them(broken, tmp_path):
    path, reasons = broken
    check = RecordCheck(read_leniently(path), fresh_model()[1], DatasetOptions(max_tokens=MAX_TOKENS), open_media=False)
    found = {entry.id for entry in check.run(tmp_path / CHECK_NAME, is_resumed=False).unusable}
    later = {"face-00027", "face-00047", "face-00067", "face-00347"}
    assert found == set(reasons) - later
    settings = TrainingSettings(**SETTINGS, check_media=False)
    result = train(*fresh_model(), path, tmp_path / "run", settings)
    assert {entry.id for entry in result.skipped_records} == set(reasons)


def test_questions_that_are_left_out_are_counted_and_listed(tmp_path, caplog):
    path, _ = write_broken_records(tmp_path, 20)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    long = {"role": "assistant", "content": " ".join(["joy"] * 150)}
    lines[3]["conversations"][1] = lines[4]["conversations"][3] = long
    path.write_text("\n".join(json.dumps(line) for line in lines))
    settings = TrainingSettings(**{**SETTINGS, "batch_size": 4, "epochs": 2, "cache_features": True})
    result = train(*fresh_model(), path, tmp_path / "run", settings)
    shortened = result.shortened_records
    assert [(each.index, each.kept, each.left_out[0].question) for each in shortened] == [(3, (1,), 1), (4, (0,), 2)]
    assert "left out 2 questions of 2 records: 'face-00003', question 1: it has" in caplog.text
    lines = (tmp_path / "run" / "training" / "shortened.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["face-00003", "face-00004"]


def test_a_text_beyond_the_context_is_told_where_nothing_else_bounds_it(tmp_path, caplog):
    path, _ = write_broken_records(tmp_path, 20)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[5]["conversations"][3]["content"] = " ".join(["joy"] * 2000)
    path.write_text("\n".join(json.dumps(line) for line in lines))
    settings = TrainingSettings(**{**SETTINGS, "max_tokens": None, "epochs": None, "steps": 1, "batch_size": 2})
    result = train(*fresh_model(), path, tmp_path / "run", settings)
    assert [each.index for each in result.shortened_records] == [5]
    assert re.search(r"'face-00005', question 2: .* and the language model's context is 2048", caplog.text)


def test_a_package_that_is_missing_is_no_fault_of_a_record(broken, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise MissingExtraError("reading a video needs PyAV")

    monkeypatch.setattr("facekit.data.checking.open_frames", fail)
    with pytest.raises(MissingExtraError, match="PyAV"):
        check_of(broken[0]).run(tmp_path / CHECK_NAME, is_resumed=False, workers=1)


def test_not_one_usable_record_is_told(broken, tmp_path):
    records = read_leniently(broken[0])
    useless = RecordSet(records.records[7:8], records.folder)
    log = tmp_path / "skipped.jsonl"
    dataset = SkippingDataset(useless, fresh_model()[1], DatasetOptions(), log_path=log, limit=1.0)
    with pytest.raises(RecordError, match="not one of 1 record can be used"):
        dataset.check()
