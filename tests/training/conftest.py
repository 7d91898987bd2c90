"""Small composed models of three families, and questions about images as token ids, packed and apart."""

from __future__ import annotations

import gc

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from facekit.connectors.mlp import MlpConnector
from facekit.connectors.region import RegionConnector
from facekit.data.collation import FaceCollator
from facekit.data.dataset import FaceExample
from facekit.data.packing import pack_sequences
from facekit.data.supervision import IGNORED, SupervisedTokens
from facekit.encoders.tiny import TinyEncoder
from facekit.models.configuration import FaceKitConfig
from facekit.models.modeling import FaceKitForConditionalGeneration

IMAGE, PAD, VOCABULARY, WIDTH = 5, 0, 96, 32
QUESTIONS_PER_IMAGE = (1, 3, 2, 4)
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": PAD,
}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def _spare_the_collector():
    # The trainer collects garbage after every run, which takes a second where torch and transformers are loaded.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def language_model(family):
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**SIZES))
    if family == "qwen2":
        windowed = {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
        return Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **windowed, **SIZES))
    kinds = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(head_dim=8, sliding_window=7, layer_types=kinds, final_logit_softcapping=20.0, **SIZES)
    return Gemma3ForCausalLM(config)


@pytest.fixture(scope="session")
def composed():
    """A function from a family and a connector to a composed model with random weights."""

    def build(family="llama", connector="mlp", attention="sdpa"):
        torch.manual_seed(0)
        encoder = TinyEncoder(image_size=48, width=32, depth=1)
        bridge = {"mlp": MlpConnector, "region": RegionConnector}[connector](32, WIDTH)
        language = language_model(family)
        config = FaceKitConfig(
            encoder={"name": "tiny", **encoder.to_config()},
            connector={"name": connector, **bridge.to_config()},
            text_config=language.config,
            image_token_id=IMAGE,
        )
        language.set_attn_implementation(attention)
        return FaceKitForConditionalGeneration(
            config, encoder=encoder, connector=bridge, language_model=language
        ).train()

    return build


@pytest.fixture(scope="session")
def questions():
    """A function from a model to its images' questions: per image the packed example and those apart."""

    def make(model):
        generator = torch.Generator().manual_seed(1)

        def words(low, high):
            count = int(torch.randint(low, high, (1,), generator=generator))
            return torch.randint(6, VOCABULARY, (count,), generator=generator).tolist()

        packed, apart = [], []
        for index, count in enumerate(QUESTIONS_PER_IMAGE):
            pixels = torch.randn(1, 3, 48, 48, generator=generator)
            points = torch.rand(1, 68, 2, generator=generator)
            beginning = [*words(1, 4), *[IMAGE] * model.tokens_per_frame]
            sequences = []
            for _ in range(count):
                question, answer = words(1, 6), words(2, 14)
                ids = [*beginning, *question, *answer]
                sequences.append(SupervisedTokens(ids, [IGNORED] * (len(ids) - len(answer)) + answer))
            columns = vars(pack_sequences(sequences, len(beginning))).items()
            packed.append(
                FaceExample(index, pixels, points, **{name: torch.tensor(column) for name, column in columns})
            )
            apart.append(
                [FaceExample(index, pixels, points, torch.tensor(each.input_ids), torch.tensor(each.labels))
                 for each in sequences]
            )  # fmt: skip
        return packed, apart

    return make


@pytest.fixture(scope="session")
def collate():
    """A function from examples to a batch without indices."""
    return lambda examples, **options: FaceCollator(PAD, **options)(examples)
