"""Examples that evaluate: the numbers are those of the answers, and findings those that were planted."""

from __future__ import annotations

import json
from statistics import fmean

import pytest
from PIL import Image

from facekit.data import FaceRecord, read_records, write_records
from facekit.evaluation import compare_runs, load_tasks


def test_three_models_are_compared_face_by_face(run_example, serve, drawn_faces, model_folders, tmp_path):
    server = serve(answer=lambda body: "40" if "years" in words_of(body) else "happiness")
    endpoint, output = f"openai:always?base_url={server.base_url}", tmp_path / "compared"
    printed = run_example("compare_models.py", drawn_faces, output, *model_folders, endpoint)
    metrics = json.loads((output / "model-3" / "metrics.json").read_text())["tasks"]
    records = list(read_records(drawn_faces))
    expected = fmean(record.labels.expression == "happiness" for record in records)
    assert 0 < expected < 1
    assert metrics[0]["metrics"]["accuracy"] == pytest.approx(expected)
    assert metrics[1]["metrics"]["mean_absolute_error"] == pytest.approx(
        fmean(abs(record.labels.age - 40) for record in records)
    )
    runs = {str(number): output / f"model-{number}" / "predictions.jsonl" for number in (1, 2, 3)}
    assert len(compare_runs(drawn_faces, runs, load_tasks(["expression", "age"]))) == 2 * 3  # two tasks, three pairs
    assert f"{expected:.3f}" in printed
    page = (output / "leaderboard.html").read_text()
    assert page.count("<tr") == 1 + 3
    assert (output / "report.html").is_file()
    calls = len(server.calls)
    assert calls == 2 * len(records)
    run_example("compare_models.py", drawn_faces, output, *model_folders, endpoint)
    assert len(server.calls) == calls


@pytest.mark.parametrize(("wrong_about", "status"), [("woman", 1), (None, 0)])
def test_an_audit_finds_the_group_that_a_model_fails_and_nothing_else(run_example, tmp_path, wrong_about, status):
    Image.new("RGB", (32, 32), (120, 90, 80)).save(tmp_path / "face.png")
    lines = []
    records = [
        {"id": str(number), "image": "face.png", "groups": {"gender": ("woman", "man")[number % 2]},
         "labels": {"expression": ("happiness", "sadness")[number // 2 % 2]}}
        for number in range(60)
    ]  # fmt: skip
    for record in records:
        is_wrong = record["groups"]["gender"] == wrong_about
        answer = "fear" if is_wrong else record["labels"]["expression"]
        lines.append(json.dumps({"question": f"{record['id']}/expression", "answer": answer}))
    (tmp_path / "answers.jsonl").write_text("\n".join(lines))
    write_records(tmp_path / "records.jsonl", [FaceRecord(**record) for record in records])
    with pytest.raises(SystemExit) as ended:
        run_example(
            "audit_fairness.py", f"predictions:{tmp_path / 'answers.jsonl'}", tmp_path / "records.jsonl",
            tmp_path / "audit", "--tasks", "expression",
        )  # fmt: skip
    assert ended.value.code == status
    page = (tmp_path / "audit" / "report.html").read_text()
    assert ("answers about women are wrong 100 of 100 times, about men 0" in page) == (status == 1)


def test_facexbench_is_put_to_models_in_all_settings_and_each_is_asked_once(run_example, serve, tmp_path):
    root = write_benchmark(tmp_path / "benchmark")
    server, output = serve(answer=lambda body: "B"), tmp_path / "facexbench"
    first, second = (f"openai:{name}?base_url={server.base_url}" for name in ("first", "second"))
    printed = run_example("run_facexbench.py", root, output, first)
    assert len(server.calls) == 3 * 4
    assert "FaceXBench" in printed
    for setting in ("zero-shot", "in-context", "chain-of-thought"):
        board = json.loads((output / "model-1" / setting / "metrics.json").read_text())["published"]["overall"]
        assert (board["right"], board["count"]) == (3, 4)
    run_example("run_facexbench.py", root, output, first, second)
    assert len(server.calls) == 2 * 3 * 4
    assert {call.body["model"] for call in server.calls[12:]} == {"second"}
    assert (output / "leaderboard.html").read_text().count("0.750") >= 6


def words_of(body):
    parts = [part for message in body["messages"] for part in message["content"] if isinstance(part, dict)]
    return " ".join(part["text"] for part in parts if part["type"] == "text")


def write_benchmark(folder):
    """Four questions in the layout of the authors, three of which have the answer B."""
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (40, 30), (60, 90, 120)).save(folder / "images" / "0.png")

    def question(text, correct):
        options = ["0-9", "10-19", "20-29", "30-39"]
        return {
            "image_paths": ["images/0.png"], "question_text": text, "options": options,
            "correct_answer_option": correct, "answer": options["ABCD".index(correct)],
        }  # fmt: skip

    for name, correct in (("age", "BB"), ("gender", "BC")):
        document = {
            "category": "bias_fairness", "sub-category": name, "dataset": "fairface", "question_type": "MCQ",
            "num_images": "single", "prepend_text": "Ages are estimated.", "postpend_text": "Answer with the letter.",
            "questions": {str(number): question(f"How old is {number}?", each) for number, each in enumerate(correct)},
        }  # fmt: skip
        (folder / f"{name}_single.json").write_text(json.dumps(document))
    return folder
