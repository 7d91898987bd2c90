"""Exporting a composed model as another library's checkpoint, shard by shard, without a second copy in memory.

Where the other class cannot express a composition, the message says which part is in the way.
"""

from __future__ import annotations

import copy
import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from peft import PeftModel
from torch import nn
from transformers import (
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedConfig,
)

from facekit.compat.safetensors import share_weights
from facekit.connectors import MlpConnector, PixelShuffleConnector
from facekit.deprecations import renamed_arguments
from facekit.encoders.huggingface import HuggingFaceEncoder, architecture_values, square_side
from facekit.errors import ConfigurationError
from facekit.models.interoperability.chat_templates import original_chat_template
from facekit.models.interoperability.folders import written_whole
from facekit.models.interoperability.gguf_file import GGUF_NAME, write_gguf
from facekit.models.interoperability.graphs import GRAPH_FORMATS, GRAPH_NAMES, write_graph
from facekit.models.interoperability.image_transforms import build_image_processor
from facekit.models.interoperability.llava_layout import (
    INTERNVL_PROJECTOR,
    LLAVA_PROJECTOR,
    LLAVA_TOWERS,
    TensorNames,
    vision_prefix,
)
from facekit.models.interoperability.merging import (
    active_part,
    has_adapters,
    is_untied,
    merge_adapters,
    pending_tensors,
)
from facekit.models.interoperability.weights import PendingTensor, read_size, write_shards
from facekit.models.modeling import FaceKitForConditionalGeneration, refuse_quantised
from facekit.models.native.modeling import NativeModel, is_native
from facekit.models.processing import FaceKitProcessor

logger = logging.getLogger(__name__)

ExportFormat: TypeAlias = Literal[
    "facekit", "internvl-hf", "llava-hf", "language-model", "gguf", "onnx", "torch-export"
]
EXPORT_FORMATS: tuple[str, ...] = get_args(ExportFormat)
"""Names of the formats that ``export`` writes."""
_LANGUAGE_PREFIX = "language_model."


@renamed_arguments(folder="output_dir")
def export(
    model: FaceKitForConditionalGeneration | PeftModel,
    processor: FaceKitProcessor,
    output_dir: str | Path,
    format: ExportFormat = "facekit",
    *,
    merge_lora: bool = False,
    max_shard_size: int | str = "5GB",
    frames: int = 1,
) -> Path:
    """Write a model and its processor in a format that other programs read.

    Tensors are written shard by shard; beside the model itself no more than a shard is held. The model is not changed.

    Args:
        model: The model.
        processor: Its processor.
        output_dir: The folder where the checkpoint goes; it is made, and holds none yet.
        format: ``facekit``, for ``facekit.load`` and ``from_pretrained``, and the only one of a base in its own class;
            ``internvl-hf`` and ``llava-hf``, for the classes of transformers and the engines that serve them;
            ``language-model``, the language model alone with its tokenizer, for engines that take prompt embeddings;
            ``gguf``, the same as a GGUF file for llama.cpp, where its format can hold it;
            ``onnx`` and ``torch-export``, encoder and connector as one graph with a dynamic batch.
        merge_lora: Whether adapters are merged into what is written; without it a model with adapters is refused.
        max_shard_size: Bytes, or text such as ``5GB``.
        frames: Of a graph, how many frames its input has: 1 for pictures.

    Returns:
        The folder.

    Raises:
        ConfigurationError: The format is unknown, the composition is none that it can express, the model has adapters
            and ``merge_lora`` is off, its language model is quantised, or the folder cannot be made or is in use.
        MissingExtraError: A package that the format needs is not installed.
        CheckpointError: A file cannot be written, or a graph gives other tokens than the model.
    """
    if format not in EXPORT_FORMATS:
        raise ConfigurationError(f"there is no export format '{format}'; choose one of {', '.join(EXPORT_FORMATS)}")
    folder, shard_size = Path(output_dir).expanduser(), read_size(max_shard_size)
    refuse_folder_in_use(folder)
    composed: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if is_native(composed):
        return _export_native(composed, processor, folder, format, merge_lora=merge_lora, max_shard_size=shard_size)
    if format == "gguf":
        with written_whole(folder):
            write_gguf(composed, processor, folder)
        return folder
    if format in GRAPH_FORMATS:
        with written_whole(folder):
            write_graph(composed, processor, folder, format, frames)
        return folder
    tensors = _read_state(composed, merge_lora)
    untied = is_untied(composed, tensors)
    if format == "language-model":
        config: PreTrainedConfig = _describe_language_model(composed)
        rename: Callable[[str], str | None] = _language_model_name
    elif format == "facekit":
        config, rename = copy.deepcopy(composed.config), str
        config.architectures = [type(composed).__name__]
    else:
        is_internvl = format == "internvl-hf"
        refuse_foreign_composition(composed, is_internvl)
        config, names = _describe_llava(composed, is_internvl)
        rename = names.from_facekit
    _describe_weights(config, _commonest_dtype(composed), untied=untied)
    tied = bool(config.get_text_config().tie_word_embeddings)
    with written_whole(folder):
        write_shards(folder, _rename(tensors, rename, tied), shard_size)
        _save_processor(composed, processor, folder, format)
        _save_generation(composed, folder, keep=format == "facekit")
        config.save_pretrained(folder)
    return folder


def _export_native(
    model: NativeModel,
    processor: FaceKitProcessor,
    folder: Path,
    format: ExportFormat,
    *,
    merge_lora: bool,
    max_shard_size: int,
) -> Path:
    """Write a model in its own class, adapters merged into a copy of it."""
    if format != "facekit":
        raise ConfigurationError(
            f"{type(model.native).__name__} is written in its own class, which other programs read as it is; leave the "
            f"format '{format}' out"
        )
    _refuse_adapters(model, merge_lora)
    native = model.native
    if has_adapters(model):
        native = copy.deepcopy(native)
        merge_adapters(native)
    with written_whole(folder):
        processor.save_pretrained(folder)
        model.save_region(folder)
        native.save_pretrained(folder, max_shard_size=max_shard_size)  # last: with config.json it is a checkpoint
        share_weights(folder)
    return folder


def _commonest_dtype(model: nn.Module) -> torch.dtype:
    counts = Counter[torch.dtype]()
    for value in model.parameters():
        counts[value.dtype] += value.numel()
    return counts.most_common(1)[0][0]


def _describe_weights(config: PreTrainedConfig, dtype: torch.dtype, *, untied: bool) -> None:
    """Say in a configuration what the weights beside it are: their floating type, and whether the head has its own."""
    for each in (config, config.get_text_config()):
        each.dtype = dtype
        if untied:
            each.tie_word_embeddings = False


def refuse_folder_in_use(folder: Path) -> None:
    """Make sure that a checkpoint can go to a folder: none is there, nor weights that an interrupted export left.

    Raises:
        ConfigurationError: It is a file, or has a configuration or weights in it.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"'{folder}' is a file; name a folder")
    if (folder / "config.json").exists():
        raise ConfigurationError(f"'{folder}' holds a checkpoint already; name another folder")
    if any(path for pattern in ("*.safetensors*", GGUF_NAME, *GRAPH_NAMES.values()) for path in folder.glob(pattern)):
        raise ConfigurationError(f"'{folder}' holds weights already; remove them, or name another folder")


def refuse_foreign_composition(model: FaceKitForConditionalGeneration, is_internvl: bool) -> None:
    """Make sure that a composition is LLaVA's or InternVL's.

    Raises:
        ConfigurationError: It is not; the message says which part is in the way.
    """
    name = "InternVL" if is_internvl else "LLaVA"
    kinds = ("internvl_vision",) if is_internvl else LLAVA_TOWERS
    encoder, connector = active_part(model.encoder), active_part(model.connector)
    kind = encoder.settings.model_type if isinstance(encoder, HuggingFaceEncoder) else None
    expected = PixelShuffleConnector if is_internvl else MlpConnector
    rows = model.config.text_config.vocab_size
    problems = (
        (
            kind not in kinds,
            f"the encoder is {_name_part(model.config.encoder, kind)}, where {name} has {' or '.join(kinds)}",
        ),
        (
            type(connector) is not expected,
            f"{name} cannot hold the connector '{(model.config.connector or {}).get('name')}'",
        ),
        (model.video_encoder is not None, f"{name} has no second encoder for clips"),
        (
            isinstance(connector, MlpConnector) and connector.depth != 2,
            f"{name}'s projector has two linear layers, this one {getattr(connector, 'depth', None)}",
        ),
        (
            isinstance(encoder, HuggingFaceEncoder) and encoder.image_size != square_side(encoder.settings.image_size),
            f"the encoder interpolates its positions to {encoder.image_size} px, which {name} does not",
        ),
        (int(model.config.image_token_id or 0) >= rows, "the image token lies behind the vocabulary"),
        (
            any(not key.startswith(("model.", "lm_head.")) for key in model.language_model.state_dict()),
            f"{type(model.language_model).__name__} is no usual language model with a head",
        ),
    )
    for is_there, what in problems:
        if is_there:
            raise ConfigurationError(
                f"this composition cannot be written as {name}: {what}; export it as 'facekit', or its language model "
                "alone as 'language-model'"
            )


def _read_state(model: FaceKitForConditionalGeneration, merge_lora: bool) -> list[PendingTensor]:
    _refuse_adapters(model, merge_lora)
    refuse_quantised(model)
    return pending_tensors(model)


def _refuse_adapters(model: nn.Module, merge_lora: bool) -> None:
    if has_adapters(model) and not merge_lora:
        raise ConfigurationError(
            "the model has adapters; merge them into what is written with merge_lora (--merge-lora)"
        )


def _rename(tensors: list[PendingTensor], rename: Callable[[str], str | None], tied: bool) -> list[PendingTensor]:
    """Give tensors their new names; the head is left out where it is the embedding."""
    kept = [tensor for tensor in tensors if not (tied and tensor.name.endswith("lm_head.weight"))]
    renamed = [(rename(tensor.name), tensor) for tensor in kept]
    return [replace(tensor, name=name) for name, tensor in renamed if name is not None]


def _describe_language_model(model: FaceKitForConditionalGeneration) -> PreTrainedConfig:
    config: PreTrainedConfig = copy.deepcopy(model.config.text_config)
    config.architectures = [type(model.language_model).__name__]
    return config


def _language_model_name(name: str) -> str | None:
    return name.removeprefix(_LANGUAGE_PREFIX) if name.startswith(_LANGUAGE_PREFIX) else None


def _describe_llava(model: FaceKitForConditionalGeneration, is_internvl: bool) -> tuple[PreTrainedConfig, TensorNames]:
    encoder, connector = active_part(model.encoder), active_part(model.connector)
    assert isinstance(encoder, HuggingFaceEncoder)
    used, unused = encoder.settings.num_hidden_layers, len(encoder.unused_layers)
    vision = {**architecture_values(encoder.settings), "num_hidden_layers": used + unused}
    text = copy.deepcopy(model.config.text_config).to_dict()
    common: dict[str, Any] = {
        "vision_config": vision,
        "text_config": text,
        "image_seq_length": model.tokens_per_frame,
        "vision_feature_layer": -1 - unused,
        "tie_word_embeddings": bool(text.get("tie_word_embeddings", False)),
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    prefix = vision_prefix(model.config.encoder or {})
    if isinstance(connector, PixelShuffleConnector):
        common["downsample_ratio"] = 1 / connector.factor
        config: PreTrainedConfig = InternVLConfig(image_token_id=model.config.image_token_id, **common)
        config.architectures = ["InternVLForConditionalGeneration"]
        return config, TensorNames(INTERNVL_PROJECTOR, used, prefix)
    assert isinstance(connector, MlpConnector)
    common["vision_feature_select_strategy"] = _select_strategy(encoder, connector)
    config = LlavaConfig(image_token_index=model.config.image_token_id, **common)
    config.architectures = ["LlavaForConditionalGeneration"]
    return config, TensorNames(LLAVA_PROJECTOR, used, prefix)


def _save_processor(
    model: FaceKitForConditionalGeneration, processor: FaceKitProcessor, folder: Path, format: str
) -> None:
    if format == "facekit":
        processor.save_pretrained(folder)
        return
    tokenizer = copy.deepcopy(processor.tokenizer)
    template = original_chat_template(str(processor.chat_template))
    tokenizer.chat_template = template
    if format == "language-model":
        tokenizer.save_pretrained(folder)
        return
    images = build_image_processor(processor.image_processor.transform)
    if format == "llava-hf":
        encoder, connector = active_part(model.encoder), active_part(model.connector)
        assert isinstance(connector, MlpConnector)
        assert isinstance(encoder, HuggingFaceEncoder)
        LlavaProcessor(
            images,
            tokenizer,
            patch_size=square_side(encoder.settings.patch_size),
            vision_feature_select_strategy=_select_strategy(encoder, connector),
            chat_template=template,
            image_token=processor.image_token,
            num_additional_image_tokens=int(_has_class_token(encoder)),
        ).save_pretrained(folder)
    elif hasattr(tokenizer, "start_image_token") and hasattr(tokenizer, "context_image_token"):
        _build_internvl_processor(processor, tokenizer, template).save_pretrained(folder)
    else:
        logger.warning("the tokenizer has no image tokens of InternVL; it is written without InternVLProcessor")
        tokenizer.save_pretrained(folder)
        images.save_pretrained(folder)


def _build_internvl_processor(processor: FaceKitProcessor, tokenizer: Any, template: str) -> InternVLProcessor:
    from transformers import GotOcr2ImageProcessor

    transform = processor.image_processor.transform
    built: Any = build_image_processor(transform)
    values = {"size": {"height": transform.image_size, "width": transform.image_size}, "resample": built.resample}
    values |= {"image_mean": list(transform.mean), "image_std": list(transform.std)}
    # InternVLProcessor asks for tiles whatever its image processor says: of one at most, a picture is seen whole.
    tiles: dict[str, Any] = {"crop_to_patches": False, "min_patches": 1, "max_patches": 1}
    return InternVLProcessor(
        GotOcr2ImageProcessor(**tiles, **values),
        tokenizer,
        InternVLVideoProcessor(**values),
        image_seq_length=processor.tokens_per_frame,
        chat_template=template,
    )


def _save_generation(model: FaceKitForConditionalGeneration, folder: Path, keep: bool) -> None:
    settings = copy.deepcopy(model.generation_config)
    if not keep:
        others = [token for token in settings.suppress_tokens or () if token != model.config.image_token_id]
        settings.suppress_tokens = others or None
    (folder / "generation_config.json").write_text(
        json.dumps(settings.to_diff_dict(), indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )


def _has_class_token(encoder: HuggingFaceEncoder) -> bool:
    return bool(encoder.settings.model_type == "clip_vision_model")


def _select_strategy(encoder: HuggingFaceEncoder, connector: MlpConnector) -> str:
    """LLaVA's name for whether the class token is kept; a tower without one keeps all it has."""
    keeps = connector.keep_prefix_tokens and encoder.num_prefix_tokens > 0
    return "default" if _has_class_token(encoder) and not keeps else "full"


def _name_part(config: dict[str, Any] | None, kind: str | None) -> str:
    name = (config or {}).get("name")
    return f"'{name}' with '{kind}'" if kind else f"'{name}'"
