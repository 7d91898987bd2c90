"""``divide``: a loaded model on several devices, as its ``device_map`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from facekit.backbones.base import read_device
from facekit.errors import ConfigurationError, first_line
from facekit.models.modeling import FaceKitForConditionalGeneration

PLANS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Names of device maps, those of transformers: all but ``sequential`` fill the GPUs evenly, ``balanced_low_0`` with
less on the first."""

DeviceMap = str | Mapping[str, str | int | torch.device]

_VISUAL = frozenset({"encoder", "video_encoder", "connector"})


def check_device_map(device_map: DeviceMap | None, device: str | torch.device | None) -> None:
    """Make sure that a device map can be meant, before anything is loaded.

    Raises:
        ConfigurationError: It is no name of ``PLANS``, its devices are not there, or ``device`` is given as well.
    """
    if device_map is None:
        return
    if device is not None:
        raise ConfigurationError("device and device_map both say where the model goes; give one of them")
    if isinstance(device_map, str):
        if device_map not in PLANS:
            raise ConfigurationError(
                f"there is no device_map '{device_map}'; choose one of {', '.join(PLANS)}, or give one device for all"
            )
        return
    for name, target in device_map.items():
        if target == "disk":
            raise ConfigurationError(f"device_map puts {name or 'the model'} on the disk, which only slows it down")
        read_device(target)


def divide(model: FaceKitForConditionalGeneration, device_map: DeviceMap) -> None:
    """Put a model's modules on several devices; what goes from one to the other is moved on the way.

    Encoder and connector stay together on one device, which is where inputs go; the language model is divided between
    its layers. What a plan leaves no GPU memory for stays on the CPU and is brought over when it is its turn.

    Args:
        model: A loaded model, on the CPU, quantised or not.
        device_map: One of ``PLANS``, or devices by names of modules that together cover the model, such as
            ``{"encoder": 0, "connector": 0, "language_model": 1}``.

    Raises:
        ConfigurationError: See ``check_device_map``; or modules are left out, parts that belong together are divided,
            or the model does not fit into the memory of GPUs and CPU.
    """
    from accelerate import dispatch_model  # imports a second's worth of launchers

    check_device_map(device_map, None)
    devices = _plan(model, device_map) if isinstance(device_map, str) else dict(device_map)
    if "disk" in devices.values():
        raise ConfigurationError(
            f"the model does not fit into the memory of this machine's GPUs and CPU (device_map='{device_map}'); open "
            "it with load_in='4bit', or a smaller one"
        )
    _check_cover(model, devices)
    main = _visual_device(devices)
    for name, target in devices.items():
        if _named(target).type != "cpu":
            model.get_submodule(name).to(_named(target))
    dispatch_model(model, devices, main_device=main, skip_keys=model.kept_in_place)


def refuse_divided(model: nn.Module, purpose: str) -> None:
    """Make sure that a model is on one device.

    Args:
        model: The model.
        purpose: What needs that, such as ``training``.

    Raises:
        ConfigurationError: It was divided by a ``device_map``.
    """
    devices = set(getattr(model, "hf_device_map", {}).values())
    if len(devices) > 1:
        raise ConfigurationError(
            f"{purpose} needs the model on one device, but its device_map divides it among {len(devices)}; open it "
            "without device_map"
        )


def _plan(model: FaceKitForConditionalGeneration, name: str) -> dict[str, Any]:
    from accelerate.utils import get_balanced_memory, infer_auto_device_map

    whole = sorted(model.kept_whole)
    memory = None
    if name != "sequential":
        memory = get_balanced_memory(model, no_split_module_classes=whole, low_zero=name == "balanced_low_0")
    devices: dict[str, Any] = infer_auto_device_map(model, max_memory=memory, no_split_module_classes=whole)
    # The visual parts come first, so they share a device unless it is full right there.
    return devices if "" in devices else devices | dict.fromkeys(_VISUAL & devices.keys(), devices["encoder"])


def _check_cover(model: nn.Module, devices: Mapping[str, Any]) -> None:
    from accelerate.utils import check_device_map as check_cover

    for name in devices:
        try:
            model.get_submodule(name)
        except AttributeError as error:
            raise ConfigurationError(f"device_map names '{name}', but the model has no such module") from error
        prefix = f"{name}." if name else ""
        inside = next((other for other in devices if other != name and other.startswith(prefix)), None)
        if inside is not None:
            raise ConfigurationError(f"device_map has '{name}' and a module in it, '{inside}'; name each module once")
    try:
        check_cover(model, dict(devices))
    except ValueError as error:
        raise ConfigurationError(f"device_map leaves a part of the model out: {first_line(error)}") from error


def _visual_device(devices: Mapping[str, Any]) -> str:
    if "" in devices:
        return str(_named(devices[""]))
    found = {name: _named(target) for name, target in devices.items() if name.partition(".")[0] in _VISUAL}
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{name} on {target}" for name, target in found.items())
        raise ConfigurationError(f"encoder and connector stay together on one device, but device_map has {listed}")
    return str(next(iter(found.values())))


def _named(target: str | int | torch.device) -> torch.device:
    return torch.device("cuda", target) if isinstance(target, int) else torch.device(target)
