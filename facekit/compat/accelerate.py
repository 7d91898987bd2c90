"""accelerate's environment, files, state and data loaders in sharded runs."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.utils.data import DataLoader

FSDP_WEIGHTS_FOLDER = "pytorch_model_fsdp_0"
"""The folder in a checkpoint that holds the pieces of a sharded model's weights.

Seen: accelerate 1.13 to 1.15.
Why: accelerate writes and reads it with the sharded model only; its name is a constant of ``accelerate.utils``.
Until: a public function that merges the pieces in memory.
"""


def launched_with_fsdp() -> bool:
    """Whether ``accelerate launch`` said, by an environment variable, that weights are sharded by FSDP.

    Seen: accelerate 1.13 to 1.15.
    Why: a process must know it before it makes an accelerator, and nothing public says it.
    Until: a public function that reads what the launcher decided.
    """
    return _is_on("ACCELERATE_USE_FSDP")


def launched_with_deepspeed() -> bool:
    """Whether ``accelerate launch`` said, by an environment variable, that the run uses DeepSpeed.

    Seen: accelerate 1.13 to 1.15.
    Why: as for FSDP.
    Until: as for FSDP.
    """
    return _is_on("ACCELERATE_USE_DEEPSPEED")


def _is_on(switch: str) -> bool:
    return os.environ.get(switch, "false").lower() in {"true", "1"}


def shard_on_cpu(state: Any) -> None:
    """Let a run on the CPU that was launched with FSDP shard its weights, as it would on accelerators.

    Args:
        state: ``accelerator.state`` of an accelerator that has prepared nothing yet.

    Seen: accelerate 1.13 to 1.15.
    Why: accelerate decides for FSDP on accelerators only, though FSDP2 works on the CPU with gloo; so a sharded run
        could not be rehearsed without them.
    Until: accelerate shards on the CPU too.
    """
    from accelerate import DistributedType
    from accelerate.utils import FullyShardedDataParallelPlugin

    if state.distributed_type == DistributedType.MULTI_CPU and launched_with_fsdp():
        state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin()


def feed_device(loader: DataLoader[Any], device: torch.device, **options: Any) -> DataLoader[Any]:
    """Let accelerate put the batches of a loader on a device, and deal none of them to other processes.

    Args:
        loader: Gives what is this process's own already.
        device: Where to.
        **options: Of ``prepare_data_loader``.

    Seen: accelerate 1.13 to 1.15.
    Why: ``Accelerator.prepare_data_loader`` deals the batches a second time.
    Until: an option turns that off.
    """
    from accelerate.data_loader import prepare_data_loader

    prepared: DataLoader[Any] = prepare_data_loader(
        loader, device, num_processes=1, process_index=0, put_on_device=True, non_blocking=loader.pin_memory, **options
    )
    return prepared
