"""Training goes on from an adapter's folder: the same adapter learns on, or is merged where it is not trained."""

from __future__ import annotations

import json

import pytest
import torch
from adapter_runs import adapt_with_peft, cut_and_resume, logits, save_base
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.training import TrainingSettings, load_recipe, run_recipe, train

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

SETTINGS = {
    "steps": 4, "batch_size": 4, "save_every": 2, "log_every": 1, "threads": 1, "warmup": 0.0, "learning_rate": 1e-2,
    "parts": ("llm.lora",),
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=2, image_size=48)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_base(tmp_path_factory.mktemp("base"), depth=1)


@pytest.fixture(scope="module")
def adapter(base, records, tmp_path_factory):
    """An adapter of facekit, with a connector that was trained beside it."""
    folder = tmp_path_factory.mktemp("first")
    settings = TrainingSettings(**{**SETTINGS, "parts": ("connector", "llm.lora"), "lora": {"rank": 3, "alpha": 5}})
    train(*facekit.load(base), records, folder, settings)
    return folder / "adapter"


def with_peft(base, folder, **options):
    """An adapter of PEFT with whole tensors, each moved at random."""
    adapt_with_peft(base, folder, 0.1, **options)
    return folder


def test_the_same_adapter_learns_on(base, adapter, records, tmp_path):
    result = train(*facekit.load(adapter), records, tmp_path, TrainingSettings(**SETTINGS))
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (3, 5)
    assert config["base_model_name_or_path"] == str(base)
    first, second = (load_file(path / "adapter_model.safetensors") for path in (adapter, tmp_path / "adapter"))
    assert first.keys() == second.keys()
    assert {".lora_" in name for name in first if not torch.equal(first[name], second[name])} == {True}
    assert all(torch.equal(first[name], second[name]) for name in first if ".lora_" not in name)
    assert result.history.losses[-1] < result.history.losses[0]
    torch.testing.assert_close(
        logits(facekit.load(tmp_path / "adapter")[0]), logits(facekit.load(tmp_path)[0]), rtol=0, atol=1e-5
    )


def test_the_first_step_begins_where_the_adapter_ended(adapter, records, tmp_path):
    merged = train(*facekit.load(adapter), records, tmp_path / "on", TrainingSettings(**SETTINGS)).history.losses[0]
    model, processor = facekit.load(adapter.parent)
    afresh = train(model, processor, records, tmp_path / "merged", TrainingSettings(**SETTINGS)).history.losses[0]
    assert merged == pytest.approx(afresh, abs=1e-5)


def test_a_run_that_is_cut_leaves_the_loaded_adapter_and_is_resumed_from_it(adapter, records, tmp_path):
    model = cut_and_resume(lambda: facekit.load(adapter), records, tmp_path, TrainingSettings(**SETTINGS))
    assert model.loaded_adapter is not None


@pytest.mark.parametrize(
    "options",
    [
        {"modules_to_save": ["lm_head"]},
        {"trainable_token_indices": [5, 9]},
        {"use_dora": True},
        {"use_rslora": True, "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 4}},
    ],
)
def test_what_an_adapter_of_peft_brought_is_in_the_next_one_too(base, records, tmp_path, options):
    start = with_peft(base, tmp_path / "start", **options)
    begun = logits(facekit.load(start)[0])
    settings = TrainingSettings(**{**SETTINGS, "steps": 1, "learning_rate": 1e-12})
    train(*facekit.load(start), records, tmp_path / "run", settings)
    model, _ = facekit.load(tmp_path / "run" / "adapter")
    torch.testing.assert_close(logits(model), begun, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(facekit.load(tmp_path / "run")[0]), begun, rtol=0, atol=1e-5)
    ids = torch.randint(10, 500, (2, 20), generator=torch.Generator().manual_seed(0))
    alone = PeftModel.from_pretrained(facekit.load(base)[0].language_model, tmp_path / "run" / "adapter").eval()
    with torch.no_grad():
        torch.testing.assert_close(alone(ids).logits, model.language_model(ids).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("parts", [("connector",), ("connector", "llm")])
def test_an_adapter_that_is_not_trained_is_merged(adapter, records, tmp_path, parts):
    begun = logits(facekit.load(adapter)[0])
    settings = TrainingSettings(**{**SETTINGS, "steps": 1, "learning_rate": 1e-12, "parts": parts})
    train(*facekit.load(adapter), records, tmp_path, settings)
    model, _ = facekit.load(tmp_path)
    assert not any("lora" in name for name in model.state_dict())
    torch.testing.assert_close(logits(model), begun, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ({"rank": 8}, "has rank 3, but the settings say lora.rank 8; set it to 3"),
        ({"rank": 3, "alpha": 6}, "has alpha 5, but"),
        ({"rslora": True}, "has rslora False, but"),
        ({"init": "pissa"}, r"has learned weights, and lora\.init=pissa is of first ones"),
        ({"targets": ["q_proj"]}, r"adapts down_proj, .*, but the settings say lora\.targets q_proj; leave it out"),
    ],
)
def test_settings_of_another_adapter_are_told_and_the_model_is_as_it_was(adapter, records, tmp_path, lora, told):
    model, processor = facekit.load(adapter)
    before = logits(model)
    with pytest.raises(ConfigurationError, match=told):
        train(model, processor, records, tmp_path, TrainingSettings(**SETTINGS, lora=lora))
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target_modules": "all-linear"}, r"also adapts encoder\..*facekit export --merge-lora"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa'"),
    ],
)
def test_adapters_that_cannot_be_trained_on_are_told_with_a_remedy(base, records, tmp_path, options, told):
    start = with_peft(base, tmp_path / "start", **options)
    with pytest.raises(ConfigurationError, match=told):
        train(*facekit.load(start), records, tmp_path / "run", TrainingSettings(**SETTINGS))


def test_adapters_that_facekit_did_not_load_are_told(base, records, tmp_path):
    model, processor = facekit.load(base)
    get_peft_model(model.language_model, LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(ConfigurationError, match="did not load; merge them"):
        train(model, processor, records, tmp_path, TrainingSettings(**SETTINGS))


def test_a_recipe_starts_from_an_adapters_folder(adapter, records, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"records: {records}\noutput: {tmp_path / 'run'}\nmodel: {{load: {adapter}}}\n"
        "stages:\n  again: {train: [llm.lora], steps: 2, batch_size: 2, threads: 1}\n"
    )
    run_recipe(load_recipe(recipe))
    config = json.loads((tmp_path / "run" / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == 3
