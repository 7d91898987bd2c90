"""An odd character in an answer, a group or a name never spoils an evaluation: it ends, is read back and shown."""

from __future__ import annotations

import json

import pytest

from facekit.cli.output import show_json, show_table
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.evaluation import (
    MANIPULATION,
    EndpointModel,
    Run,
    Unanswered,
    compare_runs,
    evaluate_model,
    metric_table,
    run_benchmark,
    write_report,
)
from facekit.evaluation.evaluator import Statistics
from facekit.evaluation.judging.explanations import read_predictions
from facekit.evaluation.tasks.questions import well_formed

FEW = Statistics(resamples=20, permutations=9)
ODD = {
    "lone surrogate": "fake \ud83d", "NUL": "\x00fake", "line separators": "fake\u2028\u2029\x85\x0b\x0c",
    "escape": "\x1b[31m fake", "noncharacter": "\ufffe fake \ufdd0", "carriage return": "fake\r\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    path = write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=5, image_size=32)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for number, entry in enumerate(entries):
        entry["groups"]["odd"] = ("a\u2028b", "\x00", "\x85", "\U0001f600\ufdd0")[number % 4]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return RecordSet.read(path)


class Model:
    """Says the same of every face, but refuses one with the same characters as the reason."""

    prompt_style = "closed"

    def __init__(self, words):
        self.name, self.words, self.asked = f"m{words}", words, 0

    def answer(self, questions):
        for index, _ in enumerate(questions):
            self.asked += 1
            yield index, self.words if index else Unanswered(f"refused: {self.words}")


@pytest.mark.parametrize("words", ODD.values(), ids=ODD)
def test_an_evaluation_with_it_ends_is_gone_on_with_and_shown(records, tmp_path, words, capsys):
    model = Model(words)
    result = evaluate_model(model, records, [MANIPULATION], statistics=FEW, output_dir=tmp_path)
    task = result["manipulation"]
    assert (task.count, task.unanswered, task.unreadable) == (12, 1, 1)
    again = evaluate_model(model, records, [MANIPULATION], statistics=FEW, output_dir=tmp_path, resume=True)
    assert (again.tasks, model.asked) == (result.tasks, 12)
    run = Run.read(tmp_path)
    assert [entry["answer"] for entry in run.predictions] == ["", *[well_formed(words)] * 11]
    assert write_report(tmp_path, records, [run]).stat().st_size > 10_000
    predictions = tmp_path / "predictions.jsonl"
    (difference,) = compare_runs(records, {"a": predictions, "b": predictions}, [MANIPULATION])
    assert difference.difference == 0
    assert len(read_predictions(predictions, records, [MANIPULATION])) == 12
    show_table(metric_table(result))
    show_json(result)
    assert json.loads(capsys.readouterr().out.partition("{")[2].join(["{", ""]))["model"] == well_formed(model.name)


def test_halves_of_characters_are_replaced_and_whole_ones_kept():
    assert well_formed("a\ud83d b") == "a\N{REPLACEMENT CHARACTER} b"
    assert well_formed("\U0001f600\x00\u2028") == "\U0001f600\x00\u2028"


def test_an_endpoint_that_cuts_an_emoji_in_two_is_no_end_of_a_run(serve, records, tmp_path):
    server = serve(answer=lambda body: "It is fake \ud83d")
    model = EndpointModel("m", base_url=server.base_url)
    result = evaluate_model(model, records, [MANIPULATION], statistics=FEW, output_dir=tmp_path, max_new_tokens=4096)
    assert (result["manipulation"].unreadable, len(server.calls)) == (0, 12)
    assert {call.body["max_tokens"] for call in server.calls} == {4096}
    evaluate_model(
        model, records, [MANIPULATION], statistics=FEW, output_dir=tmp_path, max_new_tokens=4096, resume=True
    )
    assert len(server.calls) == 12


def test_a_model_that_thinks_has_its_limit_as_completion_tokens_and_no_temperature(serve, records):
    server = serve(thinking_model=True, answer=lambda body: "fake")
    model = EndpointModel("gpt-5", base_url=server.base_url, concurrency=1)
    result = evaluate_model(model, records, [MANIPULATION], statistics=FEW, max_new_tokens=4096)
    assert result["manipulation"].unanswered == 0
    body = server.calls[-1].body
    assert (body["max_completion_tokens"], {"max_tokens", "temperature"} & set(body)) == (4096, set())


def test_a_benchmark_with_it_ends_and_has_its_page(tmp_path):
    document = {"category": "bias_fairness", "sub-category": "age\x00", "dataset": "x", "num_images": "single",
                "questions": {"1": {"image_paths": ["0.png"], "question_text": "\u2028?", "options": ["a", "b"],
                                    "correct_answer_option": "B"}}}  # fmt: skip
    (tmp_path / "age.json").write_text(json.dumps(document))
    (tmp_path / "0.png").write_bytes(b"none")
    outcome = run_benchmark(Model("B \ud83d"), "facexbench", tmp_path, output_dir=tmp_path / "out")
    assert outcome.page.is_file()
    assert outcome.result.published.overall.count == 1
