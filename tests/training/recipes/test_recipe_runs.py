"""Both papers' recipes from end to end on drawn faces: what each stage changes, leaves behind, and starts from."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, TrainerCallback

import facekit
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, TrainingError
from facekit.models.interoperability import export
from facekit.training import Listeners, load_recipe, plan_recipe, run_recipe
from facekit.training.recipes.stages import open_model

TINY = (
    "model.encoder=tiny?image_size=64&width=32&depth=1", "model.connector=region",
    "model.backbone=tiny?width=48&depth=1&heads=2", "model.dtype=null", "precision=float32", "batch_size=8",
    "accumulation=1", "warmup=0.0", "threads=1", "log_every=1",
)  # fmt: skip
NEW = ("landmark_projector", "cross_attention")


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    return {
        "train": write_synthetic_dataset(folder / "train", 48, seed=2, image_size=64),
        "validation": write_synthetic_dataset(folder / "validation", 6, seed=2, image_size=64, split="validation"),
    }


@pytest.fixture
def recipe_for(faces, tmp_path):
    def make(name, *overrides):
        return load_recipe(name, [f"records={faces['train']}", f"output={tmp_path / 'run'}", *TINY, *overrides])

    return make


@pytest.fixture(scope="module")
def face_llava(faces, tmp_path_factory):
    """The two stages of Face-LLaVA, run once: recipe, results, and what the listeners were told."""
    output = tmp_path_factory.mktemp("face-llava")
    recipe = load_recipe(
        "face-llava",
        [f"records={faces['train']}", f"output={output}", *TINY, "stages.region.steps=6", "stages.region.lr=5e-3",
         "stages.finetune.steps=12", "stages.finetune.lr=1e-2", f"validation.records={faces['validation']}",
         "validation.faces=2", "validation.every=5", "validation.tasks=[age]", "validation.metric_faces=3"],
    )  # fmt: skip
    told = {"progress": [], "plans": [], "points": [], "measured": []}

    def measure(model, processor, records, tasks):
        assert not model.training
        told["measured"].append((len(records), tuple(tasks)))
        return {"age error": 10.0 - len(told["measured"])}

    listeners = Listeners(on_plan=told["plans"].append, on_point=told["points"].append, metrics=measure)
    return recipe, run_recipe(recipe, on_progress=told["progress"].append, listeners=listeners), told


def digests(model):
    return {
        name: hashlib.sha256(value.detach().float().numpy().tobytes()).hexdigest()
        for name, value in model.state_dict().items()
    }


def test_stage_1_changes_every_tensor_of_frlp_and_frgca_and_no_other(face_llava):
    recipe, results, _ = face_llava
    before = digests(open_model(recipe.model, recipe.stages[0].settings.seed)[0])
    after = digests(facekit.load(results[0].training.model_folder)[0])
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if name.startswith(tuple(f"connector.{part}." for part in NEW))}
    assert len(changed) > 40


def test_stage_2_starts_from_stage_1_and_improves_over_it(face_llava):
    _, (region, finetune), _ = face_llava
    assert [region.stage, finetune.stage] == ["region", "finetune"]
    assert finetune.report.start == str(region.training.model_folder)
    assert finetune.training.history.losses[0] == pytest.approx(region.training.history.losses[-1], abs=0.3)
    assert finetune.training.history.losses[-1] < region.training.history.losses[-1] - 1.0
    before, after = (digests(facekit.load(each.training.model_folder)[0]) for each in (region, finetune))
    changed = {name.partition(".")[0] for name in before if before[name] != after[name]}
    assert changed == {"connector", "language_model"}


def test_the_plan_says_what_learns_at_which_rate_before_each_stage(face_llava):
    _, _, told = face_llava
    region, finetune = told["plans"]
    table = {part.name: part for part in region.parts}
    assert table["language_model"].trainable == table["encoder"].trainable == 0
    assert table["connector.region"].trainable == table["connector"].trainable > 0
    assert table["connector.region"].learning_rate == 5e-3
    assert {part.name: part.learning_rate for part in finetune.parts} == {
        "encoder": None, "connector": 1e-2, "language_model": 1e-2
    }  # fmt: skip
    assert 0 < region.estimate.gradients < finetune.estimate.gradients
    assert finetune.estimate.total < 2e9


def test_fixed_records_are_asked_about_while_it_learns_and_metrics_come_from_outside(face_llava):
    _, (region, finetune), told = face_llava
    assert [point.step for point in region.report.points] == [5, 6]
    assert [point.step for point in finetune.report.points] == [5, 10, 12]
    assert told["points"] == [*region.report.points, *finetune.report.points]
    steps = [(state.stage, state.done, state.total) for state in told["progress"]]
    assert steps == [*(("region", step, 6) for step in range(1, 7)), *(("finetune", step, 12) for step in range(1, 13))]
    assert told["measured"] == [(3, ("age",))] * 5
    assert [point.metrics["age error"] for point in finetune.report.points] == [7.0, 6.0, 5.0]
    answers = finetune.report.points[-1].answers
    assert len({answer.record for answer in answers}) == 2
    assert all(answer.question and answer.truth for answer in answers)


def test_validation_changes_nothing_of_what_is_learned(face_llava, faces, tmp_path):
    _, (region, _), _ = face_llava
    recipe = load_recipe(
        "face-llava",
        [f"records={faces['train']}", f"output={tmp_path}", *TINY, "stages.region.steps=6", "stages.region.lr=5e-3",
         "stage=region"],
    )  # fmt: skip
    (alone,) = run_recipe(recipe)
    assert alone.training.history.losses == region.training.history.losses


def test_the_page_is_one_file_with_curve_table_speed_and_answers(face_llava):
    _, (_, finetune), _ = face_llava
    page = finetune.summary.read_text(encoding="utf-8")
    assert page.count('<svg class="chart') == 2
    assert page.count("data:image/jpeg;base64,") == 2
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    for words in (
        "face-llava: finetune",
        "samples/s",
        "tokens/s",
        "peak memory",
        "language_model",
        "step 12",
        "age error",
    ):
        assert words in page
    cost = finetune.report.cost
    assert (cost.steps, cost.examples) == (12, 96)
    assert cost.tokens > 96 * 16
    assert cost.samples_per_second == pytest.approx(96 / cost.seconds)
    assert cost.peak_memory > 1e8


def test_the_model_card_has_recipe_data_metrics_and_limits(face_llava):
    _, (_, finetune), _ = face_llava
    card = finetune.card.read_text(encoding="utf-8")
    front = card.split("---")[1]
    assert "library_name: facekit" in front
    assert "pipeline_tag: image-text-to-text" in front
    for words in ("recipe `face-llava`", "stage `finetune`", "learning_rate: 0.01", "48 records", "| synthetic | 48 |",
                  "| age error | 5.000 |", "drawn faces only", "identifies nobody"):  # fmt: skip
        assert words in card
    report = json.loads((finetune.summary.parent / "report.json").read_text())
    assert report["final_loss"] == finetune.training.history.final_loss
    assert report["metrics"] == {"age error": 5.0}


def test_stages_that_have_ended_are_passed_over_and_others_are_refused(face_llava):
    recipe, _, _ = face_llava
    listeners = Listeners(metrics=lambda *given: {})
    assert run_recipe(recipe, resume=True, listeners=listeners) == []
    with pytest.raises(ConfigurationError, match="resume it, or choose another folder"):
        run_recipe(recipe, listeners=listeners)
    written = load_recipe(recipe.output / "recipe.yaml")
    assert written.stages == recipe.stages


def test_a_stage_that_has_ended_is_not_passed_over_with_other_records(recipe_for, faces, tmp_path):
    mine = tmp_path / "mine" / "records.jsonl"
    shutil.copytree(faces["train"].parent, mine.parent)
    recipe = recipe_for("facellm-lora", "steps=1", "model.connector=mlp", f"records={mine}")
    run_recipe(recipe)
    assert run_recipe(recipe, resume=True) == []
    lines = mine.read_text(encoding="utf-8").splitlines(keepends=True)
    mine.write_text("".join(lines[:-1]), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="cannot be resumed as another: records was '48 with the hash"):
        run_recipe(recipe, resume=True)
    mine.unlink()
    assert run_recipe(recipe, resume=True) == []


def test_facellms_adapters_alone_learn_and_merge_to_the_same_logits(recipe_for):
    recipe = recipe_for("facellm-lora", "model.connector=pixel-shuffle", "lr=1e-2", "steps=4")
    (result,) = run_recipe(recipe)
    base, _ = open_model(recipe.model, recipe.stages[0].settings.seed)
    merged, processor = facekit.load(recipe.output)
    unchanged = digests(base)
    changed = {name for name, digest in digests(merged).items() if digest != unchanged[name]}
    assert changed
    assert all(re.search(r"language_model\..*(self_attn|mlp)\..*_proj\.weight", name) for name in changed)
    ids = torch.randint(0, len(processor.tokenizer), (2, 9), generator=torch.Generator().manual_seed(0))
    adapted = PeftModel.from_pretrained(base.language_model, recipe.output / "adapter").eval()
    with torch.no_grad():
        together = merged.language_model(ids).logits
        assert (adapted(ids).logits - together).abs().max() < 1e-5
        with adapted.disable_adapter():
            assert (adapted(ids).logits - together).abs().max() > 1e-3
    table = {part.name: part for part in result.report.parts}
    assert table["language_model.lora"].trainable == table["language_model"].trainable > 0
    assert table["connector"].trainable == 0


def test_in_mixed_precision_what_learns_is_float32_and_what_is_saved_is_not(recipe_for):
    seen = {}

    class Look(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            seen.update({name: value.dtype for name, value in model.named_parameters()})

    recipe = recipe_for(
        "face-llava", "precision=bfloat16", "model.dtype=bfloat16", "stage=region", "steps=2", "lr=1e-5"
    )
    run_recipe(recipe, listeners=Listeners(callbacks=[Look()]))
    learning = {name for name in seen if name.startswith(tuple(f"connector.{part}." for part in NEW))}
    assert {seen[name] for name in learning} == {torch.float32}
    assert {seen[name] for name in seen.keys() - learning} == {torch.bfloat16}
    saved, _ = facekit.load(recipe.folder_of("region"))
    assert {value.dtype for value in saved.parameters()} == {torch.bfloat16}


def test_what_a_recipe_left_is_exported_with_the_adapters_merged(recipe_for, tmp_path):
    recipe = recipe_for("facellm-lora", "model.connector=mlp", "steps=1", "lr=1e-2")
    run_recipe(recipe)
    model, processor = facekit.load(recipe.output)
    folder = export(model, processor, tmp_path / "exported", "language-model")
    exported = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(5, 14)[None]
    with torch.no_grad():
        assert torch.equal(exported(ids).logits, model.language_model(ids).logits)


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="the extra 'tensorboard' is not installed")
def test_losses_and_metrics_go_to_tensorboard_where_it_is_installed(face_llava):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, (_, finetune), _ = face_llava
    (folder,) = (finetune.summary.parent / "runs").iterdir()
    events = EventAccumulator(str(folder))
    events.Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx(finetune.training.history.losses, rel=1e-3)
    assert [(event.step, event.value) for event in events.Scalars("eval/age error")] == [
        (5, 7.0), (10, 6.0), (12, 5.0)
    ]  # fmt: skip


def test_a_stage_without_the_one_before_says_what_to_do(recipe_for):
    with pytest.raises(
        ConfigurationError, match=r"'finetune' begins where 'region' ended.*\(stage=region\).*start=FOLDER"
    ):
        run_recipe(recipe_for("face-llava", "stage=finetune", "steps=1"))


def test_a_stage_may_start_from_another_model(recipe_for, face_llava):
    _, (region, _), _ = face_llava
    recipe = recipe_for("face-llava", "stage=finetune", "steps=1", f"start={region.training.model_folder}", "lr=1e-2")
    (result,) = run_recipe(recipe)
    assert result.report.start == str(region.training.model_folder)
    assert result.training.history.losses[0] == pytest.approx(region.training.history.losses[-1], abs=0.3)


def test_metrics_that_nobody_computes_are_refused_before_anything_is_loaded(recipe_for, faces):
    recipe = recipe_for("face-llava", "steps=1", f"validation.records={faces['validation']}", "validation.tasks=[age]")
    with pytest.raises(ConfigurationError, match="asks for metrics of age"):
        run_recipe(recipe)


def test_memory_that_does_not_suffice_is_told_with_the_estimate_and_what_to_change(recipe_for):
    class Exhaust(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    recipe = recipe_for("face-llava", "stage=region", "steps=2", "gradient_checkpointing=false", "max_tokens=100")
    (plan,) = plan_recipe(recipe)
    with pytest.raises(TrainingError) as caught:
        run_recipe(recipe, listeners=Listeners(callbacks=[Exhaust()]))
    message = str(caught.value)
    assert f"estimated to need {plan.estimate}" in message
    assert "for 8 x 100 tokens" in message
    for remedy in ("batch_size=4 accumulation=2", "gradient_checkpointing=true", "batch_size=1 accumulation=8"):
        assert re.search(rf"{remedy}[^(]*\(about [\d.]+ [MG]B\)", message), remedy


def test_the_trainer_takes_the_callbacks_of_a_stage_without_a_warning(recipe_for, monkeypatch):
    warnings = []
    monkeypatch.setattr("transformers.trainer_callback.logger.warning", warnings.append)
    run_recipe(recipe_for("face-llava", "stage=region", "steps=1"))
    assert warnings == []


def test_planning_trains_nothing(recipe_for):
    recipe = recipe_for("face-llava", "steps=1")
    region, finetune = plan_recipe(recipe)
    assert region.stage.name == "region"
    assert finetune.start.endswith("run/region")
    assert not recipe.output.exists()
