"""Recipes are checked before anything is loaded, and both papers' run from end to end at tiny scale."""

from __future__ import annotations

import hashlib

import pytest
import torch
from peft import PeftModel

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError
from facekit.training import TrainingSettings, list_recipes, load_recipe, run_recipe, train
from facekit.training.parts import list_trained_parts, trainable_parts

GIVEN = ["records=faces.jsonl", "output=runs/x"]
TINY = [
    "model.preset=null", "model.dtype=null", "model.encoder='tiny?image_size=64&width=32&depth=1'",
    "model.backbone='tiny?width=48&depth=1&heads=2'", "model.seed=0",
    "precision=float32", "epochs=null", "steps=12", "batch_size=8", "accumulation=1", "lr=1e-2", "threads=1",
    "log_every=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 24, seed=2, image_size=64)


def hashes(model):
    """A hash of the weights of every module that is a direct child of a part."""
    digests = {}
    for name, value in model.state_dict().items():
        digests.setdefault(".".join(name.split(".")[:2]), hashlib.sha256()).update(value.numpy().tobytes())
    return {name: digest.hexdigest() for name, digest in digests.items()}


def changed(before, after):
    return {name for name, digest in hashes(after).items() if before[name] != digest}


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_valid_and_opens_with_its_command(name):
    from facekit.training.recipe import RECIPE_FOLDER

    recipe = load_recipe(name, GIVEN)
    assert recipe.chosen == tuple(recipe.stages)
    head = (RECIPE_FOLDER / f"{name}.yaml").read_text().split("\nmodel:")[0]
    assert f"#   facekit train recipe={name} records=" in head
    assert "Needs" in head


def test_face_llava_trains_what_the_paper_trains():
    recipe = load_recipe("face-llava", GIVEN)
    region, finetune = recipe.stages["region"], recipe.stages["finetune"]
    assert (region.parts, region.learning_rate, region.batch_size * region.accumulation) == (
        ("connector.region",), 1e-4, 168,
    )  # fmt: skip
    assert (finetune.parts, finetune.learning_rate) == (("connector", "language_model"), 2e-5)


def test_overrides_reach_the_stages_that_run():
    recipe = load_recipe("face-llava", [*GIVEN, "stage=region", "lr=5e-5", "stages.finetune.batch_size=2"])
    assert recipe.chosen == ("region",)
    assert recipe.stages["region"].learning_rate == 5e-5
    assert recipe.stages["finetune"].learning_rate == 2e-5
    assert recipe.stages["finetune"].batch_size == 2
    lora = load_recipe("facellm-lora", [*GIVEN, "lora.rank=4", "model.preset=facellm-8b"])
    assert lora.stages["lora"].lora.rank == 4
    assert lora.stages["lora"].lora.alpha == 32
    assert lora.model.preset == "facellm-8b"


@pytest.mark.parametrize(
    ("source", "overrides", "message"),
    [
        ("face-lava", GIVEN, "neither a recipe nor a file; did you mean 'face-llava'"),
        ("face-llava", GIVEN[:1], "needs output; add output=VALUE"),
        ("face-llava", [*GIVEN, "stage=regions"], "no stage 'regions'; did you mean 'region'"),
        ("face-llava", [*GIVEN, "learning_rat=1"], "no 'learning_rat'; did you mean 'learning_rate'"),
        ("face-llava", [*GIVEN, "stages.region.batchsize=1"], "no 'batchsize'; did you mean 'batch_size'"),
        ("face-llava", [*GIVEN, "model.encodr=tiny"], "model: there is no 'encodr'; did you mean 'encoder'"),
        ("face-llava", [*GIVEN, "lr=fast"], "stage 'region': training setting 'learning_rate'"),
        ("face-llava", [*GIVEN, "train=[connector.regoin]"], r"'parts\.0'.*got 'connector\.regoin'"),
        ("face-llava", [*GIVEN, "model.load=runs/y"], r"leave model\.preset out"),
        ("face-llava", [*GIVEN, "stages.region.learning_rate=1e-4"], "lr and learning_rate are the same"),
        ("face-llava", [*GIVEN, "resume"], "'resume' is no override"),
    ],
)
def test_mistakes_are_named_with_what_was_meant(source, overrides, message):
    with pytest.raises(ConfigurationError, match=message):
        load_recipe(source, overrides)


def test_a_file_that_is_no_recipe_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    for text, message in (
        ("a: [", "cannot be read"),
        ("model: {preset: x}", "has no stages"),
        ("[]", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigurationError, match=message):
            load_recipe(path, [])


def test_face_llava_runs_and_its_first_stage_changes_frlp_and_frgca_only(records, tmp_path):
    given = [f"records={records}", f"output={tmp_path}", *TINY, "model.connector=region"]
    model, _ = facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="region", backbone="tiny?width=48&depth=1&heads=2",
        seed=0,
    )  # fmt: skip
    before = hashes(model)
    results = run_recipe(load_recipe("face-llava", [*given, "stage=region"]))
    region, _ = facekit.load(tmp_path / "region")
    assert changed(before, region) == {"connector.landmark_projector", "connector.cross_attention"}
    results |= run_recipe(load_recipe("face-llava", [*given, "stage=finetune"]))
    finetuned, _ = facekit.load(tmp_path / "finetune")
    assert "connector.vision_projector" in changed(hashes(region), finetuned)
    assert not any(name.startswith("encoder") for name in changed(before, finetuned))
    assert results["finetune"].history.losses[-1] < results["region"].history.losses[-1] - 1.0


def test_a_stage_without_the_one_before_is_refused(records, tmp_path):
    given = [f"records={records}", f"output={tmp_path}", *TINY, "model.connector=region", "stage=finetune"]
    with pytest.raises(ConfigurationError, match="begins where 'region' ended"):
        run_recipe(load_recipe("face-llava", given))


def test_facellm_runs_and_its_adapter_merges_to_the_same_logits(records, tmp_path):
    given = [f"records={records}", f"output={tmp_path}", *TINY, "model.connector=mlp"]
    result = run_recipe(load_recipe("facellm-lora", given))["lora"]
    assert result.history.losses[-1] < result.history.losses[1]
    options = {"encoder": "tiny?image_size=64&width=32&depth=1", "connector": "mlp", "seed": 0}
    model, _ = facekit.create(backbone="tiny?width=48&depth=1&heads=2", **options)
    trained, _ = facekit.load(tmp_path / "lora")
    assert {name.partition(".")[0] for name in changed(hashes(model), trained)} == {"language_model"}
    ids = torch.randint(10, 500, (2, 20), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model.language_model(ids).logits
        adapted = PeftModel.from_pretrained(model.language_model, tmp_path / "lora" / "adapter")(ids).logits
        merged = trained.language_model(ids).logits
    assert (adapted - plain).abs().max() > 1e-2
    torch.testing.assert_close(merged, adapted, rtol=0, atol=1e-5)


def test_adapters_are_taken_out_of_a_run_that_fails_and_go_on_when_it_is_resumed(records, tmp_path):
    settings = {"steps": 4, "batch_size": 4, "save_every": 2, "log_every": 1, "threads": 1, "warmup": 0.0}
    settings = TrainingSettings(**settings, parts=("llm.lora",), lora={"rank": 2})
    assert settings.parts == ("language_model.lora",)

    def fresh():
        return facekit.create(
            encoder="tiny?image_size=64&width=32&depth=1", connector="mlp", backbone="tiny?width=48&depth=1&heads=2",
            seed=0,
        )  # fmt: skip

    whole = train(*fresh(), records, tmp_path / "whole", settings)
    model, processor = fresh()
    names = set(model.state_dict())

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, processor, records, tmp_path / "cut", settings, on_progress=stop)
    assert set(model.state_dict()) == names
    resumed = train(*fresh(), records, tmp_path / "cut", settings, resume=True)
    assert resumed.resumed_from == 2
    assert resumed.history.losses == whole.history.losses
    again = train(*fresh(), records, tmp_path / "cut", settings, resume=True)
    assert again.resumed_from == 4
    first, second = (facekit.load(tmp_path / name)[0].state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_the_table_of_parts_says_what_learns_and_at_which_rate():
    model, _ = facekit.create(encoder="tiny", connector="region", backbone="tiny", seed=0)
    settings = TrainingSettings(
        steps=1, parts=("encoder", "connector.region"), learning_rate=1e-3, encoder_learning_rate=1e-5
    )
    with trainable_parts(model, settings.parts):
        table = {part.name: part for part in list_trained_parts(model, settings)}
    assert table["encoder"].trainable == table["encoder"].parameters
    assert table["encoder"].learning_rate == 1e-5
    region = table["connector.region"]
    assert table["connector"].trainable == region.trainable == region.parameters < table["connector"].parameters
    assert region.learning_rate == 1e-3
    assert (table["language_model"].trainable, table["language_model"].learning_rate) == (0, None)
