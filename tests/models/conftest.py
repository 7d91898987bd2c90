"""Small checkpoints of every family on disk, and small models made from them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from foreign_checkpoints import byte_tokenizer
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import facekit

ENCODERS = ("tiny", "openclip", "timm", "hf")
CONNECTORS = ("mlp", "region")
BACKBONES = ("tiny", "hf-llama", "hf-qwen2", "hf-gemma3")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message.role == 'assistant' else message.role %}"
    "<start_of_turn>{{ role }}\n{{ message.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def save_language_model(folder: Path, family: str) -> None:
    """Llama without chat or pad token, Qwen2 with spare embeddings, Gemma 3 with a begin token in its template."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    if family == "llama":
        tokenizer = byte_tokenizer(["<unk>", "<s>", "</s>"], bos_token="<s>", eos_token="</s>")
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), num_key_value_heads=2, **sizes))
    elif family == "qwen2":
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        tokenizer = byte_tokenizer(special, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML)
        model = Qwen2ForCausalLM(
            Qwen2Config(vocab_size=320, num_key_value_heads=2, tie_word_embeddings=True, eos_token_id=2, **sizes)
        )
    else:
        special = ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"]
        tokenizer = byte_tokenizer(
            special, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", chat_template=GEMMA
        )
        model = Gemma3ForCausalLM(
            Gemma3TextConfig(vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=8, sliding_window=16, **sizes)
        )
        model.generation_config.eos_token_id = [1, 4]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="session")
def specs(tmp_path_factory) -> dict[str, str]:
    """A spec of every part by its short name; checkpoints and configurations lie in a temporary folder."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    for family in ("llama", "qwen2", "gemma3"):
        save_language_model(folder / family, family)
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=8
    )
    CLIPVisionModel(vision).save_pretrained(folder / "clip")
    openclip = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "layers": 3, "head_width": 16},
    }
    (folder / "openclip.json").write_text(json.dumps(openclip))
    return {
        "tiny-encoder": "tiny?image_size=48&width=32&depth=1",
        "openclip-encoder": f"openclip?config={folder / 'openclip.json'}",
        "timm-encoder": "timm:test_vit?image_size=64&layer=2",
        "hf-encoder": f"hf:{folder / 'clip'}",
        "mlp": "mlp",
        "region": "region",
        "tiny": "tiny?width=48&depth=2&heads=4",
        "hf-llama": f"hf:{folder / 'llama'}?chat_template=plain",
        **{f"hf-{family}": f"hf:{folder / family}" for family in ("qwen2", "gemma3")},
    }


@pytest.fixture(scope="session")
def compose(specs):
    """A function from short names to a new model and processor."""

    def build(encoder="tiny", connector="region", backbone="tiny", *, lively=True, **options):
        model, processor = facekit.create(
            encoder=specs[f"{encoder}-encoder"],
            connector=specs[connector],
            backbone=specs[backbone],
            **{"seed": 0, **options},
        )
        if lively:
            enliven(model.language_model)
        return model, processor

    return build


def enliven(language_model) -> None:
    """Draw larger weights: usual untrained ones repeat the last token, whatever they see."""
    generator = torch.Generator().manual_seed(0)
    for name, value in language_model.named_parameters():
        if value.ndim == 2 and "layers" in name:
            drawn = torch.randn(value.shape, generator=generator) * 2 / value.shape[1] ** 0.5
            value.data.copy_(drawn)


@pytest.fixture
def small(compose):
    """A small model and its processor, new for each test."""
    return compose()


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    return random_picture(0)


@pytest.fixture(scope="session")
def points() -> np.ndarray:
    return random_points(0)


def random_picture(seed: int, size: int = 64) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8))


def random_points(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.2, 0.8, (68, 2)).astype(np.float32)


@pytest.fixture(scope="session")
def chat():
    """A function that writes a question about a number of pictures as a chat."""

    def write(question="How old is she?", images=1):
        pictures = [{"type": "image"}] * images
        return [{"role": "user", "content": [*pictures, {"type": "text", "text": question}]}]

    return write


@pytest.fixture(scope="session")
def make_batch():
    """A function that prepares chats with one picture for each image entry."""

    def prepare(processor, chats, *, landmarks=True, **options):
        count = sum(entry["type"] == "image" for each in chats for message in each for entry in message["content"])
        images = [random_picture(index) for index in range(count)] or None
        points = [random_points(index) for index in range(count)] if landmarks is True else landmarks
        return processor(images=images, text=chats, landmarks=points, **options)

    return prepare
