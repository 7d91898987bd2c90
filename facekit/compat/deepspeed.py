"""DeepSpeed's sharded weights, and its checkpoints on a disk that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from torch import Tensor


def is_partitioned(weight: Tensor) -> bool:
    """Whether ZeRO-3 holds a part of a weight in each process.

    Seen: deepspeed 0.19.
    Why: nothing public tells such a weight from an ordinary one.
    Until: a public function that does.
    """
    return hasattr(weight, "ds_id")


def part_here(weight: Tensor) -> Tensor:
    """What this process holds of a weight of ZeRO-3, on any device; an ordinary weight itself.

    Seen: deepspeed 0.19.
    Why: between two steps the weight itself is empty.
    Until: a public function that gives the part.
    """
    part: Tensor = getattr(weight, "ds_tensor", weight)
    return part


def gather_partitioned(weight: Tensor) -> Tensor:
    """A weight of ZeRO-3 in one piece, on the CPU; all processes take part.

    Seen: deepspeed 0.19.
    Why: ``deepspeed.zero`` is an attribute and no module: ``from deepspeed.zero import …`` fails.
    Until: it is a module, or a weight has a method for it, as ``DTensor.full_tensor``.
    """
    import deepspeed

    with deepspeed.zero.GatheredParameters([weight]):
        return weight.detach().cpu().clone()


@contextmanager
def ending_saves_together(engine: Any, keeping: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Let all processes come to the end of a checkpoint, where one of them cannot write its part.

    Args:
        engine: A ``DeepSpeedEngine``; its ``save_checkpoint`` is called inside the ``with`` block.
        keeping: Makes a context that keeps the error of a failed write, for whoever saves to look at afterwards.

    Seen: deepspeed 0.19.
    Why: a process whose write fails leaves ``save_checkpoint`` at once, and the others wait for it in a barrier.
    Until: it raises in all processes.
    """
    writer, save = engine.checkpoint_engine, engine.save_checkpoint

    def kept(write: Callable[..., Any]) -> Callable[..., None]:
        @wraps(write)
        def write_or_keep(*given: Any, **named: Any) -> None:
            with keeping():
                write(*given, **named)

        return write_or_keep

    def save_checkpoint(save_dir: str, *given: Any, **named: Any) -> None:
        save(save_dir, *given, save_latest=False, **named)
        if engine.global_rank == 0:
            with keeping():
                (Path(save_dir) / "latest").write_text(f"global_step{engine.global_steps}", encoding="utf-8")

    writer.save, writer.makedirs = kept(writer.save), kept(writer.makedirs)
    engine._copy_recovery_script, engine.save_checkpoint = kept(engine._copy_recovery_script), save_checkpoint
    try:
        yield
    finally:  # what hides the methods of their classes
        for owner, names in ((writer, ("save", "makedirs")), (engine, ("_copy_recovery_script", "save_checkpoint"))):
            for name in names:
                delattr(owner, name)
