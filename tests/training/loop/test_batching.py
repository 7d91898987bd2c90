"""Grouped batches: every index once, one group a batch, similar lengths, the same rounds for all processes."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import At, interrupt, small_model
from transformers import TrainerState

from facekit.data.dataset import RecordSet
from facekit.data.record_media import count_frames
from facekit.data.records import FaceRecord, Turn
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.training import TrainingSettings, train
from facekit.training.loop.batching import EpochNotifier, GroupedBatchSampler, group_records
from facekit.training.loop.face_trainer import FaceTrainer


def dealt(groups, lengths, batch_size, processes=1, epoch=0, **options):
    """Per process its batches."""
    samplers = [
        GroupedBatchSampler(groups, lengths, batch_size, rank=rank, processes=processes, **options)
        for rank in range(processes)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return [list(sampler) for sampler in samplers]


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 2), min_size=1, max_size=90),
    batch_size=st.integers(1, 5),
    processes=st.integers(1, 4),
    window=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_every_place_occurs_and_all_processes_are_in_one_group_at_each_step(
    groups, batch_size, processes, window, seed
):
    lengths = [7 * place % 31 for place in range(len(groups))]
    batches = dealt(groups, lengths, batch_size, processes, window=window, seed=seed)
    counts = Counter(place for each in batches for batch in each for place in batch)
    assert set(counts) == set(range(len(groups)))
    for group in set(groups):
        assert sum(counts[place] - 1 for place in counts if groups[place] == group) <= processes - 1
    assert len({len(each) for each in batches}) == 1
    assert len(batches[0]) == len(GroupedBatchSampler(groups, lengths, batch_size, processes=processes))
    for step in zip(*batches, strict=True):
        assert len({groups[place] for batch in step for place in batch}) == 1
        assert all(1 <= len(batch) <= batch_size for batch in step)


def test_one_process_sees_every_place_exactly_once():
    batches = dealt([1, 8] * 25, range(50), 4)[0]
    assert sorted(place for batch in batches for place in batch) == list(range(50))


def test_lengths_within_a_batch_are_close():
    lengths = np.random.default_rng(0).integers(10, 1000, 640)
    batches = dealt([1] * 640, lengths, 8, processes=2)
    spreads = [np.ptp(lengths[batch]) for each in batches for batch in each]
    assert np.mean(spreads) < 40
    chance = np.random.default_rng(1).permutation(640).reshape(-1, 8)
    assert np.mean(np.ptp(lengths[chance], axis=1)) > 700


def test_the_rounds_are_the_same_for_any_number_of_processes():
    groups, lengths = [1, 8, 8] * 16, list(range(48))
    alone = dealt(groups, lengths, 8)[0]
    together = dealt(groups, lengths, 2, processes=4)
    assert [sorted(chain.from_iterable(step)) for step in zip(*together, strict=True)] == [
        sorted(batch) for batch in alone
    ]


def test_order_is_a_matter_of_seed_and_epoch():
    groups, lengths = [1] * 64, list(range(64))
    first = dealt(groups, lengths, 4, window=2)
    assert first == dealt(groups, lengths, 4, window=2)
    assert first != dealt(groups, lengths, 4, window=2, epoch=1)
    assert first != dealt(groups, lengths, 4, window=2, seed=1)


@pytest.mark.parametrize(
    ("groups", "options"),
    [([], {}), ([1, 1], {"batch_size": 0}), ([1, 1], {"rank": 2, "processes": 2}), ([1, 1], {"window": 0})],
)
def test_what_cannot_be_dealt_is_refused(groups, options):
    with pytest.raises(ConfigurationError, match="batches"):
        GroupedBatchSampler(groups, [1] * len(groups), **{"batch_size": 2, **options})


def test_records_are_grouped_by_frames_and_by_what_is_said():
    turns = [Turn(role="user", content="q?"), Turn(role="assistant", content="yes")]
    long = [Turn(role="user", content="q?"), Turn(role="assistant", content="yes " * 50)]
    media = [{"image": "a.png"}, {"video": ["0.png", "1.png"]}, {"video": "a.mp4"}, {"video": "b.mp4", "frames": [2]}]
    records = [
        FaceRecord(id=f"{place}-{len(said)}", conversations=said, **medium)
        for place, medium in enumerate(media)
        for said in (turns, long, turns, long)
    ]
    frames = [count_frames(record, 8) for record in records]
    assert frames == [1] * 4 + [2] * 4 + [8] * 4 + [1] * 4
    batches = list(group_records(records, small_model()[1], 2))
    assert sorted(chain.from_iterable(batches)) == list(range(16))
    for batch in batches:
        assert len({frames[place] for place in batch}) == 1
        assert len({len(records[place].conversations[1].content) for place in batch}) == 1


@pytest.mark.parametrize(("epoch", "expected"), [(0.0, 0), (2.0, 2), (3.6, 3)])
def test_a_sampler_hears_its_epoch_from_the_trainer_whatever_loaders_forward(epoch, expected):
    sampler = GroupedBatchSampler([1] * 8, [1] * 8, 2)
    EpochNotifier(sampler).on_epoch_begin(None, TrainerState(epoch=epoch), None)
    assert sampler.epoch == expected


def test_a_run_deals_grouped_batches_anew_in_every_epoch(tmp_path, monkeypatch):
    records = RecordSet.read(write_synthetic_dataset(tmp_path / "faces", 12, seed=2, image_size=64))
    model, processor = small_model()
    batches, compute = [], FaceTrainer.compute_loss

    def watch(self, model, inputs, *given, **named):
        batches.append(inputs["example_indices"].tolist())
        return compute(self, model, inputs, *given, **named)

    monkeypatch.setattr(FaceTrainer, "compute_loss", watch)
    chosen = TrainingSettings(epochs=3, batch_size=4, group_batches=True, threads=1, seed=5)
    train(model, processor, records, tmp_path / "run", chosen)
    sampler = group_records(records.records, processor, 4, seed=5)
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected += list(sampler)
    assert batches == expected
    assert len({str(batches[start : start + 3]) for start in (0, 3, 6)}) == 3


def test_a_run_with_grouped_batches_goes_on_as_if_nothing_had_happened(tmp_path):
    records = RecordSet.read(write_synthetic_dataset(tmp_path / "faces", 20, seed=2, image_size=64))
    chosen = TrainingSettings(epochs=2, batch_size=4, group_batches=True, log_every=1, save_every=2, threads=1)
    whole = train(*small_model(), records, tmp_path / "whole", chosen)
    with pytest.raises(KeyboardInterrupt):
        train(*small_model(), records, tmp_path / "cut", chosen, callbacks=[At(7, interrupt)])
    resumed = train(*small_model(), records, tmp_path / "cut", chosen, resume=True)
    assert resumed.resumed_from == 6
    assert whole.steps == 10
    assert resumed.history.losses == whole.history.losses
