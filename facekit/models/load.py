"""``load``: a model with its processor from a checkpoint, facekit's own or another library's.

transformers fills what a checkpoint lacks with random weights and a warning; here that is an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from facekit.backbones.base import choose_device, has_tokenizer, read_device, read_dtype
from facekit.backbones.quantization import check_quantization, quantize
from facekit.compat.transformers_model import one_at_a_time
from facekit.encoders.huggingface import errors_only
from facekit.errors import CheckpointError, ConfigurationError, configuration_guard, first_line
from facekit.hub import fetch_folder
from facekit.models.interoperability.adapters import apply_adapter, find_base_model
from facekit.models.interoperability.reading import read_foreign, renaming_of
from facekit.models.interoperability.recognition import (
    FORMAT_NAMES,
    NATIVE_PREFIX,
    NATIVE_SETTINGS,
    CheckpointFormat,
    Recognition,
    as_native,
    read_json,
    recognise,
)
from facekit.models.interoperability.weights import list_weights_files, shorten
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.loading import load_native
from facekit.models.placement import DeviceMap, check_device_map, divide
from facekit.models.processing import FaceKitProcessor

_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@one_at_a_time
def load(
    path: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    tower_root: str | Path | None = None,
    tokenizer: str | Path | None = None,
    revision: str = "main",
    load_in: Literal["4bit", "8bit"] | None = None,
    device_map: DeviceMap | None = None,
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    """Load a model and its processor; the format is recognised by ``config.json``.

    Read are folders that ``save_pretrained`` of both wrote; InternVL in the Hugging Face layout (InternVL3 ``-hf``,
    merged FaceLLM); LLaVA-1.5 in the Hugging Face layout; Face-LLaVA as released; and folders of PEFT adapters whose
    base model is one of these. Any other vision-language model of transformers, such as Qwen2.5-VL, is opened in its
    own class, with facekit's face finding in front (``facekit.models.native``), and so is one whose folder or hub id is
    written behind ``hf:``.

    Args:
        path: The folder, or a hub id such as ``OpenGVLab/InternVL3-1B-hf`` where there is no folder of that name;
            either may stand behind ``hf:``.
        dtype: Floating type; by default as saved.
        device: Where the model is put; by default a GPU where there is one, and else the CPU.
        tower_root: For released Face-LLaVA: the folder with the towers' configurations, under the names that the
            checkpoint gives them, such as ``LanguageBind/LanguageBind_Image``; by default these are hub ids.
        tokenizer: For other people's checkpoints: folder or hub id of a tokenizer in place of the checkpoint's, such as
            ``lmsys/vicuna-7b-v1.5`` for a Face-LLaVA that came without one.
        revision: Branch, tag or commit on the hub.
        load_in: ``4bit`` or ``8bit`` packs the language model's linear layers through bitsandbytes; encoder, connector
            and output head stay as they are. Such a model answers and trains adapters, but is not saved whole.
        device_map: Instead of ``device``, divides a model that one GPU has no memory for: ``auto``, ``balanced``,
            ``balanced_low_0`` or ``sequential``, or devices by names of modules. Such a model answers, but is not
            trained. It is read into the CPU's memory first.

    Returns:
        The model, in evaluation mode, and the processor.

    Raises:
        CheckpointError: The folder is missing, is no checkpoint, is one of another format, or is damaged or
            incomplete.
        ConfigurationError: ``tower_root`` or ``tokenizer`` is given where it means nothing, or a device is not there,
            or ``device_map`` cannot be used.
        InvalidSpecError: ``dtype`` is no floating type, or ``load_in`` neither ``4bit`` nor ``8bit``.
        MissingExtraError: ``load_in`` needs packages that are not installed.

    Examples:
        >>> import facekit
        >>> model, processor = facekit.load("runs/demo", device="cpu")
        >>> model.device.type
        'cpu'
    """
    if load_in is not None:
        check_quantization(load_in)
    check_device_map(device_map, device)
    device = torch.device("cpu") if device_map is not None else choose_device(device)
    recognised = find_checkpoint(path, revision)
    check_options(recognised, tower_root, tokenizer)
    if recognised.format is CheckpointFormat.NATIVE:
        if device_map is not None:
            raise ConfigurationError(
                f"'{path}' is opened in its own class, which facekit puts on one device; leave device_map out"
            )
        list_weights_files(recognised.folder)
        if tokenizer is None and not has_tokenizer(recognised.folder):
            raise CheckpointError(
                f"'{recognised.folder}' has no tokenizer; copy the whole folder again, or name one by tokenizer"
            )
        opened: Any = load_native(recognised.folder, dtype=dtype, tokenizer=tokenizer)
        model, processor = opened
    elif recognised.format is CheckpointFormat.FACEKIT:
        model, processor = _load_own(recognised.folder, dtype)
    elif recognised.format is CheckpointFormat.ADAPTER:
        model, processor = _load_adapter(recognised, dtype, tower_root, tokenizer)
    else:
        model, processor = read_foreign(recognised, dtype=dtype, tower_root=tower_root, tokenizer=tokenizer)
    if load_in is not None:
        quantize(model.language_model, load_in)
    if device_map is not None:
        divide(model, device_map)
        return model.eval(), processor
    return model.to(device).eval(), processor


def check_opening(
    path: str | Path,
    *,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    tower_root: str | Path | None = None,
    tokenizer: str | Path | None = None,
    revision: str = "main",
    load_in: Literal["4bit", "8bit"] | None = None,
    device_map: DeviceMap | None = None,
) -> Recognition:
    """Find a checkpoint and make sure that ``load``, whose arguments and errors these are, would take its options.

    Weights on the hub are not downloaded.
    """
    check_placing(dtype=dtype, device=device, load_in=load_in, device_map=device_map)
    recognised = find_checkpoint(path, revision, weights=False)
    check_options(recognised, tower_root, tokenizer)
    return recognised


def check_placing(
    *,
    dtype: str | torch.dtype | None,
    device: str | torch.device | None,
    load_in: Literal["4bit", "8bit"] | None,
    device_map: DeviceMap | None,
) -> None:
    """Make sure that a model of any kind could be put where it is to go; arguments and errors are those of ``load``."""
    read_device(device)
    check_device_map(device_map, device)
    if load_in is not None:
        check_quantization(load_in)
    if dtype not in (None, "auto"):
        read_dtype(dtype)


def find_checkpoint(path: str | Path, revision: str = "main", *, weights: bool = True) -> Recognition:
    """Find a checkpoint here or on the hub and recognise its format; ``hf:`` before it asks for its own class.

    Args:
        path: See ``load``.
        revision: Branch, tag or commit on the hub.
        weights: Whether the weights of a model of the hub are downloaded too.

    Raises:
        CheckpointError: See ``load``.
    """
    written = str(path)
    is_native = written.startswith(NATIVE_PREFIX) and not Path(written).exists()
    name = written.removeprefix(NATIVE_PREFIX) if is_native else written
    if is_native and not name.strip():
        raise CheckpointError(
            f"the model '{written}' has no name after ':'; give a folder or a hub id, {NATIVE_PREFIX}ID"
        )
    recognised = recognise(fetch_folder(name if is_native else path, revision, weights=weights))
    return as_native(recognised) if is_native else recognised


def check_options(recognised: Recognition, tower_root: str | Path | None, tokenizer: str | Path | None) -> None:
    """Raise ConfigurationError where an option means nothing for a checkpoint's format."""
    kind = recognised.format
    if tower_root is not None and kind not in (CheckpointFormat.FACE_LLAVA, CheckpointFormat.ADAPTER):
        raise ConfigurationError(
            f"tower_root goes with Face-LLaVA as released, but '{recognised.folder}' holds {FORMAT_NAMES[kind]}"
        )
    if tokenizer is not None and kind is CheckpointFormat.FACEKIT:
        raise ConfigurationError(
            f"'{recognised.folder}' was saved by facekit with its own tokenizer; leave tokenizer out"
        )


def _check_files(folder: Path) -> None:
    list_weights_files(folder)
    if not any((folder / name).is_file() for name in _PROCESSOR_FILES):
        raise CheckpointError(f"'{folder}' has no processor_config.json; save the processor beside the model")
    if not has_tokenizer(folder):
        raise CheckpointError(f"'{folder}' has no tokenizer; save the processor, which has it, beside the model")
    if (folder / "generation_config.json").is_file():
        read_json(folder / "generation_config.json")


def _load_own(
    folder: Path, dtype: str | torch.dtype | None
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    chosen = "auto" if dtype in (None, "auto") else read_dtype(dtype)
    _check_files(folder)
    with configuration_guard(CheckpointError, f"'{folder}' cannot be loaded", RuntimeError):
        try:
            with errors_only():
                model, report = FaceKitForConditionalGeneration.from_pretrained(
                    folder, dtype=chosen, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True
                )
        except SafetensorError as error:
            raise CheckpointError(f"the weights in '{folder}' are damaged or cut off: {first_line(error)}") from error
        processor = FaceKitProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    _check_complete(folder, report)
    return model, processor


def _load_adapter(
    recognised: Recognition,
    dtype: str | torch.dtype | None,
    tower_root: str | Path | None,
    tokenizer: str | Path | None,
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    base = find_base_model(recognised)
    if base.format is CheckpointFormat.NATIVE or (recognised.folder / NATIVE_SETTINGS).is_file():
        own = recognised.folder if (recognised.folder / NATIVE_SETTINGS).is_file() else None
        opened: Any = load_native(base.folder, dtype=dtype, tokenizer=tokenizer, settings=own)
        apply_adapter(opened[0].native, recognised, language_model=opened[0].language_model_name)
        return opened[0], opened[1]
    model, processor = load(base.folder, dtype=dtype, device="cpu", tower_root=tower_root, tokenizer=tokenizer)
    rename = None if base.format is CheckpointFormat.FACEKIT else renaming_of(base, tower_root)
    apply_adapter(model, recognised, rename)
    return model, processor


def _check_complete(folder: Path, report: dict[str, Any]) -> None:
    problems = (
        ("missing_keys", "lack"),
        ("unexpected_keys", "have, beyond what config.json describes,"),
        ("mismatched_keys", "have in another shape"),
    )
    for entry, verb in problems:
        keys = sorted(key if isinstance(key, str) else key[0] for key in report.get(entry, ()))
        if keys:
            raise CheckpointError(f"the weights in '{folder}' {verb} {shorten(keys)}")
