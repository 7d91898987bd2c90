"""What TRL's trainers hold of a run between checkpoints, without TRL: a stand-in with their attributes."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from facekit.compat.trl_resuming import restore_progress, save_progress
from facekit.errors import CheckpointError


class RepeatSampler:
    """TRL's draws the order of every epoch from one generator."""

    def __init__(self):
        self.num_samples, self.shuffle = 9, True
        self.generator = torch.Generator().manual_seed(3)

    def __iter__(self):
        return iter(torch.randperm(self.num_samples, generator=self.generator).tolist())


def trainer(batches=0, answers=None, epoch=0.0, **others):
    wrapped = SimpleNamespace(batch_sampler=SimpleNamespace(sampler=RepeatSampler()))
    return SimpleNamespace(
        args=SimpleNamespace(process_index=0, steps_per_generation=2, device=torch.device("cpu")),
        num_iterations=2,
        state=SimpleNamespace(epoch=epoch),
        callback_handler=SimpleNamespace(train_dataloader=SimpleNamespace(batch_sampler=wrapped)),
        _step=batches,
        _buffered_inputs=answers,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tr_loss=torch.tensor(0.0),
        _globalstep_last_logged=0,
        **others,
    )


def order_of(trainer):
    return list(trainer.callback_handler.train_dataloader.batch_sampler.batch_sampler.sampler)


def answers():
    return [{"completion_ids": torch.arange(6).view(2, 3) + part, "num_images": [1, 1]} for part in range(2)]


def test_answers_are_kept_in_the_middle_of_a_round_only(tmp_path):
    for batches, kept in ((6, True), (8, False)):
        save_progress(trainer(batches, answers()), tmp_path)
        resumed = trainer(answers=None)
        restore_progress(resumed, tmp_path)
        assert resumed._step == batches
        assert (resumed._buffered_inputs is not None) == kept
        if kept:
            assert torch.equal(resumed._buffered_inputs[1]["completion_ids"], answers()[1]["completion_ids"])
            assert resumed._buffered_inputs[1]["num_images"] == [1, 1]


def test_a_process_whose_cpu_has_a_number_reads_them_too(tmp_path):
    """Of several processes on the CPU each has one, which torch cannot load to."""
    save_progress(trainer(6, answers()), tmp_path)
    resumed = trainer()
    resumed.args.device = torch.device("cpu", 0)
    restore_progress(resumed, tmp_path)
    assert torch.equal(resumed._buffered_inputs[1]["completion_ids"], answers()[1]["completion_ids"])


def test_what_was_gathered_for_the_next_entry_of_the_log_is_in_it(tmp_path):
    before = trainer()
    before._metrics["train"]["reward"] = [0.25, 0.5]
    before._tr_loss, before._globalstep_last_logged, before._total_train_tokens = torch.tensor(1.5), 4, 70
    save_progress(before, tmp_path)
    resumed = trainer()
    resumed._globalstep_last_logged = 6
    restore_progress(resumed, tmp_path)
    resumed._metrics["train"]["reward"].append(0.75)
    resumed._metrics["train"]["new"].append(1.0)
    assert dict(resumed._metrics["train"]) == {"reward": [0.25, 0.5, 0.75], "new": [1.0]}
    assert (float(resumed._tr_loss), resumed._globalstep_last_logged, resumed._total_train_tokens) == (1.5, 4, 70)


def test_the_third_epoch_has_the_order_that_it_has_without_a_stop(tmp_path):
    whole = trainer()
    orders = [order_of(whole) for _ in range(3)]
    save_progress(whole, tmp_path)
    resumed = trainer(epoch=2.25)
    restore_progress(resumed, tmp_path)
    assert order_of(resumed) == orders[2] != orders[0]


def test_a_checkpoint_without_it_is_gone_on_from_with_a_warning(tmp_path, caplog):
    resumed = trainer(batches=0)
    restore_progress(resumed, tmp_path)
    assert resumed._step == 0
    assert "has no trl_0.pt, so the run goes on, but not to the bit" in caplog.text


@pytest.mark.parametrize("damage", [b"", b"no pickle", None])
def test_damage_is_one_sentence(tmp_path, damage):
    save_progress(trainer(6, answers()), tmp_path)
    path = tmp_path / "trl_0.pt"
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    with pytest.raises(CheckpointError, match=r"trl_0\.pt cannot be read .*; delete .* to resume from the one before"):
        restore_progress(trainer(), tmp_path)
