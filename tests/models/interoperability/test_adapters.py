"""Adapters as PEFT writes them load as PEFT itself loads them, tied embeddings included."""

from __future__ import annotations

import copy
import json
import logging

import pytest
import torch
from adapter_runs import adapt_with_peft, logits, save_base
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file

import facekit
from facekit.errors import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

KINDS = {
    "plain": {},
    "all layers": {"target_modules": ["q_proj", "down_proj"], "r": 3, "lora_alpha": 5},
    "rsLoRA": {"use_rslora": True, "r": 4},
    "DoRA": {"use_dora": True},
    "bias of the second factor": {"lora_bias": True},
    "ranks and scales by layer": {
        "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 4}, "alpha_pattern": {"q_proj": 32},
    },
    "some layers": {"layers_to_transform": [0], "layers_pattern": "layers"},
    "left out": {"target_modules": ["q_proj", "v_proj"], "exclude_modules": ["v_proj"]},
    "output head": {"modules_to_save": ["lm_head"]},
    "embeddings": {"modules_to_save": ["embed_tokens"]},
    "output head and embeddings": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "embeddings that stay tied": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
    "output head and connector": {"modules_to_save": ["lm_head", "connector"]},
    "tokens": {"trainable_token_indices": [5, 700, 7]},
    "tokens by module": {"trainable_token_indices": {"embed_tokens": [9]}},
    "adapted embeddings": {"target_modules": ["q_proj", "embed_tokens"]},
    "PiSSA": {"init_lora_weights": "pissa"},
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"))


def train_with_peft(base, folder, **options):
    """Save an adapter whose every trainable tensor was moved at random; return its logits."""
    return logits(adapt_with_peft(base, folder, 0.2, **options))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_loads_as_peft_reloads_it(base, tmp_path, kind):
    trained = train_with_peft(base, tmp_path, **KINDS[kind])
    again = logits(PeftModel.from_pretrained(facekit.load(base)[0], tmp_path).eval())
    before = logits(facekit.load(base)[0])
    torch.testing.assert_close(again, trained, rtol=0, atol=1e-5)
    assert (again - before).abs().max() > 1e-4
    model, _ = facekit.load(tmp_path)
    torch.testing.assert_close(logits(model), again, rtol=0, atol=1e-5)
    assert model.loaded_adapter.folder == tmp_path


@pytest.mark.parametrize(
    ("kind", "tied"),
    [("output head", False), ("embeddings", False), ("embeddings that stay tied", True), ("tokens", True)],
)
def test_a_weight_that_is_shared_is_written_under_both_names_or_untied(base, tmp_path, kind, tied):
    train_with_peft(base, tmp_path / "adapter", **KINDS[kind])
    model, _ = facekit.load(tmp_path / "adapter")
    language_model = model.language_model
    shared = language_model.lm_head.weight is language_model.model.embed_tokens.weight
    assert shared == tied == model.config.tie_word_embeddings
    before = facekit.load(base)[0].language_model.lm_head.weight
    changed = {
        name: not torch.equal(weight, before)
        for name, weight in (
            ("head", language_model.lm_head.weight),
            ("input", language_model.model.embed_tokens.weight),
        )
    }
    expected = {"output head": {"head": True, "input": False}, "embeddings": {"head": False, "input": True}}
    assert changed == expected.get(kind, {"head": True, "input": True})


def test_an_untied_model_is_saved_with_both_weights(base, tmp_path):
    from facekit.compat.peft import take_adapters_out

    train_with_peft(base, tmp_path / "adapter", modules_to_save=["lm_head"])
    model, processor = facekit.load(tmp_path / "adapter")
    expected = logits(model)
    take_adapters_out(model, merge=True)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "whole")
    torch.testing.assert_close(logits(facekit.load(tmp_path / "whole")[0]), expected, rtol=0, atol=1e-5)


def test_peft_reads_tokens_that_lie_outside_and_facekit_tells(base, tmp_path):
    train_with_peft(base, tmp_path, trainable_token_indices=[5, 6])
    path = tmp_path / "adapter_model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("trainable_tokens_delta"))
    save_file({**weights, name: weights[name][:1].clone()}, path)
    with pytest.raises(CheckpointError, match=r"1 trained rows for 2 tokens of 'language_model\.model\.embed_tokens'"):
        facekit.load(tmp_path)


def test_an_adapter_of_all_linear_layers_loads_with_a_warning_that_names_a_layer(base, tmp_path, caplog):
    trained = train_with_peft(base, tmp_path, target_modules="all-linear")
    with caplog.at_level(logging.WARNING, logger="facekit"):
        model, _ = facekit.load(tmp_path)
    torch.testing.assert_close(logits(model), trained, rtol=0, atol=1e-5)
    told = [record.getMessage() for record in caplog.records if "outside the language model" in record.getMessage()]
    assert len(told) == 1
    assert "such as connector." in told[0]
    assert "all-linear" in told[0]


def test_an_adapter_within_the_language_model_loads_without_a_warning(base, tmp_path, caplog):
    train_with_peft(base, tmp_path)
    with caplog.at_level(logging.WARNING, logger="facekit"):
        facekit.load(tmp_path)
    assert not caplog.records


def test_a_kind_of_adapter_that_is_not_read_is_refused(base, tmp_path):
    from peft import LoraConfig as Config

    train_with_peft(base, tmp_path)
    config = Config.from_pretrained(tmp_path)
    replicated = copy.copy(config)
    replicated.layer_replication = [(0, 2), (1, 2)]
    replicated.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="layer_replication, which facekit does not read"):
        facekit.load(tmp_path)


def rewrite(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("base_model_name_or_path", 5, "by something that is no text"),
        ("base_model_name_or_path", ["base"], "by something that is no text"),
        ("base_model_name_or_path", "x" * 5000, "is no folder here"),
        ("base_model_name_or_path", "a\0b", "is no folder here"),
        ("base_model_name_or_path", "~nobody-of-this-name/model", "is no folder here"),
        ("revision", 5, "by something that is no text"),
        ("rank_pattern", 5, "cannot be read"),
        ("alpha_pattern", ["x"], "cannot be read"),
        ("lora_alpha", "x", "cannot be read"),
        ("lora_dropout", 5, "cannot be read"),
        ("bias", "x", "cannot be read"),
        ("init_lora_weights", [1], "cannot be read"),
        ("r", None, "another shape"),
        ("r", 10**12, "another shape .*: its rank is 1000000000000"),
        ("megatron_config", {"a": 1}, "has megatron_config, which facekit does not read"),
        pytest.param(
            "monteclora_config",
            {"a": 1},
            "cannot be read",
            marks=pytest.mark.skipif(
                "monteclora_config" not in LoraConfig.__dataclass_fields__, reason="this PEFT does not know it"
            ),
        ),
        ("use_bdlora", {"nblocks": 2}, "has use_bdlora, which facekit does not read|cannot be read"),
    ],
)
def test_a_configuration_of_nonsense_is_one_sentence(base, tmp_path, entry, value, message):
    train_with_peft(base, tmp_path)
    rewrite(tmp_path, **{entry: value})
    with pytest.raises(CheckpointError, match=message):
        facekit.load(tmp_path)
