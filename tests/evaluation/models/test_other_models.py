"""Servers over real HTTP, Hugging Face checkpoints, files of answers, and the spec strings that name them."""

from __future__ import annotations

import base64
import io
import json
import random
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError, RecordError
from facekit.evaluation import AGE, ATTRIBUTE_QUESTIONS, ATTRIBUTES, EXPRESSION, Run, evaluate_model, read_predictions
from facekit.evaluation.evaluator import Statistics
from facekit.evaluation.models.answer_log import AnswerLog
from facekit.evaluation.models.endpoint_model import EndpointModel
from facekit.evaluation.models.other_models import RecordedModel, open_model
from facekit.evaluation.report.results import EvaluationResult
from facekit.evaluation.tasks.collecting import collect_replies, identify_answers
from facekit.evaluation.tasks.questions import Question

FEW = Statistics(resamples=50, permutations=19)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=7, image_size=64))


class Endpoint:
    """Chat completions on 127.0.0.1: answers by the question and the picture, and fails as often as it is told to."""

    def __init__(self, failure_rate=0.0):
        self.calls = self.failures = self.at_once = self.most_at_once = 0
        chance, lock, outer = random.Random(0), threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.calls += 1
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                    fails = chance.random() < failure_rate
                    outer.failures += fails
                code = 503 if fails else 200
                text = "" if fails else self.reply(body)
                content = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": content, "finish_reason": "stop"}
                answer = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
                data = json.dumps({**answer, "choices": [choice]}).encode()
                with lock:
                    outer.at_once -= 1
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(data)

            def reply(self, body):
                *pictures, text = body["messages"][0]["content"]
                head, _, payload = pictures[0]["image_url"]["url"].partition(",")
                assert head == "data:image/jpeg;base64"
                pixel = Image.open(io.BytesIO(base64.b64decode(payload))).getpixel((32, 32))
                if "old" in text["text"]:
                    return f"About {20 + pixel[0] % 50} years."
                return ("happy", "sad", "angry")[pixel[1] % 3] + f" in {len(pictures)}"

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


def test_a_server_that_fails_half_the_time_ends_with_the_numbers_of_a_healthy_one(records, tmp_path):
    results = []
    for rate in (0.0, 0.5):
        with Endpoint(rate) as endpoint:
            model = open_model(f"openai:m?base_url={endpoint.url}&concurrency=4&retries=30")
            result = evaluate_model(model, records, [EXPRESSION, AGE], statistics=FEW, output_dir=tmp_path / str(rate))
            results.append(result.tasks)
        assert endpoint.calls == 24 + endpoint.failures
        assert 1 <= endpoint.most_at_once <= 4
    assert endpoint.failures > 5
    assert results[0] == results[1]
    lines = [(tmp_path / rate / "predictions.jsonl").read_text() for rate in ("0.0", "0.5")]
    assert lines[0] == lines[1]


def test_a_server_that_refuses_is_named_and_a_second_run_goes_on(serve, records, tmp_path):
    server = serve(status=401, answer=lambda body: "About 30 years.")
    model = EndpointModel("m", base_url=server.base_url, retries=0, concurrency=2)
    options = {"output_dir": tmp_path, "statistics": FEW}
    with pytest.raises(ConfigurationError, match=r"'openai:m': the key is not accepted.*run again to go on"):
        evaluate_model(model, records, [AGE], **options)
    assert len(server.calls) <= 2
    server.faults.status = None
    whole = evaluate_model(model, records, [AGE], **options, resume=True)
    log = tmp_path / "answers.jsonl"
    kept = log.read_text().splitlines()
    log.write_text("\n".join(kept[:6]) + "\n")
    refused = sum("problem" in line for line in kept[:6])
    before = len(server.calls)
    again = evaluate_model(model, records, [AGE], **options, resume=True)
    assert len(server.calls) - before == 12 - (5 - refused)
    assert again.tasks == whole.tasks


@pytest.fixture
def pictures(tmp_path):
    """Twelve questions about pictures of different greys."""
    questions = []
    for number in range(12):
        Image.new("RGB", (64, 64), (number * 20,) * 3).save(tmp_path / f"{number}.png")
        questions.append(Question(f"q{number}", "Which?", (tmp_path / f"{number}.png",)))
    return questions


def ask_all(server, questions, folder, **options):
    """Replies by a resumed log in a folder, and how many calls that took."""
    model = EndpointModel("m", base_url=server.base_url, **{"retries": 2, **options})
    before = len(server.calls)
    with AnswerLog(folder / "answers.jsonl", identify_answers(model)) as log:
        replies = collect_replies(model, questions, log=log)
    return replies, len(server.calls) - before


def flag(server, *numbers):
    """Let a content filter refuse some of twelve pictures."""
    outcome, flagged = server._outcome, {}

    def by_picture(body):
        url = body["messages"][0]["content"][0]["image_url"]["url"]
        pixel = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).getpixel((32, 32))[0]
        flagged[round(pixel / 20)] = True
        server.faults.odd = float(round(pixel / 20) in numbers)
        return outcome(body)

    server._outcome = by_picture
    server.faults.oddity = "a flagged input, 403"


def test_a_refused_picture_is_an_unanswered_question_and_is_not_asked_again(serve, pictures, tmp_path, caplog):
    server = serve()
    flag(server, 0, 7)
    replies, calls = ask_all(server, pictures, tmp_path)
    assert calls == 12
    assert [index for index, reply in enumerate(replies) if reply.problem] == [0, 7]
    assert "a content filter refuses the input" in replies[7].problem
    assert "gave no answer to 2 of 12 questions" in caplog.text
    assert ask_all(server, pictures, tmp_path) == (replies, 0)


def test_a_broken_picture_is_an_unanswered_question_that_costs_no_call(serve, pictures, tmp_path):
    (tmp_path / "3.png").write_bytes(b"broken")
    replies, calls = ask_all(serve(), pictures, tmp_path)
    assert calls == 11
    assert "the picture cannot be used" in replies[3].problem


def test_what_failed_for_a_passing_reason_is_asked_again_when_resumed(serve, pictures, tmp_path):
    server = serve(server_error=1.0)
    replies, calls = ask_all(server, pictures[:2], tmp_path)
    assert (calls, [bool(reply.problem) for reply in replies]) == (6, [True, True])
    server.faults.server_error = 0.0
    replies, calls = ask_all(server, pictures[:2], tmp_path)
    assert (calls, [reply.problem for reply in replies]) == (2, [None, None])


def test_a_resumed_run_asks_again_about_what_has_changed_and_nothing_else(serve, pictures, tmp_path):
    server = serve()
    first, calls = ask_all(server, pictures, tmp_path)
    assert calls == 12
    Image.new("RGB", (64, 64), "red").save(tmp_path / "2.png")
    changed = [*pictures[:5], replace(pictures[5], text="How old?"), replace(pictures[6], max_new_tokens=7),
               *pictures[7:], Question("new", "Which?", pictures[0].pictures)]  # fmt: skip
    replies, calls = ask_all(server, changed, tmp_path)
    assert calls == 4
    assert [index for index in range(12) if replies[index] != first[index]] == [2, 5]
    assert ask_all(server, changed, tmp_path) == (replies, 0)


def test_a_log_of_another_model_or_address_is_not_gone_on_with(serve, pictures, tmp_path):
    server, other = serve(), serve()
    ask_all(server, pictures[:1], tmp_path)
    with pytest.raises(ConfigurationError, match=r"answers of another run \(base_url was"):
        ask_all(other, pictures[:1], tmp_path)


def test_models_that_think_are_asked_without_a_temperature(serve, pictures, tmp_path):
    server = serve(thinking_model=True)
    replies, calls = ask_all(server, pictures, tmp_path, concurrency=1)
    assert calls == 12 + 2
    assert all(reply.text and not reply.problem for reply in replies)
    assert not {"temperature", "max_tokens"} & set(server.calls[-1].body)


def test_an_answer_of_thoughts_alone_is_unanswered_with_a_reason(serve, pictures, tmp_path):
    server = serve(answer=lambda body: "<think>Let me see")
    replies, _ = ask_all(server, pictures[:1], tmp_path)
    assert replies[0].problem == "the longest answer was used up before its first word"


def test_unanswered_questions_are_scored_as_unreadable_and_counted(serve, records, tmp_path):
    server = serve(odd=0.5, oddity="a flagged input, 400", seed=1, answer=lambda body: "happiness")
    model = EndpointModel("m", base_url=server.base_url)
    result = evaluate_model(model, records, [EXPRESSION], statistics=FEW, output_dir=tmp_path)["expression"]
    flagged = sum(call.outcome == "odd" for call in server.calls)
    assert 2 <= flagged <= 10
    assert (result.unanswered, result.unreadable) == (flagged, flagged)
    assert result.unreadable_words == f"{flagged} of 12 ({flagged} unanswered)"
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    assert sum("problem" in line for line in lines) == flagged
    assert EvaluationResult.read(tmp_path / "metrics.json")["expression"].unanswered == flagged


def test_an_evaluation_has_a_cost_and_keeps_to_its_budget(serve, pictures, tmp_path):
    server = serve()
    prices = tmp_path / "prices.yaml"
    prices.write_text("m: {input: 0, output: 10}\n")  # 100 tokens an answer, 96 at most: 0.001 dollars
    model = open_model(f"openai:m?base_url={server.base_url}&prices={prices}&concurrency=1&max_cost=0.0055")
    answers = []
    with pytest.raises(ConfigurationError, match=r"'openai:m': the budget of \$0\.0055 is used up; run again"):
        answers.extend(model.answer(pictures))
    assert len(answers) == len(server.calls) == 5
    assert model.cost == pytest.approx(0.005)
    with pytest.raises(ConfigurationError, match="no model 'm'"):
        open_model(f"openai:m?base_url={server.base_url}&max_cost=1")


def test_the_key_is_sent_and_struck_out_of_what_comes_back(serve, pictures, tmp_path, monkeypatch):
    key = "sk-evaluation-0123456789"
    monkeypatch.setenv("MY_KEY", key)
    server = serve(answer=lambda body: f"Your key is {key}.")
    model = open_model(f"openai:m?base_url={server.base_url}&key_env=MY_KEY")
    assert list(model.answer(pictures[:1])) == [(0, "Your key is [key].")]
    assert server.calls[0].authorization == f"Bearer {key}"
    with pytest.raises(ConfigurationError, match="OTHER has no API key"):
        open_model(f"openai:m?base_url={server.base_url}&key_env=OTHER")


def test_a_pause_that_the_endpoint_asks_for_holds_every_question_back(serve, pictures, tmp_path):
    server = serve(retry_after="0.4")
    outcome = server._outcome

    def first_too_many(body):
        server.faults.too_many = float(not server.calls)
        return outcome(body)

    server._outcome = first_too_many
    ask_all(server, pictures, tmp_path, concurrency=2)
    (asked,) = [call for call in server.calls if call.outcome == "429"]
    assert sum(call.time - asked.time < 0.39 for call in server.calls) <= 2


def test_a_reader_who_stops_ends_the_calls(serve, pictures):
    server = serve(latency=(0.02, 0.02))
    answers = EndpointModel("m", base_url=server.base_url, concurrency=2).answer(pictures)
    next(answers)
    answers.close()
    assert len(server.calls) <= 6


def test_several_pictures_go_into_one_call(tmp_path):
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (64, 64), (200, 90, 10)).save(paths[-1])
    with Endpoint() as endpoint:
        answers = dict(EndpointModel("m", base_url=endpoint.url).answer([Question("q", "Which?", tuple(paths))]))
    assert answers[0].endswith("in 3")


def test_an_endpoint_gives_no_likelihoods(records):
    model = EndpointModel("m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(ConfigurationError, match="gives no likelihoods"):
        evaluate_model(model, records, [EXPRESSION], scoring="likelihood")


def write_lines(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_answers_from_a_file_are_scored_as_if_they_had_just_been_given(records, tmp_path):
    entries = [
        {"id": record.id, "task": "expression", "answer": record.labels.expression if place % 4 else "no idea"}
        for place, record in enumerate(records.records)
    ]
    model = open_model(f"predictions:{write_lines(tmp_path / 'p.jsonl', entries)}")
    result = evaluate_model(model, records, [EXPRESSION], output_dir=tmp_path / "out", statistics=FEW)
    assert result["expression"].metrics["accuracy"] == 0.75
    assert result["expression"].unreadable == 3
    written = RecordedModel(tmp_path / "out" / "predictions.jsonl")
    again = evaluate_model(written, records, [EXPRESSION], statistics=FEW)
    assert again.tasks == result.tasks


def test_a_separator_of_lines_inside_an_answer_is_no_end_of_a_line(records, tmp_path):
    entries = [
        {"id": record.id, "task": "expression", "answer": f"{record.labels.expression}\u2028\x85\x0b"}
        for record in records.records
    ]
    path = tmp_path / "p.jsonl"
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    path.write_text(text, encoding="utf-8-sig")  # as an editor of Windows saves it
    model, output = RecordedModel(path), tmp_path / "out"
    for resume in (False, True):
        result = evaluate_model(model, records, [EXPRESSION], output_dir=output, statistics=FEW, resume=resume)
        assert result["expression"].metrics["accuracy"] == 1.0
    assert len(read_predictions(output / "predictions.jsonl", records)) == len(records)
    assert len(read_predictions(path, records)) == len(records)
    assert len(Run.read(output).predictions) == len(records)


def test_an_answer_of_null_is_none_at_all(records, tmp_path):
    entries = [{"id": record.id, "task": "attributes", "answer": None} for record in records.records]
    entries[0]["answer"] = "none"
    path = write_lines(tmp_path / "p.jsonl", entries)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    task = evaluate_model(RecordedModel(path), records, [ATTRIBUTES], statistics=FEW)["attributes"]
    assert task.unreadable == len(records) - 1
    assert [answer.is_empty for answer in read_predictions(path, records)] == [False] + [True] * (len(records) - 1)


def test_answers_to_single_attributes_are_read_by_item(records, tmp_path):
    entries = [
        {"id": record.id, "task": "attribute_questions", "item": name, "answer": "Yes." if present else "no"}
        for record in records.records
        for name, present in record.labels.attributes.items()
    ]
    entries[0]["answer"] = "hm"
    model = RecordedModel(write_lines(tmp_path / "p.jsonl", entries))
    task = evaluate_model(model, records, [ATTRIBUTE_QUESTIONS], statistics=FEW)["attribute_questions"]
    assert task.unreadable == 1
    assert task.metrics["accuracy_Bangs"] == 1.0
    first = entries[0]["item"]
    assert task.metrics[f"accuracy_{first}"] == pytest.approx(11 / 12)


@pytest.mark.parametrize(
    ("line", "words"), [("{", "line 1"), ('{"id": "x"}', "answer"), ("3", "line 1"), ("[]", "line 1")]
)
def test_a_malformed_file_of_answers_is_named_with_its_line(tmp_path, line, words):
    (tmp_path / "p.jsonl").write_text(line + "\n")
    with pytest.raises(RecordError, match=words):
        RecordedModel(tmp_path / "p.jsonl")


def test_a_missing_answer_is_named(records, tmp_path):
    model = RecordedModel(write_lines(tmp_path / "p.jsonl", []))
    with pytest.raises(RecordError, match="no answer to"):
        evaluate_model(model, records, [AGE])
    with pytest.raises(RecordError, match="cannot be read"):
        RecordedModel(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("openai:m?speed=3", InvalidSpecError, "model 'openai' has no option 'speed'"),
        ("openai:m?retries=many", InvalidSpecError, "cannot use retries=many: it takes an integer from 0"),
        ("openai:", InvalidSpecError, "no argument"),
        ("hf:/nowhere/at-all", CheckpointError, "cannot be loaded"),
        ("nowhere/at-all", CheckpointError, "is no folder here"),
    ],
)
def test_specs_that_name_no_model_are_refused(spec, error, words):
    with pytest.raises(error, match=words):
        open_model(spec)


class Silent:
    """Answers nothing."""

    name = "silent"

    def answer(self, questions):
        return iter(())


def test_questions_left_without_an_answer_and_equal_ids_are_refused():
    question = Question("q", "?")
    with pytest.raises(ConfigurationError, match="left the question 'q'"):
        collect_replies(Silent(), [question])
    with pytest.raises(ConfigurationError, match="same id"):
        collect_replies(Silent(), [question, question])
    with pytest.raises(ConfigurationError, match="'generation' or 'likelihood'"):
        collect_replies(Silent(), [question], scoring="guess")
