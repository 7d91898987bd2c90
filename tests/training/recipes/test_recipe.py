"""Recipes are checked before anything is loaded: what is wrong is named with key, value and closest match."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekit.errors import ConfigurationError
from facekit.training.recipes.recipe import list_recipes, load_recipe

GIVEN = ("records=faces.jsonl", "output=runs/x")


def load(name, *overrides):
    return load_recipe(name, [*GIVEN, *overrides])


def settings(recipe, stage):
    return next(each.settings for each in recipe.stages if each.name == stage)


@pytest.fixture
def write(tmp_path):
    def make(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return make


def test_face_llava_has_the_papers_two_stages():
    recipe = load("face-llava")
    region, finetune = settings(recipe, "region"), settings(recipe, "finetune")
    assert recipe.chosen == ("region", "finetune")
    assert region.parts == ("connector.region",)
    assert finetune.parts == ("connector", "language_model")
    assert (region.learning_rate, finetune.learning_rate) == (1e-4, 2e-5)
    assert (region.batch_size * region.accumulation, finetune.batch_size * finetune.accumulation) == (24 * 7, 16 * 7)
    assert {region.warmup, finetune.warmup} == {0.03}
    assert {region.epochs, finetune.epochs} == {1.0}
    assert {region.max_tokens, finetune.max_tokens} == {3072}
    assert region.group_batches


def test_overrides_as_one_text_are_told():
    with pytest.raises(ConfigurationError, match=r"overrides are a list, such as \['lr=1e-5'\], and not one text"):
        load_recipe("tiny-cpu", "lr=1e-5")


def test_facellm_has_the_papers_adapters():
    chosen = settings(load("facellm-lora"), "lora")
    assert chosen.parts == ("language_model.lora",)
    assert (chosen.lora.rank, chosen.lora.alpha, chosen.lora.dropout) == (16, 32, 0.0)
    assert (chosen.learning_rate, chosen.warmup, chosen.gradient_clipping) == (1e-5, 0.0, 1.0)
    assert chosen.batch_size * 8 == 80
    assert chosen.max_tokens == 2048


def test_an_override_by_name_changes_the_stages_that_run_and_wins_over_what_they_say():
    recipe = load("face-llava", "stage=region", "lr=5e-5")
    assert recipe.chosen == ("region",)
    assert settings(recipe, "region").learning_rate == 5e-5
    assert settings(recipe, "finetune").learning_rate == 2e-5
    both = load("face-llava", "lr=5e-5")
    assert settings(both, "region").learning_rate == settings(both, "finetune").learning_rate == 5e-5


def test_an_override_by_path_changes_one_stage_only():
    recipe = load("face-llava", "stages.finetune.batch_size=3", "batch_size=8")
    assert settings(recipe, "region").batch_size == 8
    assert settings(recipe, "finetune").batch_size == 3


def test_an_override_takes_the_place_of_what_it_contradicts():
    recipe = load("face-llava", "steps=7")
    assert (settings(recipe, "region").steps, settings(recipe, "region").epochs) == (7, None)
    loaded = load("facellm-lora", "model.load=weights/internvl")
    assert (loaded.model.load, loaded.model.preset) == ("weights/internvl", None)
    composed = load("face-llava", "model.encoder=tiny", "model.backbone=tiny")
    assert (composed.model.load, composed.model.encoder) == (None, "tiny")
    assert composed.model.connector == "region?keep_prefix_tokens=true"
    preset = load("face-llava", "model.preset=facellm-1b-region").model
    assert (preset.load, preset.connector, preset.landmarker) == (None, None, None)
    whole = load("facellm-lora", "model.encoder=tiny", "model.backbone=tiny", "model.connector=mlp").model
    assert (whole.preset, whole.encoder, whole.dtype) == (None, "tiny", "bfloat16")
    one_rate = settings(load("qlora-single-gpu", "lr=3e-4"), "qlora")
    assert (one_rate.learning_rate, one_rate.learning_rates) == (3e-4, {})


def test_rates_may_differ_by_part_in_a_file_and_on_the_command_line():
    assert settings(load("qlora-single-gpu"), "qlora").learning_rates == {
        "connector": 1e-3, "language_model.lora": 2e-4
    }  # fmt: skip
    changed = settings(load("qlora-single-gpu", "lr.connector=5e-3"), "qlora")
    assert changed.rate_of("connector") == 5e-3
    assert changed.rate_of("language_model.lora") == 2e-4


def test_parts_are_a_list_or_words_with_commas():
    for override in ("train=[connector.region,llm.lora]", "train=connector.region,llm.lora"):
        assert settings(load("face-llava", override), "region").parts == ("connector.region", "language_model.lora")


def test_spec_strings_with_equals_signs_pass_through():
    recipe = load("face-llava", "model.encoder=openclip:ViT-L-14?pretrained=openai&layer=-2", "model.backbone=tiny")
    assert recipe.model.encoder == "openclip:ViT-L-14?pretrained=openai&layer=-2"


def test_a_recipe_written_with_its_overrides_reads_back_the_same(tmp_path):
    recipe = load(
        "qlora-single-gpu", "lr.connector=5e-3", "validation.records=v.jsonl", "validation.tasks=age,expression"
    )
    again = load_recipe(recipe.write(tmp_path / "qlora-single-gpu.yaml"))
    assert again == recipe


def test_a_single_stage_leaves_its_model_in_the_output_itself():
    assert load("facellm-lora").folder_of("lora") == Path("runs/x")
    assert load("face-llava").folder_of("region") == Path("runs/x/region")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["btach_size=3"], r"face-llava: there is no key 'btach_size'; did you mean 'batch_size'\?"),
        (["stages.region.epoch=3"], r"stage 'region': there is no key 'epoch'; did you mean 'epochs'"),
        (["stages.regoin.lr=3"], r"stages: there is no key 'regoin'; did you mean 'region'"),
        (["model.encodr=tiny"], r"model: there is no key 'encodr'; did you mean 'encoder'"),
        (["lora.rnk=3"], r"lora: there is no key 'rnk'; did you mean 'rank'"),
        (["validation.record=a.jsonl"], r"validation: there is no key 'record'; did you mean 'records'"),
        (["validation.every=2"], r"validation needs 'records'; add validation.records=VALUE"),
        (["stage=finetun"], r"no stage 'finetun'; did you mean 'finetune'"),
        (["records=[a.jsonl,b.jsonl]"], r"'records': one path .*, and several records files go into 'data' \(got"),
        (["records={a.jsonl: 4}"], r"'records': one path is meant, .* into 'data' \(got \{'a.jsonl': 4\}\)$"),
        (["records=3"], r"'records': a path is meant; quote it in YAML, or write './' before it \(got 3\)$"),
        (["records=true"], r"'records': a path is meant"),
        (["records=''"], r"'records': a path is not empty"),
        (["output=[a]"], r"'output': one path is meant \(got \['a'\]\)$"),
        (["stages.region.start=3"], r"'start': a path is meant"),
        (["data=a.jsonl"], r"'data' is a list of records files, such as \[a.jsonl, b.jsonl\], not 'a.jsonl'"),
        (["data={records: a.jsonl}"], r"'data' is a list of records files"),
        (["data=3"], r"'data' is a list of records files, .* not 3"),
        (["validation=3"], r"'validation' is a records file or a table, not 3"),
        (["validation=[a.jsonl]"], r"'validation' is a records file or a table, not \['a.jsonl'\]"),
        (["validation.records=[a.jsonl]"], r"validation: 'records': one path is meant"),
        (["records = x"], r"'records = x' has spaces beside '='; write records=x$"),
        (["=x"], r"'=x' is no override; write key=value, without spaces"),
        (["stage="], r"'stage=' names no stage; the stages are region, finetune"),
        (["lr=fast"], r"stage 'region': training setting 'learning_rate': .*\(got 'fast'\)"),
        (["batch_size=0"], r"'batch_size'.*\(got 0\)"),
        (["batch_size=[1,2]"], r"'batch_size'.*\(got \[1, 2\]\)"),
        (["gradient_checkpointing=perhaps"], r"'gradient_checkpointing'.*\(got 'perhaps'\)"),
        (["train=[connector.regions]"], r"'parts.0'.*\(got 'connector.regions'\)"),
        (["lr=1e-4", "learning_rate=1e-4"], r"'lr' and 'learning_rate' are the same"),
        (["steps=3", "epochs=3"], "either steps or epochs"),
        (["model=tiny"], r"'model' is a table, not 'tiny'"),
        (["model.load=a", "model.preset=facellm-1b"], r"'load' names a whole model, so leave 'preset' out"),
        (["model.load=null"], r"name a model to 'load', a 'preset', or"),
        (["model.seed=-1"], r"model: 'seed'.*\(got -1\)"),
        (["lr"], r"'lr' is no override; write key=value"),
        (["lr=[1,"], r"the overrides cannot be read"),
        (["output=null"], r"needs 'output'; add output=VALUE"),
    ],
)  # fmt: skip
def test_bad_overrides_are_named(overrides, message):
    with pytest.raises(ConfigurationError, match=message):
        load("face-llava", *overrides)


def test_what_the_recipe_leaves_open_must_be_given():
    with pytest.raises(ConfigurationError, match=r"stage 'lora' needs 'records'; add records=VALUE to the command"):
        load_recipe("facellm-lora", ["output=runs/x"])


def test_an_unknown_recipe_gets_the_closest_one():
    with pytest.raises(ConfigurationError, match="'face-lava'; did you mean 'face-llava'"):
        load("face-lava")
    assert "face-llava" in list_recipes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "no table of keys and values"),
        ("model: {preset: facekit-tiny}\n", "has no stages"),
        ("model: [a\n", "cannot be read"),
        ("model: {preset: facekit-tiny}\nstages: {on: {epochs: 1}}\n", "YAML reads as True; quote its name"),
        ("output: a\nrecords = x.jsonl\nstages: {}\n", "in YAML it is 'records: x.jsonl', with a colon"),
        ("records = x.jsonl\n", "no table of keys and values; in YAML it is 'records: x.jsonl', with a colon"),
        ("stages:\n  only:\n    steps = 3\n", "'only': .* not 'steps = 3'; in YAML it is 'steps: 3', with"),
        ("model: {preset: facekit-tiny}\nstages: {only: 5}\n", "this is a table of keys and values, not 5"),
        ("model: {preset: facekit-tiny}\nstages: {only: {epochs: 1}}\nstage: only\n", "there is no key 'stage'"),
    ],
)  # fmt: skip
def test_bad_files_are_named(write, text, message):
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(write(text), GIVEN)


def test_settings_at_the_top_hold_for_all_stages_and_a_stage_may_differ(write):
    path = write(
        "model: {preset: facekit-tiny}\nepochs: 2\nlr: 1e-3\nlora: {rank: 4}\n"
        "stages: {first: {train: [connector]}, second: {train: [llm.lora], lr: 2e-4, lora: {alpha: 8}, steps: 9}}\n"
    )
    recipe = load_recipe(path, GIVEN)
    first, second = settings(recipe, "first"), settings(recipe, "second")
    assert (first.learning_rate, first.epochs) == (1e-3, 2.0)
    assert (second.learning_rate, second.epochs, second.steps) == (2e-4, None, 9)
    assert (second.lora.rank, second.lora.alpha) == (4, 8)
    assert recipe.name == "mine"


@pytest.mark.parametrize("asked", ["validation.keep_best=true", "validation.patience=2"])
@pytest.mark.parametrize("name", ["face-grpo", "face-dpo"])
def test_rewards_and_pairs_have_no_validation_loss_to_go_by(name, asked):
    load(name, "validation.records=held-out.jsonl")
    with pytest.raises(ConfigurationError, match="keep_best and patience go by the loss of the records' own answers"):
        load(name, "validation.records=held-out.jsonl", asked)


@pytest.mark.parametrize("name", ["face-grpo", "face-dpo"])
def test_rewards_and_pairs_know_no_weights_of_files(name):
    load(name, "data=[a.jsonl,b.jsonl]")
    with pytest.raises(ConfigurationError, match="data has weights, but grpo and dpo take every question"):
        load(name, "data=[{records: a.jsonl, weight: 2}, {records: b.jsonl, weight: 1}]")
