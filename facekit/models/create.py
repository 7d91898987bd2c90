"""Composing a new model from named parts: an encoder, a connector and a language model.

It is apart from the model because here specs are read and weights are loaded; the model itself only knows modules.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

from facekit.backbones.base import Backbone
from facekit.backbones.huggingface import read_dtype
from facekit.catalog import current_registry
from facekit.connectors.base import Connector
from facekit.encoders.base import VisionEncoder
from facekit.errors import ConfigurationError
from facekit.models.configuration import FaceKitConfig
from facekit.models.image_processing import FaceKitImageProcessor
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.part_options import call_with_options
from facekit.models.presets import Preset
from facekit.models.processing import FaceKitProcessor
from facekit.registry import PartSpec

_IMAGE_TOKENS = ("<image>", "<face_image>", "<|facekit_image|>")


def create(
    *,
    preset: str | None = None,
    encoder: str | None = None,
    connector: str | None = None,
    backbone: str | None = None,
    landmarker: str | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    seed: int | None = None,
) -> tuple[FaceKitForConditionalGeneration, FaceKitProcessor]:
    """Compose a model and its processor from parts named by spec strings.

    Args:
        preset: A named choice of parts; parts that are given as well replace the preset's.
        encoder: Such as ``tiny`` or ``openclip:ViT-L-14?pretrained=openai``.
        connector: Such as ``mlp`` or ``region``.
        backbone: Such as ``tiny`` or ``hf:Qwen/Qwen2.5-0.5B-Instruct``.
        landmarker: What finds the face and its landmarks; ``dlib`` by default.
        dtype: Floating type of the whole model; by default the language model's.
        device: Where the model is put; by default the CPU.
        seed: For weights that no checkpoint gives; the global random state is left alone.

    Returns:
        The model, in evaluation mode, and the processor.

    Raises:
        ConfigurationError: A part is named neither by the preset nor by itself, or parts do not fit each other.
        UnknownPartError: A name is not registered.
        InvalidSpecError: A spec or one of its options cannot be used.
        CheckpointError: Weights that a spec names are missing or do not fit.
    """
    parts = _choose_parts(preset, encoder, connector, backbone, landmarker)
    current_registry().part("landmarker", PartSpec.parse(parts.landmarker).name)
    with _random_state(seed):
        vision = _load_encoder(parts.encoder)
        language = _load_backbone(parts.backbone)
        image_token = add_image_token(language.tokenizer, language.model)
        bridge = _load_connector(parts.connector, vision, language.model)
    model = _compose(parts, vision, bridge, language, image_token)
    set_dtype(model, language.model.dtype if dtype in (None, "auto") else read_dtype(dtype))
    model.to(device)
    processor = FaceKitProcessor(
        FaceKitImageProcessor.from_transform(vision.transform, landmarker=parts.landmarker),
        language.tokenizer,
        tokens_per_frame=model.tokens_per_frame,
        image_token=image_token,
    )
    return model.eval(), processor


def find_end_tokens(backbone: Backbone) -> list[int]:
    """Return the tokens that end an answer: the model's and the tokenizer's own, and what the chat template writes.

    A language model that was never trained on chats does not list the end of a turn, yet it is what it learns to
    write once it is trained on the template.
    """
    tokenizer, known = backbone.tokenizer, backbone.model.generation_config.eos_token_id
    ends = set(known if isinstance(known, list) else [known]) | {tokenizer.eos_token_id}
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
    written = tokenizer.apply_chat_template(turns, tokenize=False)
    after = tokenizer(written.rpartition("answer")[2], add_special_tokens=False)["input_ids"]
    if after and after[0] in tokenizer.all_special_ids:
        ends.add(after[0])
    return sorted(end for end in ends if end is not None)


def set_dtype(model: FaceKitForConditionalGeneration, dtype: torch.dtype) -> None:
    """Change a model's floating type in place, as loading it in that type would.

    ``model.to(dtype)`` would round the language model's rotary frequencies too, which loading keeps in float32.
    """
    model.encoder.to(dtype)
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
        torch.manual_seed(seed)
        yield


def add_image_token(tokenizer: PreTrainedTokenizerBase, language_model: PreTrainedModel) -> str:
    """Add a token that stands for visual tokens, and an embedding for it where the model has no spare row.

    The row is the mean of the others. It is never read, because visual tokens replace it; it exists so that whatever
    looks ids up, such as a repetition penalty, finds them in range.

    Returns:
        The token: ``<image>``, or another name where the vocabulary has that already.

    Raises:
        ConfigurationError: The vocabulary has all the names.
    """
    vocabulary = tokenizer.get_vocab()
    token = next((name for name in _IMAGE_TOKENS if name not in vocabulary), None)
    if token is None:
        raise ConfigurationError(f"the tokenizer has all of {', '.join(_IMAGE_TOKENS)}, so none can stand for images")
    tokenizer.add_tokens(AddedToken(token, normalized=False, special=True), special_tokens=True)
    rows = language_model.get_input_embeddings().weight.shape[0]
    needed = tokenizer.convert_tokens_to_ids(token) + 1
    if needed > rows:
        language_model.resize_token_embeddings(needed, mean_resizing=False)
        with torch.no_grad():
            for embeddings in (language_model.get_input_embeddings(), language_model.get_output_embeddings()):
                embeddings.weight[rows:] = embeddings.weight[:rows].mean(dim=0)
    return token


def _choose_parts(
    preset: str | None, encoder: str | None, connector: str | None, backbone: str | None, landmarker: str | None
) -> Preset:
    given = {"encoder": encoder, "connector": connector, "backbone": backbone, "landmarker": landmarker}
    chosen = {kind: spec for kind, spec in given.items() if spec is not None}
    if preset is not None:
        return replace(current_registry().load("preset", preset), **chosen)
    missing = [kind for kind in ("encoder", "connector", "backbone") if kind not in chosen]
    if missing:
        raise ConfigurationError(f"create needs a preset, or all three parts; missing: {', '.join(missing)}")
    return Preset(**chosen, summary="")


def _load_encoder(text: str) -> VisionEncoder:
    spec = PartSpec.parse(text)
    part = current_registry().load("encoder", spec.name)
    return part.from_spec(spec.argument, **spec.options)


def _load_connector(text: str, encoder: VisionEncoder, language_model: PreTrainedModel) -> Connector:
    spec = PartSpec.parse(text)
    part = current_registry().load("connector", spec.name)
    widths = {"input_width": encoder.hidden_size, "output_width": language_model.config.get_text_config().hidden_size}
    return part.from_spec(spec.argument, **widths, **spec.options)


def _load_backbone(text: str) -> Backbone:
    spec = PartSpec.parse(text)
    return call_with_options(current_registry().load("backbone", spec.name), spec)


def _compose(
    parts: Preset, encoder: VisionEncoder, connector: Connector, backbone: Backbone, image_token: str
) -> FaceKitForConditionalGeneration:
    config = FaceKitConfig(
        encoder={"name": PartSpec.parse(parts.encoder).name, **encoder.to_config()},
        connector={"name": PartSpec.parse(parts.connector).name, **connector.to_config()},
        text_config=copy.deepcopy(backbone.model.config),
        image_token_id=backbone.tokenizer.convert_tokens_to_ids(image_token),
    )
    model = FaceKitForConditionalGeneration(config, encoder=encoder, connector=connector, language_model=backbone.model)
    model.generation_config = copy.deepcopy(backbone.model.generation_config)
    model.generation_config.eos_token_id = find_end_tokens(backbone)
    model.generation_config.pad_token_id = backbone.tokenizer.pad_token_id
    model.generation_config.suppress_tokens = [config.image_token_id]
    return model
