"""What scripts read from standard output: JSON, and lines with tabs."""

import base64
import json
from pathlib import Path

import facekit
from facekit.cli import output
from facekit.data.synthetic import write_synthetic_dataset


def rows(text):
    return [line.split("\t") for line in text.splitlines() if not line.startswith("#")]


def test_list_in_a_pipe_is_one_line_a_part_with_tabs(run_facekit):
    status, out, error = run_facekit("list", "datasets")
    headings, *parts = rows(out)
    assert (status, error) == (0, "")
    assert headings[:2] == ["name", "summary"]
    assert [part[0] for part in parts] == facekit.list_parts("dataset")
    assert {len(part) for part in parts} == {len(headings)}
    assert not any("…" in line or "[bold]" in line for line in out.splitlines())


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
