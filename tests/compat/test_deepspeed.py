"""DeepSpeed's saves come to their end in all processes: a stand-in with its methods, one of which cannot write."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from facekit.compat.deepspeed import ending_saves_together, is_partitioned


class Writer:
    def makedirs(self, path, exist_ok=False):
        path.mkdir(parents=True, exist_ok=exist_ok)

    def save(self, state_dict, path):
        raise OSError(28, "No space left on device")


class Engine:
    """Saves as ``DeepSpeedEngine.save_checkpoint`` does, in its order."""

    def __init__(self, rank):
        self.global_rank, self.global_steps, self.checkpoint_engine, self.barriers = rank, 3, Writer(), 0

    def _copy_recovery_script(self, save_path):
        raise OSError(28, "No space left on device")

    def save_checkpoint(self, save_dir, tag=None, save_latest=True):
        self.checkpoint_engine.makedirs(save_dir, exist_ok=True)
        self.checkpoint_engine.save(state_dict={}, path=save_dir / "model_states.pt")
        if self.global_rank == 0:
            self._copy_recovery_script(save_dir)
        assert not save_latest
        self.barriers += 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_cannot_write_comes_to_the_barrier_too(tmp_path, rank):
    kept = []

    @contextmanager
    def keeping():
        try:
            yield
        except OSError as error:
            kept.append(error)

    engine = Engine(rank)
    with ending_saves_together(engine, keeping):
        engine.save_checkpoint(tmp_path / "saved")
    assert engine.barriers == 1
    assert len(kept) == (2 if rank == 0 else 1)
    assert (tmp_path / "saved" / "latest").exists() == (rank == 0)
    if rank == 0:
        assert (tmp_path / "saved" / "latest").read_text() == "global_step3"


def test_the_engine_is_as_it_was_afterwards(tmp_path):
    engine = Engine(0)
    with pytest.raises(ValueError, match="a bug"), ending_saves_together(engine, lambda: None):
        raise ValueError("a bug")
    assert vars(engine).keys() == vars(Engine(0)).keys()
    with pytest.raises(OSError, match="No space"):
        engine.save_checkpoint(tmp_path, save_latest=False)


def test_a_weight_in_one_piece_is_known(tmp_path):
    import torch

    assert not is_partitioned(torch.nn.Parameter(torch.zeros(2)))
