"""What is frozen computes as it will after the training, without dropout or moving statistics."""

from __future__ import annotations

import pytest
import torch
from small_runs import small_model
from torch import nn
from torch.nn import functional as F
from transformers import OPTConfig, OPTForCausalLM

from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.encoders.tiny import TinyEncoder
from facekit.training import TrainingSettings, train
from facekit.training.trainable.parts import gradient_checkpointing, set_evaluation_of_frozen, trainable_parts


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 8, seed=2, image_size=64))


def with_dropout(*names):
    """A fresh model in which the named modules drop half of their output while they are in training mode."""
    model, processor = small_model("region", depth=2)
    for name in names:
        module = model.get_submodule(name)
        if name.endswith("self_attn"):
            module.attention_dropout = 0.5
        else:
            module.register_forward_hook(lambda module, _, output: F.dropout(output, 0.5, module.training))
    return model, processor


def losses(records, folder, model, parts, **settings):
    common = {"steps": 2, "batch_size": 4, "log_every": 1, "threads": 1, "warmup": 0.0}
    return train(*model, records, folder, TrainingSettings(**common, parts=parts, **settings)).history.losses


ATTENTION, MLP = "language_model.model.layers.0.self_attn", "language_model.model.layers.1.mlp"
PROJECTOR = "connector.vision_projector"


@pytest.mark.parametrize(
    ("parts", "dropping", "settings"),
    [
        (("connector",), ("encoder", "encoder.blocks.0", ATTENTION, MLP), {}),
        (("connector",), (ATTENTION, MLP), {"gradient_checkpointing": True}),
        (("connector",), (MLP,), {"logits": "all", "gradient_checkpointing": True}),
        (("language_model",), ("encoder", "connector", PROJECTOR), {}),
        (("llm.lora",), ("encoder.norm", "connector.landmark_projector"), {}),
        (("connector.region",), (PROJECTOR, f"{PROJECTOR}.0", ATTENTION), {}),
    ],
)
def test_dropout_in_what_is_frozen_is_off(records, tmp_path, parts, dropping, settings):
    plain = losses(records, tmp_path / "plain", small_model("region", depth=2), parts, **settings)
    assert losses(records, tmp_path / "dropout", with_dropout(*dropping), parts, **settings) == plain


@pytest.mark.parametrize(
    ("parts", "dropping"),
    [
        (("connector",), "connector"),
        (("connector.region",), "connector.landmark_projector"),
        (("encoder", "connector"), "encoder.norm"),
        (("language_model",), ATTENTION),
        (("llm.lora",), ATTENTION),
        (("llm.lora",), MLP),
    ],
)
def test_dropout_in_what_is_trained_is_on(records, tmp_path, parts, dropping):
    plain = losses(records, tmp_path / "plain", small_model("region", depth=2), parts)
    assert losses(records, tmp_path / "dropout", with_dropout(dropping), parts)[0] != plain[0]


def test_running_statistics_of_what_is_frozen_stand_still():
    model, _ = small_model("region", depth=2)
    model.video_encoder = TinyEncoder(image_size=64, width=32, depth=1)
    norms = {name: nn.BatchNorm1d(4) for name in ("encoder", "video_encoder", "connector", "language_model")}
    for name, norm in norms.items():
        getattr(model, name).statistics = norm
    with trainable_parts(model, ["connector"]):
        model.train()
        set_evaluation_of_frozen(model)
        for norm in norms.values():
            norm(torch.ones(2, 4))
    assert [getattr(model, name).training for name in norms] == [False, False, True, False]
    assert {name: int(norm.num_batches_tracked) for name, norm in norms.items()} == {
        "encoder": 0, "video_encoder": 0, "connector": 1, "language_model": 0,
    }  # fmt: skip


def test_a_frozen_language_model_recomputes_its_activations_and_still_drops_nothing():
    """OPT's layers ask for their mode themselves, and its body may leave whole layers out."""
    model, _ = small_model("region", depth=2)
    model.language_model = OPTForCausalLM(
        OPTConfig(vocab_size=64, hidden_size=16, word_embed_proj_dim=16, ffn_dim=32, num_hidden_layers=2,
                  num_attention_heads=2, dropout=0.5, attention_dropout=0.5, layerdrop=0.5)
    )  # fmt: skip
    passes = []
    model.language_model.model.decoder.layers[0].self_attn.register_forward_hook(lambda *_: passes.append(1))

    def gradient():
        embeddings = torch.linspace(-1, 1, 80).reshape(1, 5, 16).requires_grad_()
        model.language_model(inputs_embeds=embeddings, use_cache=False).logits.square().sum().backward()
        return embeddings.grad

    with trainable_parts(model, ["connector"]):
        model.eval()
        expected = gradient()
        with gradient_checkpointing(model, ["connector"]):
            model.train()
            set_evaluation_of_frozen(model)
            assert torch.equal(gradient(), expected)
            assert len(passes) == 1 + 2
