"""Reading a foreign checkpoint as a composed model with its processor: one function per format.

``facekit.models.load`` imports it for foreign checkpoints only.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from facekit.backbones.chat_template import set_chat_template
from facekit.catalog import DEFAULT_LANDMARKER
from facekit.errors import CheckpointError
from facekit.models.interoperability.chat_templates import adapt_chat_template, read_chat_template
from facekit.models.interoperability.composition import (
    Composition,
    build_processor,
    build_with_weights,
    choose_dtype,
    load_tokenizer,
    set_generation,
)
from facekit.models.interoperability.face_llava import (
    describe_face_llava,
    prepare_tokenizer,
    read_towers,
    stream_face_llava,
)
from facekit.models.interoperability.llava_layout import describe_llava
from facekit.models.interoperability.recognition import CheckpointFormat, Recognition
from facekit.models.interoperability.weights import TensorHeader, read_headers, stream_tensors
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.models.processing import FaceKitProcessor

Loaded = tuple[FaceKitForConditionalGeneration, FaceKitProcessor]


def read_foreign(
    recognised: Recognition,
    *,
    dtype: str | torch.dtype | None = None,
    tower_root: str | Path | None = None,
    tokenizer: str | Path | None = None,
) -> Loaded:
    """Read a checkpoint of another format than facekit's; see ``facekit.load`` for the arguments.

    Raises:
        CheckpointError: It is incomplete, damaged, or built in a way that facekit has no part for.
    """
    if recognised.format is CheckpointFormat.FACE_LLAVA:
        return _read_face_llava(recognised, dtype, tower_root, tokenizer)
    return _read_llava(recognised, dtype, tokenizer)


def renaming_of(recognised: Recognition, tower_root: str | Path | None = None) -> Callable[[str], str | None]:
    """Return the function from a foreign checkpoint's names of tensors to facekit's."""
    return describe(recognised, tower_root).rename


def describe(
    recognised: Recognition, tower_root: str | Path | None = None, headers: dict[str, TensorHeader] | None = None
) -> Composition:
    """Describe a foreign checkpoint in facekit's parts from its configuration and headers alone.

    Args:
        recognised: The folder and its format.
        tower_root: For released Face-LLaVA; see ``facekit.load``.
        headers: Of its tensors, where they are not in the folder.
    """
    if recognised.format is CheckpointFormat.FACE_LLAVA:
        towers = read_towers(recognised.config, tower_root)
        return describe_face_llava(recognised, towers, recognised.config.get("vocab_size", 0))
    return describe_llava(recognised, read_headers(recognised.folder) if headers is None else headers)[0]


def _read_llava(recognised: Recognition, dtype: str | torch.dtype | None, tokenizer: str | Path | None) -> Loaded:
    folder = recognised.folder
    composition, transform = describe_llava(recognised, read_headers(folder))
    loaded_tokenizer = load_tokenizer(folder, composition.text_config, tokenizer)
    chosen = choose_dtype(dtype, recognised.config, recognised.config["text_config"])
    model = build_with_weights(composition, chosen, stream_tensors(folder), folder)
    template = read_chat_template(folder, loaded_tokenizer)
    if template is None:
        if recognised.format is CheckpointFormat.INTERNVL:
            raise CheckpointError(
                f"'{folder}' has no chat template; add chat_template.jinja, as the -hf repositories have"
            )
        set_chat_template(loaded_tokenizer, "vicuna", str(folder))
        template = str(loaded_tokenizer.chat_template)
    image_token = loaded_tokenizer.convert_ids_to_tokens(composition.image_token_id)
    before, after = (getattr(loaded_tokenizer, f"{side}_image_token", None) or "" for side in ("start", "end"))
    if recognised.format is not CheckpointFormat.INTERNVL:
        before = after = ""
    adapted = adapt_chat_template(template, loaded_tokenizer, str(image_token), before, after)
    processor = build_processor(model, loaded_tokenizer, transform, adapted)
    set_generation(model, processor, folder)
    return model, processor


def _read_face_llava(
    recognised: Recognition,
    dtype: str | torch.dtype | None,
    tower_root: str | Path | None,
    tokenizer: str | Path | None,
) -> Loaded:
    towers = read_towers(recognised.config, tower_root)
    composition = describe_face_llava(recognised, towers, 0)
    loaded_tokenizer, image_token_id = prepare_tokenizer(recognised, composition.text_config, tokenizer)
    composition = describe_face_llava(recognised, towers, image_token_id)
    tensors = stream_face_llava(recognised, towers, read_headers(recognised.folder))
    chosen = choose_dtype(dtype, recognised.config)
    model = build_with_weights(composition, chosen, tensors, recognised.folder)
    processor = build_processor(
        model, loaded_tokenizer, towers["image"].encoder.transform, landmarker=DEFAULT_LANDMARKER
    )
    set_generation(model, processor, recognised.folder)
    return model, processor
