"""Adapters learn, are saved as PEFT reads them, merge to the same logits, and leave a model that failed as it was."""

from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from small_runs import small_model

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import CheckpointError, ConfigurationError
from facekit.training import TrainingSettings, train
from facekit.training.trainable.adapters import adapters_in_place

SETTINGS = {
    "steps": 4, "batch_size": 4, "save_every": 2, "log_every": 1, "threads": 1, "warmup": 0.0, "learning_rate": 1e-2,
    "parts": ("llm.lora",), "lora": {"rank": 4},
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=2, image_size=64)


def test_an_adapter_merges_to_the_logits_that_it_had(records, tmp_path):
    before, (model, processor) = small_model()[0].state_dict(), small_model()
    result = train(model, processor, records, tmp_path, TrainingSettings(**SETTINGS))
    assert result.history.losses[-1] < result.history.losses[0]
    trained, _ = facekit.load(tmp_path)
    learned = {name for name, value in trained.state_dict().items() if not torch.equal(value, before[name])}
    kinds = {name.rpartition(".weight")[0].rpartition(".")[2] for name in learned}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    ids = torch.randint(10, 500, (2, 20), generator=torch.Generator().manual_seed(0))
    plain = small_model()[0].language_model
    with torch.no_grad():
        unchanged = plain(ids).logits
        adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter")(ids).logits
        merged = trained.language_model(ids).logits
    assert (adapted - unchanged).abs().max() > 1e-2
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-5)


def test_the_seed_of_the_run_alone_decides_the_first_weights_of_adapters():
    def first_weights(seed):
        torch.rand(seed + 3)  # whatever was drawn before
        model = small_model()[0]
        state = torch.get_rng_state()
        with adapters_in_place(model, TrainingSettings(**SETTINGS, seed=seed)):
            assert torch.equal(torch.get_rng_state(), state)
            return {name: value.clone() for name, value in model.named_parameters() if ".lora_A." in name}

    first, again, other = first_weights(4), first_weights(4), first_weights(5)
    assert len(first) == 7
    for name, value in first.items():
        assert value.std() > 0.01
        assert torch.equal(value, again[name])
        assert not torch.equal(value, other[name])


def test_adapters_leave_a_run_that_fails_and_go_on_when_it_is_resumed(records, tmp_path):
    settings = TrainingSettings(**SETTINGS)
    whole = train(*small_model(), records, tmp_path / "whole", settings)
    model, processor = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, processor, records, tmp_path / "cut", settings, on_progress=stop)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(before) == len(model.state_dict())
    resumed = train(*small_model(), records, tmp_path / "cut", settings, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == whole.history.losses
    assert train(*small_model(), records, tmp_path / "cut", settings, resume=True).resumed_from == 4
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_named_modules_alone_are_adapted(records, tmp_path):
    model, processor = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    lora = {"rank": 2, "targets": ["q_proj"]}
    train(model, processor, records, tmp_path, TrainingSettings(**{**SETTINGS, "steps": 2, "lora": lora}))
    learned = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert learned == {"language_model.model.layers.0.self_attn.q_proj.weight"}


@pytest.mark.parametrize("parts", [("llm.lora",), ("connector", "llm.lora")])
def test_the_adapter_of_a_saved_model_loads_as_what_was_trained(records, tmp_path, parts):
    model, processor = small_model()
    model.save_pretrained(tmp_path / "base")
    processor.save_pretrained(tmp_path / "base")
    settings = TrainingSettings(**{**SETTINGS, "parts": parts})
    train(*facekit.load(tmp_path / "base"), records, tmp_path / "run", settings)
    adapted, _ = facekit.load(tmp_path / "run" / "adapter")
    merged, _ = facekit.load(tmp_path / "run")
    base, _ = facekit.load(tmp_path / "base")
    inputs = {
        "pixel_values": torch.randn(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
        "input_ids": torch.full((2, base.tokens_per_frame + 6), base.config.image_token_id),
    }
    inputs["input_ids"][:, -6:] = torch.arange(20, 26)
    with torch.no_grad():
        logits = {name: each(**inputs).logits for name, each in [("a", adapted), ("m", merged), ("b", base)]}
    assert (logits["a"] - logits["b"]).abs().max() > 1e-2
    torch.testing.assert_close(logits["a"], logits["m"], rtol=0, atol=1e-5)
    alone = PeftModel.from_pretrained(base.language_model, tmp_path / "run" / "adapter")
    ids = torch.randint(10, 500, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(alone(ids).logits, merged.language_model(ids).logits, rtol=0, atol=1e-5)


def test_the_adapter_of_a_model_that_was_composed_anew_names_no_base_to_load(records, tmp_path):
    train(*small_model(), records, tmp_path, TrainingSettings(**{**SETTINGS, "steps": 1}))
    with pytest.raises(CheckpointError, match="that names no base model"):
        facekit.load(tmp_path / "adapter")


def test_an_adapter_on_a_language_model_from_a_folder_names_it_and_holds_no_embeddings(records, tmp_path):
    _, processor = small_model()
    language_model = small_model()[0].language_model
    language_model.save_pretrained(tmp_path / "language")
    processor.tokenizer.save_pretrained(tmp_path / "language")
    backbone = f"hf:{tmp_path / 'language'}"
    model, processor = facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="mlp", backbone=backbone, seed=0
    )
    model.resize_token_embeddings(model.get_input_embeddings().num_embeddings + 8)
    train(model, processor, records, tmp_path / "run", TrainingSettings(**{**SETTINGS, "steps": 1}))
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tmp_path / "language")
    names = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors").keys()
    assert all(".lora_" in name for name in names)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_adapters_on_a_shared_weight_merge_into_the_layer_that_they_are_on(target):
    model = small_model()[0]
    assert model.config.text_config.tie_word_embeddings
    settings = TrainingSettings(**(SETTINGS | {"lora": {"rank": 4, "targets": (target,)}}))
    ids = torch.randint(10, 500, (2, 20), generator=torch.Generator().manual_seed(0))
    with adapters_in_place(model, settings) as adapters, torch.no_grad():
        for name, value in model.named_parameters():
            if ".lora_" in name:
                value.normal_(std=0.2, generator=torch.Generator().manual_seed(len(name)))
        expected = model.eval()(ids).logits
        adapters.merge()
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, expected, rtol=0, atol=1e-4)
    assert not model.config.text_config.tie_word_embeddings


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"targets": ["q_proj", "act_fn"]}, "these modules take no adapters"),
        ({"targets": ["q_proj", "act_fn"], "init": "pissa"}, "these modules take no adapters"),
        (
            {"targets": ["q_proj", "lm_head"], "init": "pissa"},
            r"takes adapters off lm_head\.weight, which is model\.embed",
        ),
        ({"targets": ["q_proj", "lm_head"], "dora": True}, "lm_head has a column of zeros"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_is_as_it_was_after_its_adapters_were_refused(lora, message):
    model, _ = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with (
        pytest.raises(ConfigurationError, match=message),
        adapters_in_place(model, TrainingSettings(steps=1, parts=("llm.lora",), lora={"rank": 4, **lora})),
    ):
        pass
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    settings = TrainingSettings(steps=1, parts=("llm.lora",), lora={"rank": 4})
    with adapters_in_place(model, settings) as adapters:
        assert adapters is not None


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("is_merged", [True, False])
def test_what_asked_for_gradients_before_asks_for_them_afterwards(is_merged):
    model, _ = small_model()
    model.language_model.get_input_embeddings().requires_grad_(False)
    before = {name: value.requires_grad for name, value in model.named_parameters()}
    with adapters_in_place(model, TrainingSettings(**SETTINGS)) as adapters:
        assert not model.language_model.model.norm.weight.requires_grad
        if is_merged:
            adapters.merge()
    assert {name: value.requires_grad for name, value in model.named_parameters()} == before
