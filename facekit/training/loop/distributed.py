"""Distributed training with DDP, FSDP2 and ZeRO-3: main process, barriers and sharded weights.

DDP needs nothing of a model but its gradients. FSDP2 and ZeRO-3 take its weights apart where they stand, so here a
stand-in is trained, and the model gets the whole weights back when the training is over.
"""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_model
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from facekit.compat.accelerate import (
    FSDP_WEIGHTS_FOLDER,
    launched_with_deepspeed,
    launched_with_fsdp,
    shard_on_cpu,
)
from facekit.compat.deepspeed import gather_partitioned, is_partitioned
from facekit.compat.torch import is_lost_process
from facekit.counted import counted
from facekit.errors import CheckpointError, ConfigurationError, TrainingError

logger = logging.getLogger(__name__)

_WEIGHTS = "model.safetensors"

_M = TypeVar("_M", bound=nn.Module)
_V = TypeVar("_V")


def count_processes() -> int:
    """How many processes the launcher started for this run (``WORLD_SIZE``); 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def count_processes_here() -> int:
    """How many of them share this machine (``LOCAL_WORLD_SIZE``)."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this is the process that writes files and reports progress (``RANK`` 0)."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_everyone() -> None:
    """Return when all processes of the run have come here."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        from accelerate import PartialState

        PartialState().wait_for_everyone()


def gather_lists(values: list[_V]) -> list[_V]:
    """The lists of all processes of the run in one, in every process; each has to come here."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    from accelerate.utils import gather_object

    gathered: list[_V] = gather_object(values)
    return gathered


def share_from_main(value: _V) -> _V:
    """What the main process of the run has, in every process; each has to come here."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    from accelerate.utils import broadcast_object_list

    shared: list[_V] = broadcast_object_list([value])
    return shared[0]


def first_problem(problem: str | None) -> str | None:
    """What went wrong in any process of the run, or None; each has to come here, also where nothing did."""
    return next((each for each in gather_lists([problem]) if each is not None), None)


@contextmanager
def lost_process_explained() -> Iterator[None]:
    """Say in one sentence that another process of the run is gone, which this one was waiting for.

    Raises:
        TrainingError: It is.
    """
    try:
        yield
    except Exception as error:
        if not is_lost_process(error):
            raise
        raise TrainingError(
            "another process of this run has ended or does not answer, so this one cannot go on; see what that one "
            "said, and resume"
        ) from error


def leave_processes() -> None:
    """End what the processes of a run share, when nothing is left to do together; a program calls it at its end."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def shards_weights() -> bool:
    """Whether ``accelerate launch`` was configured to shard weights, by FSDP or by DeepSpeed."""
    return launched_with_fsdp() or launched_with_deepspeed()


@contextmanager
def whole_again(model: _M) -> Iterator[_M]:
    """Yield what to train in place of a model; afterwards the model has its whole weights, in every process.

    Without sharding that is the model itself. Otherwise it is a stand-in that takes the weights over, and the model
    holds none inside the ``with`` block, so that no memory is spent twice; they come back on the CPU. After an error
    they do not, because that needs all processes.

    Args:
        model: The model; its structure and what asks for gradients stay as they are.

    Raises:
        ConfigurationError: The processes begin with different weights, whose pieces would not fit together.
    """
    if not shards_weights():
        yield model
        return
    _check_same_weights(model)
    weights = {id(weight): weight for weight in model.parameters()}
    stand_in = copy.deepcopy(model, dict(weights))
    empty = {key: nn.Parameter(weight.to("meta"), weight.requires_grad) for key, weight in weights.items()}
    _replace_weights(model, empty)
    yield stand_in
    found = dict(stand_in.named_parameters(remove_duplicate=False))
    filled: dict[int, nn.Parameter] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        if id(weight) not in filled:
            # Trainable weights are sharded in float32; adapters stay so, because they are merged and saved in it.
            whole = _whole(found[name])
            filled[id(weight)] = nn.Parameter(
                whole if "lora_" in name else whole.to(weight.dtype), weight.requires_grad
            )
    _replace_weights(model, filled)
    for name, buffer in stand_in.named_buffers():
        model.get_buffer(name).copy_(buffer)


def load_whole_weights(model: nn.Module, checkpoint: Path) -> None:
    """Load the weights of a checkpoint, whether they are in one file or in FSDP's pieces.

    Args:
        model: A model that is in one piece.
        checkpoint: A folder that the trainer wrote.

    Raises:
        CheckpointError: It holds neither, or weights of another model.
    """
    if (checkpoint / _WEIGHTS).is_file():
        missing, further = load_model(model, checkpoint / _WEIGHTS, strict=False)
        # DeepSpeed writes a weight that two modules share under both names.
        foreign = sorted(set(further) - model.state_dict().keys())
        if missing or foreign:
            raise CheckpointError(
                f"{checkpoint / _WEIGHTS} is of another model: it lacks {counted(len(missing), 'weight')} and has "
                f"{len(foreign)} others, such as '{[*sorted(missing), *foreign][0]}'; resume from an earlier checkpoint"
            )
        return
    if not (checkpoint / FSDP_WEIGHTS_FOLDER).is_dir():
        raise CheckpointError(
            f"{checkpoint} has neither {_WEIGHTS} nor {FSDP_WEIGHTS_FOLDER}; resume from an earlier one"
        )
    from torch.distributed import checkpoint as distributed_checkpoint

    state = {"model": model.state_dict()}
    distributed_checkpoint.load(state, checkpoint_id=checkpoint / FSDP_WEIGHTS_FOLDER, no_dist=True)
    model.load_state_dict(state["model"])


def prepare_sharding(accelerator: Any) -> bool:
    """Make FSDP2 fit composed models: landmarks stay exact, gradients are added in float32, and the CPU may rehearse.

    Args:
        accelerator: accelerate's ``Accelerator``, before it has prepared the model.

    Returns:
        Whether the run uses FSDP2.

    Raises:
        ConfigurationError: The configuration asks for FSDP1, or for what the recipe says otherwise.
    """
    from accelerate import DistributedType
    from torch.distributed.fsdp import MixedPrecisionPolicy

    state = accelerator.state
    shard_on_cpu(state)
    if state.distributed_type != DistributedType.FSDP:
        return False
    plugin = state.fsdp_plugin
    check_plugin(plugin)
    # Nothing here writes into what a sharded part returned.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view tensor")
    if accelerator.mixed_precision == "bf16":
        plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
    return True


def autocast_of_shards(accelerator: Any) -> AbstractContextManager[Any]:
    """Mixed precision inside a sharded model, which accelerate leaves to FSDP2's casting of every input."""
    if accelerator.is_fsdp2 and accelerator.mixed_precision == "bf16":
        return torch.autocast(accelerator.device.type, dtype=torch.bfloat16)
    return nullcontext()


def check_plugin(plugin: Any) -> None:
    """Refuse what accelerate can do with FSDP but composed models or recipes cannot.

    Args:
        plugin: accelerate's ``FullyShardedDataParallelPlugin``.

    Raises:
        ConfigurationError: The configuration asks for it.
    """
    problems = {
        "fsdp_version must be 2": plugin.fsdp_version != 2,
        "fsdp_activation_checkpointing must be false; set gradient_checkpointing in the recipe": (
            plugin.activation_checkpointing
        ),
        "fsdp_cpu_ram_efficient_loading must be false": plugin.cpu_ram_efficient_loading,
    }
    wrong = [problem for problem, occurs in problems.items() if occurs]
    if wrong:
        raise ConfigurationError(f"the accelerate configuration does not fit: {'; '.join(wrong)}")


def check_lockstep(inputs: Mapping[str, Any]) -> None:
    """Refuse a batch through which a sharded model would go in more passes than through those of other processes.

    Every pass through a sharded part gathers its weights from all processes, so one that goes twice waits for ever.

    Raises:
        ConfigurationError: The batch mixes images and clips, or clips of different length.
    """
    if inputs.get("num_frames") is not None:
        raise ConfigurationError(
            f"a batch mixes media of {sorted(set(inputs['num_frames'].tolist()))} frames, which FSDP and ZeRO-3 cannot "
            "take; set group_batches to true, and leave out clips that are shorter than the rest"
        )


def _check_same_weights(model: nn.Module) -> None:
    """Compare a sum of all weights between the processes; DDP would copy those of the first, sharding does not."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    total = sum((weight.detach().double().sum().item() for weight in model.parameters()), 0.0)
    totals: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(totals, total)
    if any(each != totals[0] for each in totals):
        raise ConfigurationError(
            f"the processes begin with different weights (their sums are {totals}); create the model with the same "
            "seed in all of them"
        )


def _replace_weights(model: nn.Module, replacements: Mapping[int, nn.Parameter]) -> None:
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(module, name, replacements[id(weight)])


def _whole(weight: Tensor) -> Tensor:
    """A weight in one piece on the CPU; all processes take part."""
    if isinstance(weight, DTensor):
        return weight.full_tensor().detach().cpu()
    if is_partitioned(weight):
        return gather_partitioned(weight)
    return weight.detach().cpu()
