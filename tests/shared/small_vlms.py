"""Tiny random vision-language models of the families that transformers has, each saved with its real processor.

``save_small_vlm(name, folder)`` writes a checkpoint of a family in ``FAMILIES`` and returns model and processor. Sizes
and weights are ours; classes, special tokens, the layout of a conversation and how a picture becomes tokens are those
of the published checkpoints. ``face_picture`` draws pictures that the models tell apart.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from foreign_checkpoints import LLAVA_TEMPLATE, VISION, byte_tokenizer, draw_everything, save_internvl, save_llava
from PIL import Image

TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 384, "max_position_embeddings": 4096}  # fmt: skip
SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False, **VISION}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}

_CONTENT = (
    "{% if message.content is string %}{{ message.content }}{% else %}{% for entry in message.content %}"
    "{% if entry.type == 'image' %}{{ 'IMAGE' }}{% elif entry.type == 'text' %}{{ entry.text }}{% endif %}"
    "{% endfor %}{% endif %}"
)
QWEN = (
    "{% for message in messages %}{% if loop.first and message.role != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' }}"
    + _CONTENT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ONEVISION = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    + _CONTENT.replace("IMAGE", "<image>\n")
    + "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# The system message stands at the head of the first question.
GEMMA3 = (
    "{{ bos_token }}{% set first = namespace(words='') %}"
    "{% for message in messages %}{% if message.role == 'system' %}"
    "{% set first.words = (message.content if message.content is string else message.content[0].text) + '\n\n' %}"
    "{% else %}{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else 'user') + '\n' + first.words }}"
    "{% set first.words = '' %}"
    "{% if message.content is string %}{{ message.content | trim }}{% else %}{% for entry in message.content %}"
    "{% if entry.type == 'image' %}{{ '<start_of_image>' }}"
    "{% elif entry.type == 'text' %}{{ entry.text | trim }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<end_of_turn>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
IDEFICS3 = (
    "<|begin_of_text|>{% for message in messages %}{{ message.role | capitalize }}"
    "{% if message.content is not string and message.content[0].type == 'image' %}{{ ':' }}{% else %}{{ ': ' }}"
    "{% endif %}" + _CONTENT.replace("IMAGE", "<image>") + "{{ '<end_of_utterance>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

LOUDNESS, QUIET = 4.0, 0.5

QWEN_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
               "<|video_pad|>"]  # fmt: skip
IDEFICS_TOKENS = ["<|begin_of_text|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>",
                  *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7))]  # fmt: skip


def save_small_vlm(name: str, folder: Path) -> tuple[Any, Any]:
    """Write a family's checkpoint; model and processor are as loaded from the folder."""
    (FAMILIES | RECURRENT)[name](folder)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    return model.eval(), transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)


def face_picture(number: int = 0, width: int = 48, height: int = 64) -> Image.Image:
    """A picture with structure of every size, another one for every number."""
    rng = np.random.default_rng((7, number))
    coarse = Image.fromarray(rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    fine = rng.normal(0, 24, (height, width, 3))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


def _save(folder: Path, model: Any, processor: Any) -> None:
    draw_everything(model)
    model.tie_weights()
    with torch.no_grad():
        for part, parameter in model.named_parameters():
            if any(word in part for word in ("projector", "connector", "merger")):
                parameter.mul_(LOUDNESS)  # or the words before an answer decide it, whatever the picture
            elif part.endswith("embed_tokens.weight"):
                parameter.mul_(QUIET)  # or the last word does
    tokenizer = processor.tokenizer
    end = tokenizer.eos_token_id
    model.generation_config.update(eos_token_id=end, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _qwen_tokens() -> tuple[Any, dict[str, int]]:
    tokenizer = byte_tokenizer(QWEN_TOKENS, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
             "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}  # fmt: skip
    return tokenizer, {name: tokenizer.convert_tokens_to_ids(token) for name, token in names.items()}


def _qwen_processor(kind: Any, video: Any, tokenizer: Any, patch: int) -> Any:
    pixels: dict[str, Any] = {"patch_size": patch, "size": {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}}
    images = transformers.Qwen2VLImageProcessor(**pixels)
    return kind(images, tokenizer, video(**pixels), chat_template=QWEN)


def _save_qwen2_vl(folder: Path) -> None:
    tokenizer, ids = _qwen_tokens()
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 8}
    text = {**TEXT, "rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}, "eos_token_id": 2, "bos_token_id": 0}
    config = transformers.Qwen2VLConfig(vision_config=vision, text_config=text, **ids)
    processor = _qwen_processor(transformers.Qwen2VLProcessor, transformers.Qwen2VLVideoProcessor, tokenizer, 8)
    _save(folder, transformers.Qwen2VLForConditionalGeneration(config), processor)


def _save_qwen2_5_vl(folder: Path) -> None:
    tokenizer, ids = _qwen_tokens()
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 8,
              "window_size": 32, "out_hidden_size": 32, "fullatt_block_indexes": [1]}  # fmt: skip
    text = {**TEXT, "rope_parameters": MROPE, "eos_token_id": 2, "bos_token_id": 0}
    config = transformers.Qwen2_5_VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=True, **ids)
    kind = transformers.Qwen2_5_VLProcessor
    processor = _qwen_processor(kind, transformers.Qwen2VLVideoProcessor, tokenizer, 8)
    _save(folder, transformers.Qwen2_5_VLForConditionalGeneration(config), processor)


def _save_qwen3_vl(folder: Path) -> None:
    tokenizer, ids = _qwen_tokens()
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 8,
              "out_hidden_size": 32, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}  # fmt: skip
    rope = {**MROPE, "mrope_interleaved": True}
    text = {**TEXT, "head_dim": 8, "rope_parameters": rope}
    config = transformers.Qwen3VLConfig(vision_config=vision, text_config=text, **ids)
    processor = _qwen_processor(transformers.Qwen3VLProcessor, transformers.Qwen3VLVideoProcessor, tokenizer, 8)
    _save(folder, transformers.Qwen3VLForConditionalGeneration(config), processor)


def _save_qwen3_5(folder: Path) -> None:
    tokenizer, ids = _qwen_tokens()
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 8,
              "out_hidden_size": 32, "num_position_embeddings": 16}  # fmt: skip
    rope = {**MROPE, "mrope_interleaved": True, "partial_rotary_factor": 1.0}
    linear = {"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
              "linear_num_value_heads": 4, "layer_types": ["linear_attention", "full_attention"]}  # fmt: skip
    text = {**TEXT, **linear, "head_dim": 8, "rope_parameters": rope}
    config = transformers.Qwen3_5Config(vision_config=vision, text_config=text, **ids)
    processor = _qwen_processor(transformers.Qwen3VLProcessor, transformers.Qwen3VLVideoProcessor, tokenizer, 8)
    _save(folder, transformers.Qwen3_5ForConditionalGeneration(config), processor)


def _save_internvl_tiles(folder: Path) -> None:
    model, processor = save_internvl(folder)
    processor.image_processor.max_patches = 4
    _save(folder, model, processor)


def _save_llava(folder: Path) -> None:
    _save(folder, *save_llava(folder))


def _save_llava_next(folder: Path) -> None:
    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
    tokenizer = byte_tokenizer(special, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    pinpoints = [[height, width] for height in (32, 64) for width in (32, 64)]
    config = transformers.LlavaNextConfig(
        vision_config={"model_type": "clip_vision_model", **VISION},
        text_config={"model_type": "llama", **TEXT},
        image_token_index=4,
        image_grid_pinpoints=pinpoints,
    )
    side = {"height": 32, "width": 32}
    processor = transformers.LlavaNextProcessor(
        transformers.LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size=side, image_grid_pinpoints=pinpoints
        ),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    _save(folder, transformers.LlavaNextForConditionalGeneration(config), processor)


def _save_llava_onevision(folder: Path) -> None:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]
    tokenizer = byte_tokenizer(special, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    pinpoints = [[height, width] for height in (32, 64) for width in (32, 64)]
    config = transformers.LlavaOnevisionConfig(
        vision_config=SIGLIP,
        text_config={"model_type": "qwen2", **TEXT},
        image_token_index=3,
        video_token_index=4,
        image_grid_pinpoints=pinpoints,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    side = {"height": 32, "width": 32}
    processor = transformers.LlavaOnevisionProcessor(
        transformers.LlavaOnevisionImageProcessor(size=side, image_grid_pinpoints=pinpoints),
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(size=side),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=ONEVISION,
    )
    _save(folder, transformers.LlavaOnevisionForConditionalGeneration(config), processor)


def _save_gemma3(folder: Path) -> None:
    special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
               "<image_soft_token>"]  # fmt: skip
    tokenizer = byte_tokenizer(
        special,
        bos_token="<bos>",
        eos_token="<end_of_turn>",
        pad_token="<pad>",
        extra_special_tokens={
            "image_token": "<image_soft_token>",
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
        },
    )
    kinds = ["sliding_attention", "full_attention"]
    config = transformers.Gemma3Config(
        vision_config=SIGLIP,
        text_config={**TEXT, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 40, "layer_types": kinds},
        mm_tokens_per_image=4,
        image_token_index=7,
        boi_token_index=5,
        eoi_token_index=6,
    )
    processor = transformers.Gemma3Processor(
        transformers.Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer,
        chat_template=GEMMA3,
        image_seq_length=4,
    )
    _save(folder, transformers.Gemma3ForConditionalGeneration(config), processor)


def _idefics_parts(config: type, model_type: str) -> tuple[Any, Any, dict[str, Any]]:
    tokenizer = byte_tokenizer(
        IDEFICS_TOKENS, eos_token="<end_of_utterance>", pad_token="<|begin_of_text|>", bos_token="<|begin_of_text|>"
    )
    built = config(
        vision_config={"model_type": model_type, **VISION},
        text_config={"model_type": "llama", **TEXT},
        image_token_id=3,
        scale_factor=2,
    )
    pixels = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    return tokenizer, built, pixels


def _save_idefics3(folder: Path) -> None:
    tokenizer, config, pixels = _idefics_parts(transformers.Idefics3Config, "idefics3_vision")
    images = transformers.Idefics3ImageProcessor(**pixels)
    processor = transformers.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=IDEFICS3)
    _save(folder, transformers.Idefics3ForConditionalGeneration(config), processor)


def _save_smolvlm(folder: Path) -> None:
    tokenizer, config, pixels = _idefics_parts(transformers.SmolVLMConfig, "smolvlm_vision")
    images, video = transformers.SmolVLMImageProcessor(**pixels), transformers.SmolVLMVideoProcessor()
    processor = transformers.SmolVLMProcessor(images, tokenizer, video, image_seq_len=4, chat_template=IDEFICS3)
    _save(folder, transformers.SmolVLMForConditionalGeneration(config), processor)


FAMILIES: dict[str, Callable[[Path], None]] = {
    "qwen2-vl": _save_qwen2_vl,
    "qwen2.5-vl": _save_qwen2_5_vl,
    "qwen3-vl": _save_qwen3_vl,
    "internvl": _save_internvl_tiles,
    "llava": _save_llava,
    "llava-next": _save_llava_next,
    "llava-onevision": _save_llava_onevision,
    "gemma3": _save_gemma3,
    "idefics3": _save_idefics3,
}
if importlib.util.find_spec("num2words") is not None:  # its processor refuses to be built without
    FAMILIES["smolvlm"] = _save_smolvlm

RECURRENT: dict[str, Callable[[Path], None]] = {"qwen3.5": _save_qwen3_5}
"""Families with layers that carry a state along, so that nothing goes on from a beginning that is copied or padded."""
