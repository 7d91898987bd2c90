"""``facekit train recipe=...`` from the command line: what it prints, leaves behind, and refuses in one line."""

from __future__ import annotations

import json
import signal
from functools import partial

import pytest

from facekit.data.synthetic import write_synthetic_dataset
from facekit.training.watching.run_watcher import RunWatcher

TINY = (
    "model.encoder=tiny?image_size=64&width=32&depth=1", "model.connector=region",
    "model.backbone=tiny?width=32&depth=1&heads=2", "batch_size=4", "steps=2", "threads=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 8, seed=3, image_size=64)


@pytest.fixture
def run(run_facekit, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return partial(run_facekit, "train")


def test_a_recipe_runs_its_stages_and_prints_what_learns_and_where_things_are(run, records, tmp_path):
    status, out, error = run(
        "recipe=tiny-cpu", records, "--output", tmp_path / "run", *TINY, f"validation.records={records}",
        "validation.tasks=[age]", "validation.metric_faces=2", "validation.faces=1",
    )  # fmt: skip
    assert status == 0, error
    out = " ".join(out.split())
    assert "region: from encoder tiny" in out
    assert f"finetune: from {tmp_path}/run/region to {tmp_path}/run/finetune" in out
    assert "estimated memory:" in out
    for stage in ("region", "finetune"):
        assert (tmp_path / "run" / stage / "config.json").is_file()
        page = tmp_path / "run" / stage / "training" / "summary.html"
        assert str(page) in out
        assert "age" in page.read_text(encoding="utf-8")
        assert (tmp_path / "run" / stage / "README.md").is_file()
    status, out, error = run(f"recipe={tmp_path / 'run' / 'recipe.yaml'}", "--resume")
    assert status == 0, error
    assert " ".join(out.split()) == f"nothing left to train: all stages have ended in {tmp_path / 'run'}"


def test_a_dry_run_shows_the_table_and_leaves_nothing(run, records, tmp_path):
    status, out, error = run("recipe=tiny-cpu", f"records={records}", f"output={tmp_path / 'run'}", *TINY, "--dry-run")
    assert status == 0, error
    assert "language_model" in out
    assert "0.002" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["recipe=face-lava"], "did you mean 'face-llava'?"),
        (["recipe=tiny-cpu", "output=x", "records=y", "lrr=1"], "there is no key 'lrr'"),
        (["recipe=tiny-cpu", "output=x"], "add records=VALUE"),
        (["recipe=tiny-cpu", "recipe=face-llava"], "one recipe at a time"),
        (["recipe=tiny-cpu", "records=y", "output=x", "--steps", 3], "--steps does not go with a recipe"),
        (["recipe=tiny-cpu", "records=missing.jsonl", "output=x", *TINY], "missing.jsonl"),
        (["faces.jsonl"], "training needs records files and --output, or recipe=NAME"),
        (["faces.jsonl", "lr=3", "--output", "x"], "or recipe=NAME and its overrides"),
    ],
)
def test_what_is_wrong_is_one_line(run, arguments, message):
    status, _, error = run(*arguments)
    assert status == 2
    assert error.lstrip("\n").startswith("facekit: error: ")
    assert error.strip().count("\n") == 0
    assert message in error


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ("agee", "unknown task 'agee'; did you mean 'age'?"),
        ("age,age", "tasks names each task once, not age, age"),
        ("age,manipulation", "none of 2 records that are measured on has a label of 'manipulation'"),
    ],
)
def test_tasks_that_cannot_be_measured_are_told_before_a_run(run, records, tmp_path, tasks, message):
    lines = [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]
    for line in lines[:2]:
        line["labels"].pop("manipulated", None)
        line["conversations"] = []
    held_out = records.with_name("held-out.jsonl")
    held_out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    status, _, error = run(
        "recipe=tiny-cpu", records, "--output", tmp_path / "run", *TINY, f"validation.records={held_out}",
        f"validation.tasks=[{tasks}]", "validation.metric_faces=2",
    )  # fmt: skip
    assert status == 2
    assert error.startswith("facekit: error: ")
    assert error.strip().count("\n") == 0
    assert message in error
    assert not (tmp_path / "run" / "region").exists()


@pytest.mark.parametrize("by_recipe", [True, False])
def test_ctrl_c_says_what_was_saved_and_how_to_go_on(run, records, tmp_path, monkeypatch, by_recipe):
    def press(self, args, state, control, **kwargs):
        if state.global_step == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunWatcher, "on_step_end", press)
    if by_recipe:
        stage, command = "region/", ["recipe=tiny-cpu", records, "--output", tmp_path / "run", *TINY]
    else:
        parts = ["--encoder", "tiny?image_size=64&width=32&depth=1", "--connector", "mlp", "--backbone"]
        parts += ["tiny?width=32&depth=1&heads=2", "--steps", 2, "--batch-size", 4]
        stage, command = "", [records, "--output", tmp_path / "run", *parts]
    status, _, error = run(*command)
    checkpoint = tmp_path / "run" / f"{stage}training" / "checkpoint-1"
    assert status == 130
    told = f"facekit: interrupted; {checkpoint} is saved; the same command with --resume goes on"
    assert error.strip().splitlines()[-1] == told
    assert "Traceback" not in error
    monkeypatch.undo()
    status, _, error = run(*command, "--resume")
    assert status == 0, error


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_an_impossible_output_folder_is_one_line(run, records, tmp_path, place):
    (tmp_path / "file").write_text("")
    status, _, error = run("recipe=tiny-cpu", records, "--output", tmp_path / place, *TINY)
    assert status == 2
    assert error.startswith("facekit: error: ")
    assert error.count("\n") == 1
    assert "cannot be written to" in error
