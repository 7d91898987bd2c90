"""Face-LLaVA as released: Video-LLaVA's layout with LanguageBind towers, and landmark modules beside the projector.

The names were learned from the published weights (hub id ``chaubeyG/FaceLLaVA``); the code is facekit's own parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AddedToken, LlamaConfig, PreTrainedConfig, PreTrainedTokenizerBase

from facekit.backbones.chat_template import set_chat_template
from facekit.backbones.image_token import IMAGE_TOKENS
from facekit.connectors.mlp import MlpConnector
from facekit.encoders.checkpoints import read_checkpoint
from facekit.encoders.languagebind import LanguageBindEncoder, read_languagebind_settings, tower_weights
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError, configuration_guard
from facekit.models.interoperability.composition import Composition, load_tokenizer
from facekit.models.interoperability.recognition import Recognition
from facekit.models.interoperability.weights import TensorHeader, stream_tensors

NUM_HEADS = 8
_PREFIXES = {"image": "model.image_tower.image_tower.", "video": "model.video_tower.video_tower."}
_EXPECTED = {
    "cross_attn_type": "simple",
    "landmarks_projector_type": "landmarks_region_projector",
    "global_landmarks_projector_type": "linear",
    "use_landmark_tokens": False,
    "mm_use_im_start_end": False,
}
_REQUIRED = ("mm_hidden_size", "hidden_size", "vocab_size")
_LLAMA_ENTRIES = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "pad_token_id", "bos_token_id",
    "eos_token_id", "tie_word_embeddings", "rope_theta", "rope_scaling",
)  # fmt: skip
_RENAMED = (
    (r"model\.mm_projector\.", "connector.vision_projector."),
    (r"model\.landmarks_projector\.region_layers\.", "connector.landmark_projector.region_layers."),
    (r"model\.global_landmarks_projector\.", "connector.landmark_projector.global_layer."),
    (r"model\.landmarks_cross_attn\.cross_attn\.attn\.out_proj\.", "connector.cross_attention.out_proj_"),
    (r"model\.landmarks_cross_attn\.cross_attn\.attn\.", "connector.cross_attention."),
    (r"model\.landmarks_cross_attn\.cross_attn\.ln\.", "connector.cross_attention.norm."),
    (r"model\.landmarks_cross_attn\.linear_proj\.", "connector.cross_attention.linear."),
)
_UNUSED = re.compile(r"model\.landmarks_cross_attn\.ln\.|.*\.rotary_emb\.inv_freq$")


@dataclass(frozen=True)
class Tower:
    """One of the two towers.

    Args:
        encoder: On the meta device: it knows its configuration and the names of its tensors.
        source: Folder or hub id that its configuration came from, and its weights where the checkpoint has none.
    """

    encoder: LanguageBindEncoder
    source: str


def read_towers(config: dict[str, Any], tower_root: str | Path | None) -> dict[str, Tower]:
    """Read the configurations of the towers that a checkpoint names.

    Args:
        config: Its ``config.json``.
        tower_root: Folder in which the towers' folders are, under the names that the checkpoint gives them; without it
            they are taken as hub ids.

    Raises:
        CheckpointError: A tower is not there, or is no LanguageBind tower.
    """
    towers = {}
    for kind in ("image", "video"):
        name = config.get(f"mm_{kind}_tower")
        if not name:
            continue
        source = str(name) if tower_root is None else str(Path(tower_root).expanduser() / name)
        if tower_root is not None and not Path(source).is_dir():
            raise CheckpointError(f"tower_root '{tower_root}' has no folder '{name}', which config.json names as tower")
        try:
            settings = read_languagebind_settings(source)
        except CheckpointError as error:
            if tower_root is not None:
                raise
            hint = "tower_root names the folder that has the towers' folders, where they are local"
            raise CheckpointError(f"{str(error).rstrip('.')}; {hint}") from error
        keeps_class = kind == "video" or config.get("mm_vision_select_feature", "patch") == "cls_patch"
        try:
            with torch.device("meta"):
                encoder = LanguageBindEncoder(
                    settings, layer=int(config.get("mm_vision_select_layer", -2)), class_token=keeps_class
                )
        except InvalidSpecError as error:
            raise CheckpointError(f"config.json does not fit the tower '{name}': {error}") from error
        towers[kind] = Tower(encoder, source)
    if "image" not in towers:
        raise CheckpointError("config.json names no mm_image_tower, so the checkpoint cannot see pictures")
    return towers


def describe_face_llava(recognised: Recognition, towers: dict[str, Tower], image_token_id: int) -> Composition:
    """Describe a released Face-LLaVA checkpoint in facekit's parts.

    Args:
        recognised: The folder and its configuration.
        towers: From ``read_towers``.
        image_token_id: Stands for every visual token.

    Raises:
        CheckpointError: It is of a variant that facekit has no part for.
    """
    config = recognised.config
    lacking = [name for name in _REQUIRED if name not in config]
    if lacking:
        raise CheckpointError(f"'{recognised.folder}/config.json' lacks {', '.join(lacking)}")
    for key, expected in _EXPECTED.items():
        if config.get(key, expected) != expected:
            raise CheckpointError(
                f"the Face-LLaVA checkpoint has {key}={config[key]!r}; facekit reads the released form, {expected!r}"
            )
    try:
        depth = MlpConnector.convert_argument(config.get("mm_projector_type", "mlp2x_gelu"))["depth"]
    except InvalidSpecError as error:
        raise CheckpointError(
            f"the Face-LLaVA checkpoint has a projector that facekit does not build: {error}"
        ) from error
    connector = {
        "name": "region-released",
        "input_width": config["mm_hidden_size"],
        "output_width": config["hidden_size"],
        "depth": depth,
        "num_heads": NUM_HEADS,
        "keep_prefix_tokens": True,
    }
    video = towers.get("video")
    return Composition(
        encoder={"name": "languagebind", **towers["image"].encoder.to_config()},
        video_encoder=None if video is None else {"name": "languagebind", **video.encoder.to_config()},
        connector=connector,
        text_config=read_text_config(config),
        image_token_id=image_token_id,
        rename=lambda name: rename_face_llava(name, towers),
    )


def rename_face_llava(name: str, towers: dict[str, Tower]) -> str | None:
    """Return facekit's name of a released tensor, or None for one that is not used."""
    if _UNUSED.match(name):
        return None
    for kind, prefix in _PREFIXES.items():
        if name.startswith(prefix):
            inner = towers[kind].encoder.tower_name(name.removeprefix(prefix)) if kind in towers else None
            own = "encoder" if kind == "image" else "video_encoder"
            return None if inner is None else f"{own}.{inner}"
    for pattern, replacement in _RENAMED:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", replacement, name)
    return f"language_model.{name}"


def read_text_config(config: dict[str, Any]) -> PreTrainedConfig:
    """Return the Llama configuration inside a released ``config.json``.

    Raises:
        CheckpointError: An entry is of a wrong type, or entries do not fit each other.
    """
    with configuration_guard(CheckpointError, "config.json describes no Llama"):
        return LlamaConfig(**{name: config[name] for name in _LLAMA_ENTRIES if config.get(name) is not None})


def stream_face_llava(
    recognised: Recognition, towers: dict[str, Tower], headers: dict[str, TensorHeader]
) -> Iterator[tuple[str, Tensor]]:
    """Yield a released checkpoint's tensors, and the towers' own weights where it leaves those out."""
    yield from stream_tensors(recognised.folder)
    for kind, tower in towers.items():
        if not any(name.startswith(_PREFIXES[kind]) for name in headers):
            for name, value in tower_weights(read_checkpoint(tower.source)).items():
                yield f"{_PREFIXES[kind]}{name}", value


def prepare_tokenizer(
    recognised: Recognition, text_config: PreTrainedConfig, tokenizer: str | Path | None
) -> tuple[PreTrainedTokenizerBase, int]:
    """Load the tokenizer with Vicuna's conversation and an image token, which released checkpoints do not have.

    The language model keeps its vocabulary: the image token's id may lie behind the last row, because no embedding of
    it is ever read.

    Returns:
        The tokenizer and the id of the image token.

    Raises:
        CheckpointError: The tokenizer cannot be loaded.
        ConfigurationError: It has an ordinary word of every name for the image token.
    """
    loaded = load_tokenizer(recognised.folder, text_config, tokenizer)
    if loaded.chat_template is None:
        set_chat_template(loaded, "vicuna", str(recognised.folder))
    vocabulary = loaded.get_vocab()
    token = next((name for name in IMAGE_TOKENS if name not in vocabulary), None)
    if token is None:
        raise ConfigurationError(
            f"the tokenizer has all of {', '.join(IMAGE_TOKENS)}, so none is free to stand for images; "
            "name another tokenizer"
        )
    loaded.add_tokens(AddedToken(token, normalized=False, special=True), special_tokens=True)
    return loaded, loaded.get_vocab()[token]
