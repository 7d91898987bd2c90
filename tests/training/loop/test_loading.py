"""Loading processes: as many as suit the machine, and whatever their number the same run to the last bit."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader, get_worker_info
from transformers import TrainerCallback

import facekit
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.formats.shards import write_shards
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training import TrainingSettings, train
from facekit.training.loop.loading import choose_workers, leave_interrupts_alone


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=2, image_size=32))


@pytest.fixture(scope="module")
def shards(records, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards") / "all"
    write_shards(records.records, folder, media_folder=records.folder, per_shard=10)
    return folder


def fresh_model():
    return facekit.create(
        encoder="tiny?image_size=32&width=32&depth=1",
        connector="region",
        backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )


def settings(**values):
    common = {"steps": 8, "batch_size": 8, "log_every": 1, "save_every": 2, "threads": 1, "landmark_noise": 0.01}
    return TrainingSettings(**{**common, "turns_per_example": 2, "cache_pictures": False, **values})


class StopAt(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt


class LoadingProcesses(TrainerCallback):
    def on_train_begin(self, args, state, control, train_dataloader=None, **kwargs):
        self.count = train_dataloader.num_workers


@pytest.mark.parametrize("kind", ["files", "grouped", "shards"])
def test_a_run_is_the_same_with_any_number_of_loading_processes_and_goes_on_with_another(
    records, shards, tmp_path, kind
):
    source = shards if kind == "shards" else records
    chosen = {"group_batches": kind == "grouped"}
    alone = train(*fresh_model(), source, tmp_path / "alone", settings(workers=0, **chosen))
    with pytest.raises(KeyboardInterrupt):
        train(*fresh_model(), source, tmp_path / "cut", settings(workers=2, **chosen), callbacks=[StopAt()])
    seen = LoadingProcesses()
    resumed = train(
        *fresh_model(), source, tmp_path / "cut", settings(workers=1, **chosen), resume=True, callbacks=[seen]
    )
    assert seen.count == 1
    assert resumed.resumed_from == 4
    assert resumed.history.losses == alone.history.losses
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("alone", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize(
    ("cores", "processes", "device", "expected"),
    [(2, 1, "cuda", 1), (2, 1, "cpu", 1), (1, 1, "cpu", 0), (16, 1, "cuda", 8), (16, 8, "cuda", 1), (8, 2, "cuda", 3)],
)
def test_the_default_is_what_cores_and_processes_leave(records, monkeypatch, cores, processes, device, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    dataset = FaceDataset(records, fresh_model()[1], DatasetOptions(cache_pictures=False))
    assert choose_workers(dataset, torch.device(device)) == expected


def test_what_is_in_memory_is_not_loaded_by_others(records, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)))
    processor = fresh_model()[1]
    in_memory, kept = FaceDataset(records, processor), FaceDataset(records, processor, with_pixels=False)
    assert [choose_workers(each, torch.device("cuda")) for each in (in_memory, kept)] == [0, 0]


def test_a_small_run_on_pictures_in_memory_starts_no_process(records, tmp_path):
    seen = LoadingProcesses()
    train(*fresh_model(), records, tmp_path, settings(steps=1, cache_pictures=None), callbacks=[seen])
    assert seen.count == 0


class Handlers(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        assert get_worker_info() is not None
        return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_loading_processes_leave_ctrl_c_to_the_run():
    started = []
    loader = DataLoader(Handlers(), num_workers=1, worker_init_fn=started.append)
    leave_interrupts_alone(loader)
    assert [bool(value) for value in loader] == [True, True]
