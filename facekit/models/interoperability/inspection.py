"""Inspection of a checkpoint from its configuration and the headers of its weights, without reading tensors.

It answers in a moment about models that do not fit into this machine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedConfig

from facekit.backbones.base import read_dtype
from facekit.backbones.quantization import PACKED_BYTES
from facekit.catalog import current_registry
from facekit.connectors.base import Connector
from facekit.counted import counted
from facekit.encoders.base import VisionEncoder
from facekit.errors import CheckpointError, ConfigurationError, configuration_guard
from facekit.hub import cached_source, fetch_folder
from facekit.models.configuration import FaceKitConfig
from facekit.models.interoperability.adapters import count_adapter_parameters, find_base_model
from facekit.models.interoperability.reading import describe
from facekit.models.interoperability.recognition import (
    FORMAT_NAMES,
    NATIVE_SETTINGS,
    CheckpointFormat,
    Recognition,
    as_native,
)
from facekit.models.interoperability.weights import TensorHeader, fetch_headers, list_weights_files, read_headers
from facekit.models.load import check_opening
from facekit.models.memory import (
    EncoderShape,
    MemoryEstimate,
    ModelShape,
    Precision,
    estimate_generation,
    estimate_training,
    text_shape,
)
from facekit.models.native.measuring import measure_native
from facekit.models.placement import DeviceMap

PART_NAMES = ("encoder", "video_encoder", "connector", "language_model")
TRAINED_BY_DEFAULT = ("connector", "language_model")


@dataclass(frozen=True)
class PartReport:
    """A part of a checkpoint.

    Args:
        name: ``encoder``, ``video_encoder``, ``connector`` or ``language_model``.
        kind: The registered name, or the language model's type.
        parameters: Their number; a head that is the embedding counts once.
        num_bytes: Of its tensors, as saved or as they would be opened.
        dtypes: The types of its tensors, the commonest first.
        shape: What it takes and gives, in one line.
    """

    name: str
    kind: str
    parameters: int
    num_bytes: int
    dtypes: tuple[str, ...]
    shape: str


@dataclass(frozen=True)
class CheckpointReport:
    """What ``inspect_checkpoint`` returns.

    Args:
        folder: The checkpoint.
        format: Its format.
        parts: Its parts, in the order in which a picture goes through them.
        text_config: Of the language model.
        tokens_per_image: Visual tokens that an image costs.
        tokens_per_video_frame: Visual tokens that a frame of a clip costs; 0 where the model takes no clips.
        encoder_shape: Of the vision encoder.
        adapter_parameters: Of LoRA adapters, where the folder holds some.
        base: The base model's folder, where the folder holds an adapter.
    """

    folder: Path
    format: CheckpointFormat
    parts: tuple[PartReport, ...]
    text_config: PreTrainedConfig
    tokens_per_image: int
    tokens_per_video_frame: int
    encoder_shape: EncoderShape
    adapter_parameters: int = 0
    base: Path | None = None

    @property
    def description(self) -> str:
        """What the checkpoint is, in words."""
        return FORMAT_NAMES[self.format]

    @property
    def parameters(self) -> int:
        """All parameters, adapters included."""
        return sum(part.parameters for part in self.parts) + self.adapter_parameters

    @property
    def num_bytes(self) -> int:
        """Of all tensors as saved, without adapters."""
        return sum(part.num_bytes for part in self.parts)

    def trainable_parameters(self, parts: tuple[str, ...] = TRAINED_BY_DEFAULT) -> int:
        """Return how many parameters training changes: the adapters', or those of the trainable parts."""
        unknown = set(parts) - set(PART_NAMES)
        if unknown:
            raise ConfigurationError(f"there is no part '{sorted(unknown)[0]}'; the parts are {', '.join(PART_NAMES)}")
        if self.adapter_parameters:
            return self.adapter_parameters
        return sum(part.parameters for part in self.parts if part.name in parts)

    def inference_memory(self, batch: int = 1, tokens: int = 2048) -> int:
        """Estimate the bytes that generation needs; see ``facekit.models.memory.estimate_generation``.

        Args:
            batch: Sequences at a time.
            tokens: Length of each, visual tokens and the answer included.
        """
        shape = self._shape(())
        return estimate_generation(shape, batch_size=batch, tokens=tokens, bytes_per_value=self._bytes_per_value)

    def training_memory(
        self,
        batch: int = 1,
        tokens: int = 2048,
        parts: tuple[str, ...] = TRAINED_BY_DEFAULT,
        gradient_checkpointing: bool = True,
        precision: Precision | None = None,
    ) -> MemoryEstimate:
        """Estimate what training with AdamW on one device needs; see ``facekit.models.memory.estimate_training``.

        Args:
            batch: Sequences at a time.
            tokens: Length of each, visual tokens included.
            parts: What is trained, where there are no adapters.
            gradient_checkpointing: Whether layers are computed again in the backward pass.
            precision: Of the run; by default ``bfloat16`` for weights of 16 bits, whose trained ones are then kept in
                float32, and ``float32`` otherwise.

        Raises:
            ConfigurationError: There is no part of a name.
        """
        return estimate_training(
            self._shape(parts),
            batch_size=batch,
            tokens=tokens,
            precision=precision or ("bfloat16" if self._bytes_per_value == 2 else "float32"),
            gradient_checkpointing=gradient_checkpointing,
        )

    def _shape(self, parts: tuple[str, ...]) -> ModelShape:
        trained_parts = () if self.adapter_parameters else parts
        trains_encoder = any(name in ("encoder", "video_encoder") for name in trained_parts)
        return ModelShape(
            frozen_bytes=sum(part.num_bytes for part in self.parts if part.name not in trained_parts),
            trained=self.trainable_parameters(parts) if parts else 0,
            trained_bytes=self._bytes_per_value,
            **text_shape(self.text_config),
            visual_tokens=self.tokens_per_image,
            text_bytes=self._bytes_per_value,
            trains_text="language_model" in trained_parts,
            encoder=self.encoder_shape if trains_encoder else None,
        )

    @property
    def _bytes_per_value(self) -> int:
        part = next(part for part in self.parts if part.name == "language_model")
        return _itemsize(part.dtypes[0])


def inspect_checkpoint(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    load_in: Literal["4bit", "8bit"] | None = None,
    tokenizer: str | Path | None = None,
    tower_root: str | Path | None = None,
    revision: str = "main",
    device_map: DeviceMap | None = None,
) -> CheckpointReport:
    """Inspect a checkpoint, opened with these options, from its configuration and the headers of its weights.

    Args:
        path: A folder or hub id; see ``facekit.load``. Of a repository with safetensors only configuration and headers
            are downloaded.
        device: Only checked: whether it is there.
        dtype: Floating type in which it would be opened; by default as saved.
        load_in: Whether the language model would be packed in ``4bit`` or ``8bit``.
        tokenizer: Only checked: whether the format takes another one.
        tower_root: For released Face-LLaVA; see ``facekit.load``.
        revision: Branch, tag or commit on the hub.
        device_map: Only checked: whether there is one of that name, and its devices are there.

    Raises:
        CheckpointError: The folder holds no checkpoint that ``facekit.load`` reads, or its files are damaged.
        ConfigurationError, InvalidSpecError, MissingExtraError: ``facekit.load`` would refuse an option.

    Examples:
        >>> from facekit.models.interoperability import inspect_checkpoint
        >>> report = inspect_checkpoint("runs/demo")
        >>> [part.name for part in report.parts][:2]
        ['encoder', 'connector']
    """
    recognised = check_opening(
        path,
        dtype=dtype,
        device=device,
        tower_root=tower_root,
        tokenizer=tokenizer,
        revision=revision,
        load_in=load_in,
        device_map=device_map,
    )
    floating = None if dtype in (None, "auto") else read_dtype(dtype)
    if recognised.format is CheckpointFormat.ADAPTER:
        return _as_opened(_inspect_adapter(recognised, tower_root), floating, load_in)
    return _as_opened(_inspect_whole(recognised, tower_root), floating, load_in)


def _as_opened(
    report: CheckpointReport, dtype: torch.dtype | None, load_in: Literal["4bit", "8bit"] | None
) -> CheckpointReport:
    """The sizes that the parts have once they are opened, in place of those as saved."""
    parts = report.parts
    if dtype is not None:
        name = str(dtype).removeprefix("torch.")
        parts = tuple(replace(part, num_bytes=part.parameters * dtype.itemsize, dtypes=(name,)) for part in parts)
    if load_in is not None:
        config: Any = report.text_config
        whole = config.vocab_size * config.hidden_size * (1 if getattr(config, "tie_word_embeddings", False) else 2)
        parts = tuple(
            replace(part, num_bytes=_packed_bytes(part, whole, load_in)) if part.name == "language_model" else part
            for part in parts
        )
    return replace(report, parts=parts)


def _packed_bytes(part: PartReport, whole: int, load_in: Literal["4bit", "8bit"]) -> int:
    """Bytes of a language model whose linear layers are packed; embedding and head, ``whole`` values, are not."""
    value = _itemsize(part.dtypes[0])
    return round(whole * value + (part.parameters - whole) * PACKED_BYTES[load_in])


def _itemsize(name: str) -> int:
    dtype: torch.dtype = getattr(torch, name)
    return dtype.itemsize


def _inspect_native(recognised: Recognition, settings: Path | None = None) -> CheckpointReport:
    headers = _look_at_weights(recognised.folder)
    types = Counter[str]()
    for header in headers.values():
        types[str(header.dtype).removeprefix("torch.")] += header.numel
    dtype = types.most_common(1)[0][0]
    shape = measure_native(recognised.folder, settings)
    parts = tuple(
        PartReport(part.name, part.kind, part.parameters, part.parameters * _itemsize(dtype), (dtype,), part.shape)
        for part in shape.parts
    )
    return CheckpointReport(
        recognised.folder, recognised.format, parts, shape.text_config, shape.tokens, 0, shape.encoder
    )


def _inspect_whole(recognised: Recognition, tower_root: str | Path | None) -> CheckpointReport:
    if recognised.format is CheckpointFormat.NATIVE:
        return _inspect_native(recognised)
    headers = _look_at_weights(recognised.folder)
    config, renamed = _describe(recognised, headers, tower_root)
    with torch.device("meta"):
        encoder = _build("encoder", config.encoder)
        connector = _build("connector", config.connector)
        video = encoder if config.video_encoder is None else _build("encoder", config.video_encoder)
    _check_widths(config, encoder, connector, video)
    parts = _report_parts(config, renamed, encoder, connector, video)
    return CheckpointReport(
        recognised.folder,
        recognised.format,
        parts,
        config.text_config,  # type: ignore[arg-type]
        connector.tokens_per_frame(encoder.grid, encoder.num_prefix_tokens),
        connector.tokens_per_frame(video.grid, video.num_prefix_tokens),
        EncoderShape.of(encoder),
    )


def _look_at_weights(folder: Path) -> dict[str, TensorHeader]:
    """Headers of a folder's weights; those of a repository are not downloaded where they are safetensors."""
    repository = cached_source(folder)
    if repository is not None and not _are_here(folder):
        headers = fetch_headers(*repository)
        return read_headers(fetch_folder(*repository)) if headers is None else headers
    return read_headers(folder)


def _are_here(folder: Path) -> bool:
    try:
        list_weights_files(folder)
    except CheckpointError:
        return False
    return True


def _describe(
    recognised: Recognition, headers: dict[str, TensorHeader], tower_root: str | Path | None
) -> tuple[FaceKitConfig, dict[str, TensorHeader]]:
    """Return the configuration of the composed model and the headers under its names."""
    if recognised.format is CheckpointFormat.FACEKIT:
        return FaceKitConfig.from_pretrained(recognised.folder), headers
    composition = describe(recognised, tower_root, headers)
    config = FaceKitConfig(
        encoder=composition.encoder,
        video_encoder=composition.video_encoder,
        connector=composition.connector,
        text_config=composition.text_config,
        image_token_id=composition.image_token_id,
    )
    names = {name: composition.rename(name) for name in headers}
    return config, {target: headers[name] for name, target in names.items() if target is not None}


def _build(kind: str, values: dict[str, Any] | None) -> Any:
    if not isinstance(values, dict) or "name" not in values:
        raise CheckpointError(f"config.json names no {kind}: it needs {{'name': ..., ...}}")
    settings = {key: value for key, value in values.items() if key != "name"}
    part = current_registry().load(kind, values["name"])
    with configuration_guard(CheckpointError, f"config.json does not describe the {kind} '{values['name']}'"):
        return part.from_config(settings)


def _check_widths(config: FaceKitConfig, encoder: VisionEncoder, connector: Connector, video: VisionEncoder) -> None:
    text: Any = config.text_config
    for source, width, target, expected in (
        ("encoder", encoder.hidden_size, "connector's input", connector.input_width),
        ("video encoder", video.hidden_size, "connector's input", connector.input_width),
        ("connector", connector.output_width, "language model", text.hidden_size),
    ):
        if width != expected:
            raise CheckpointError(f"config.json gives the {source} width {width} but the {target} width {expected}")


def _report_parts(
    config: FaceKitConfig,
    headers: dict[str, TensorHeader],
    encoder: VisionEncoder,
    connector: Connector,
    video: VisionEncoder,
) -> tuple[PartReport, ...]:
    text: Any = config.text_config
    kinds = {
        "encoder": (config.encoder or {}).get("name"),
        "video_encoder": (config.video_encoder or {}).get("name"),
        "connector": (config.connector or {}).get("name"),
        "language_model": text.model_type,
    }
    shapes = {
        "encoder": _describe_encoder(encoder),
        "video_encoder": _describe_encoder(video),
        "connector": f"{connector.input_width} → {connector.output_width}",
        "language_model": f"{counted(text.num_hidden_layers, 'layer')}, width {text.hidden_size}, "
        f"vocabulary {text.vocab_size}",
    }
    reports = []
    for name in PART_NAMES:
        found = [header for key, header in headers.items() if key.startswith(f"{name}.")]
        if not found:
            continue
        types = Counter[str]()
        for header in found:
            types[str(header.dtype).removeprefix("torch.")] += header.numel
        dtypes = tuple(kind for kind, _ in types.most_common())
        parameters, size = sum(each.numel for each in found), sum(each.num_bytes for each in found)
        reports.append(PartReport(name, str(kinds[name]), parameters, size, dtypes, shapes[name]))
    if not any(report.name == "language_model" for report in reports):
        raise CheckpointError(
            "the weights hold no language model, so its memory cannot be estimated; give the folder of a whole model"
        )
    return tuple(reports)


def _describe_encoder(encoder: VisionEncoder) -> str:
    rows, columns = encoder.grid
    prefix = f" + {encoder.num_prefix_tokens}" if encoder.num_prefix_tokens else ""
    return f"{encoder.image_size} px → {rows} x {columns}{prefix} tokens of width {encoder.hidden_size}"


def _inspect_adapter(recognised: Recognition, tower_root: str | Path | None) -> CheckpointReport:
    base = find_base_model(recognised, weights=False)
    is_native = base.format is CheckpointFormat.NATIVE or (recognised.folder / NATIVE_SETTINGS).is_file()
    if is_native:
        own = recognised.folder if (recognised.folder / NATIVE_SETTINGS).is_file() else None
        report = _inspect_native(as_native(base), own)
    else:
        report = inspect_checkpoint(base.folder, tower_root=tower_root)
    return replace(
        report,
        folder=recognised.folder,
        format=recognised.format,
        adapter_parameters=count_adapter_parameters(recognised.folder),
        base=base.folder,
    )
