"""Optimizers by name: AdamW, Muon for matrices, and those that transformers' trainer knows (8-bit, paged, …)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import nn
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.training_args import OptimizerNames

from facekit.errors import ConfigurationError, MissingExtraError, first_line
from facekit.spec import closest_match_hint
from facekit.training.recipes.settings import TrainingSettings
from facekit.training.trainable.parts import parameter_groups

Groups: TypeAlias = list[dict[str, Any]]

OWN = ("adamw", "muon")
_OTHER_INTERFACES = ("galore", "apollo", "lomo", "schedule_free", "greedy", "xla", "npu")
"""Of those that transformers knows: they take modules, gradients or schedules of their own."""
_EPSILON = 1e-8


def list_optimizers() -> list[str]:
    """Names that ``TrainingSettings.optimizer`` may have; some need a package that is not installed."""
    foreign = (name.value for name in OptimizerNames)
    return [*OWN, *(name for name in foreign if not any(part in name for part in _OTHER_INTERFACES))]


def require_optimizer(name: str) -> None:
    """Raise ``ConfigurationError``, with the closest name, where there is no such optimizer."""
    if name not in list_optimizers():
        raise ConfigurationError(f"there is no optimizer '{name}'{closest_match_hint(name, list_optimizers())}")


def build_optimizer(
    model: nn.Module, settings: TrainingSettings, arguments: TrainingArguments
) -> torch.optim.Optimizer:
    """Make the optimizer of a run, with one group per rate and decay.

    Args:
        model: The model, inside ``trainable_parts``.
        settings: Name the optimizer and the rates.
        arguments: The trainer's, which know the same for optimizers of other packages.

    Raises:
        MissingExtraError: Its package is not installed.
        ConfigurationError: It cannot be used here.
    """
    groups = parameter_groups(model, settings)
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, betas=settings.betas, eps=_EPSILON, fused=True)
    if settings.optimizer == "muon":
        return MuonWithAdamW(*divide_matrices(model, groups), betas=settings.betas)
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, model)  # type: ignore[arg-type]
        options = {name: value for name, value in options.items() if name != "lr"}
        optimizer: torch.optim.Optimizer = kind(groups, **options)
    except ImportError as error:
        raise MissingExtraError(f"optimizer '{settings.optimizer}' needs a package: {first_line(error)}") from error
    except (ValueError, TypeError, RuntimeError) as error:
        raise ConfigurationError(
            f"optimizer '{settings.optimizer}' cannot be used here: {first_line(error)}"
        ) from error
    if options.get("optim_bits") == 8:
        _keep_embeddings_exact(model)
    return optimizer


def divide_matrices(model: nn.Module, groups: Groups) -> tuple[Groups, Groups]:
    """Divide groups into matrices inside the network, and the rest: embeddings, head, vectors."""
    outer: set[int] = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    outer |= {id(weight) for weight in (head.parameters() if isinstance(head, nn.Module) else ())}

    def chosen(keep: Callable[[nn.Parameter], bool]) -> Groups:
        kept = ({**group, "params": [each for each in group["params"] if keep(each)]} for group in groups)
        return [group for group in kept if group["params"]]

    def is_inner(weight: nn.Parameter) -> bool:
        return weight.ndim == 2 and id(weight) not in outer

    return chosen(is_inner), chosen(lambda weight: not is_inner(weight))


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for matrices and AdamW for the rest, as one optimizer.

    Updates of matrices are scaled to the size of AdamW's (Liu et al. 2025, arXiv 2502.16982), so that rates and decay
    mean the same for both.

    Args:
        matrices: Groups of matrices.
        others: Groups of everything else.
        betas: Of AdamW.

    Raises:
        ConfigurationError: This PyTorch has no Muon, or there is no matrix.
    """

    def __init__(self, matrices: Groups, others: Groups, *, betas: tuple[float, float]) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ConfigurationError("optimizer 'muon' needs PyTorch 2.9 or newer; use 'adamw'")
        if not matrices:
            raise ConfigurationError("optimizer 'muon' is for matrices, and none is trained; use 'adamw'")
        super().__init__([*matrices, *others], {})
        self._count = len(matrices)
        self._inner: list[torch.optim.Optimizer] = [
            torch.optim.Muon(self.param_groups[: self._count], adjust_lr_fn="match_rms_adamw")
        ]
        if others:
            self._inner.append(torch.optim.AdamW(self.param_groups[self._count :], betas=betas, eps=_EPSILON))
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all weights."""
        loss = None if closure is None else closure()
        for optimizer in self._inner:
            optimizer.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let both work on the groups and the state of this one, which schedules and checkpoints see."""
        parts = (self.param_groups[: self._count], self.param_groups[self._count :])
        for optimizer, groups in zip(self._inner, parts, strict=False):
            optimizer.param_groups, optimizer.state = groups, self.state


def _keep_embeddings_exact(model: nn.Module) -> None:
    """Keep the moments of embeddings in 32 bits, whose gradients are sparse, as bitsandbytes advises."""
    import bitsandbytes

    manager = bitsandbytes.optim.GlobalOptimManager.get_instance()
    embeddings: Iterable[nn.Module] = (module for module in model.modules() if isinstance(module, nn.Embedding))
    for module in embeddings:
        manager.register_module_override(module, "weight", {"optim_bits": 32})
