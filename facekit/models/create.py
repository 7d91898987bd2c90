"""``create``: a new model composed of named parts: an encoder, a connector and a language model.

Specs are read and weights are loaded here; the model itself only knows modules.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch
from transformers import PreTrainedModel

from facekit.backbones.base import Backbone, read_device, read_dtype
from facekit.backbones.end_tokens import find_end_tokens
from facekit.backbones.image_token import add_image_token
from facekit.backbones.quantization import check_quantization, quantize
from facekit.catalog import current_registry
from facekit.compat.transformers_model import one_at_a_time
from facekit.connectors.base import Connector
from facekit.encoders.base import VisionEncoder
from facekit.encoders.fusion import build_encoder, encoder_name
from facekit.errors import ConfigurationError
from facekit.models.configuration import FaceKitConfig
from facekit.models.image_processing import NO_LANDMARKER, FaceKitImageProcessor
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.native.modeling import is_native
from facekit.models.presets import Preset
from facekit.models.processing import FaceKitProcessor
from facekit.models.source import ModelSource
from facekit.models.starting import start_from_checkpoint
from facekit.models.vision import part_config
from facekit.spec import PartSpec


@one_at_a_time
def create(
    *,
    preset: str | None = None,
    encoder: str | None = None,
    connector: str | None = None,
    backbone: str | None = None,
    landmarker: str | None = None,
    video_encoder: str | None = None,
    checkpoint: str | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    load_in: Literal["4bit", "8bit"] | None = None,
    tokenizer: str | Path | None = None,
    tower_root: str | Path | None = None,
    revision: str = "main",
    seed: int | None = None,
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    """Compose a model and its processor from parts named by spec strings.

    Args:
        preset: A named choice of parts; parts that are given as well replace the preset's.
        encoder: Such as ``tiny`` or ``openclip:ViT-L-14?pretrained=openai``.
        connector: Such as ``mlp`` or ``region``.
        backbone: Such as ``tiny`` or ``hf:Qwen/Qwen2.5-0.5B-Instruct``.
        landmarker: What finds the face and its landmarks; ``mesh`` by default, ``none`` for whole pictures.
        video_encoder: What sees clips, such as ``languagebind:LanguageBind/LanguageBind_Video_merge``; without it
            ``encoder`` sees their frames one by one.
        checkpoint: For presets that start from one, where it lies in place of the hub: a folder, or another hub id.
        dtype: Floating type of the whole model; by default the language model's.
        device: Where the model is put; by default the CPU.
        load_in: ``4bit`` or ``8bit`` packs the language model's linear layers; see ``facekit.load``.
        tokenizer: Of the checkpoint that a preset starts from; see ``facekit.load``, as for the next two.
        tower_root: Of that checkpoint.
        revision: Of that checkpoint.
        seed: For weights that no checkpoint gives; the global random state is left alone.

    Returns:
        The model, in evaluation mode, and the processor.

    Raises:
        ConfigurationError: A part is named neither by the preset nor by itself, parts do not fit each other, or the
            device is not there.
        UnknownPartError: A name is not registered.
        InvalidSpecError: A spec or one of its options cannot be used.
        CheckpointError: Weights that a spec names are missing or do not fit.
        MissingExtraError: ``load_in`` needs packages that are not installed.

    Examples:
        >>> import facekit
        >>> model, processor = facekit.create(encoder="tiny", connector="region", backbone="tiny")
        >>> type(model.connector).__name__
        'RegionConnector'
    """
    if load_in is not None:
        check_quantization(load_in)
    parts = _choose_parts(
        preset,
        encoder=encoder,
        connector=connector,
        backbone=backbone,
        landmarker=landmarker,
        video_encoder=video_encoder,
        checkpoint=checkpoint,
    )
    if parts.landmarker == NO_LANDMARKER:
        parts = replace(parts, landmarker=None)
    device = read_device(device)
    if parts.checkpoint is not None:
        _refuse_replaced(parts.checkpoint, preset, encoder or video_encoder or backbone)
        source = ModelSource(parts.checkpoint, "cpu", dtype, load_in, tokenizer, tower_root, revision)
        return _start_from_checkpoint(source, parts, device, seed)
    _refuse_opening(tokenizer=tokenizer, tower_root=tower_root, revision=None if revision == "main" else revision)
    if parts.landmarker is not None:
        current_registry().check("landmarker", parts.landmarker)
    with _random_state(seed):
        vision = build_encoder(parts.encoder)
        video = None if parts.video_encoder is None else build_encoder(parts.video_encoder)
        language = _load_backbone(parts.backbone)
        image_token = add_image_token(language.tokenizer, language.model)
        bridge = _load_connector(parts.connector, vision, language.model)
    model = _compose(parts, vision, bridge, language, image_token, video)
    set_dtype(model, language.model.dtype if dtype in (None, "auto") else read_dtype(dtype))
    if load_in is not None:
        quantize(model.language_model, load_in)
    model.to(device)
    processor = FaceKitProcessor(
        FaceKitImageProcessor.from_transform(vision.transform, landmarker=parts.landmarker),
        language.tokenizer,
        tokens_per_frame=model.tokens_per_frame,
        tokens_per_video_frame=model.tokens_per_video_frame,
        image_token=image_token,
    )
    return model.eval(), processor


def _start_from_checkpoint(
    source: ModelSource, parts: Preset, device: torch.device | None, seed: int | None
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    with _random_state(seed):
        model, processor = start_from_checkpoint(source, parts.connector, parts.landmarker)
    if is_native(model):
        processor.image_processor.landmarker = parts.landmarker
    return model.to(device).eval(), processor


def _refuse_replaced(checkpoint: str, preset: str | None, replaced: str | None) -> None:
    if replaced is not None:
        raise ConfigurationError(
            f"the preset '{preset}' starts from the checkpoint '{checkpoint}', whose encoder and language model "
            f"belong together, so '{replaced}' cannot replace one of them; name encoder, connector and backbone instead"
        )


def _refuse_opening(**options: str | Path | None) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ConfigurationError(
            f"{given[0]} says how a checkpoint is opened, but this model is made of parts; write it into a part's "
            "spec, or leave it out"
        )


def set_dtype(model: FaceKitForConditionalGeneration, dtype: torch.dtype) -> None:
    """Change a model's floating type in place, as loading it in that type would.

    ``model.to(dtype)`` would round the language model's rotary frequencies too, which loading keeps in float32.
    """
    model.encoder.to(dtype)
    if model.video_encoder is not None:
        model.video_encoder.to(dtype)
    model.connector.to(dtype)
    for parameter in model.language_model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)
    model.config.dtype = model.config.text_config.dtype = dtype


@contextmanager
def _random_state(seed: int | None) -> Iterator[None]:
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        try:
            torch.default_generator.manual_seed(seed)  # alone: torch.manual_seed would seed accelerators, too
        except (ValueError, RuntimeError, OverflowError) as error:
            raise ConfigurationError(f"seed={seed} is out of range; use one below 2**63") from error
        yield


def _choose_parts(preset: str | None, **given: str | None) -> Preset:
    chosen = {kind: spec for kind, spec in given.items() if spec is not None}
    if preset is not None:
        named: Preset = current_registry().load("preset", preset)
        if "checkpoint" in chosen and named.checkpoint is None:
            raise ConfigurationError(f"the preset '{preset}' is made of parts and starts from no checkpoint")
        return replace(named, **chosen)
    if "checkpoint" in chosen:
        raise ConfigurationError("checkpoint goes with a preset; facekit.load reads a checkpoint by itself")
    missing = [kind for kind in ("encoder", "connector", "backbone") if kind not in chosen]
    if missing:
        raise ConfigurationError(f"create needs a preset, or all three parts; missing: {', '.join(missing)}")
    return Preset(**chosen, summary="")


def _load_connector(text: str, encoder: VisionEncoder, language_model: PreTrainedModel) -> Connector:
    widths = {"input_width": encoder.hidden_size, "output_width": language_model.config.get_text_config().hidden_size}
    connector: Connector = current_registry().build("connector", text, **widths)
    return connector


def _load_backbone(text: str) -> Backbone:
    backbone: Backbone = current_registry().build("backbone", text)
    return backbone


def _compose(
    parts: Preset,
    encoder: VisionEncoder,
    connector: Connector,
    backbone: Backbone,
    image_token: str,
    video_encoder: VisionEncoder | None,
) -> FaceKitForConditionalGeneration:
    config = FaceKitConfig(
        encoder=part_config(encoder_name(parts.encoder), encoder),
        connector=part_config(PartSpec.parse(parts.connector).name, connector),
        text_config=copy.deepcopy(backbone.model.config),
        image_token_id=backbone.tokenizer.get_vocab()[image_token],
    )
    if video_encoder is not None and parts.video_encoder is not None:
        config.video_encoder = part_config(encoder_name(parts.video_encoder), video_encoder)
    model = FaceKitForConditionalGeneration(
        config, encoder=encoder, connector=connector, language_model=backbone.model, video_encoder=video_encoder
    )
    model.generation_config = copy.deepcopy(backbone.model.generation_config)
    model.generation_config.eos_token_id = find_end_tokens(backbone)
    model.generation_config.pad_token_id = backbone.tokenizer.pad_token_id
    suppressed = {*(model.generation_config.suppress_tokens or ()), config.image_token_id}
    model.generation_config.suppress_tokens = sorted(suppressed)
    return model
