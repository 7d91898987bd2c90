"""Servers over real HTTP, Hugging Face checkpoints, files of answers, and the spec strings that name them."""

from __future__ import annotations

import base64
import io
import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import CheckpointError, ConfigurationError, InvalidSpecError, RecordError
from facekit.evaluation import AGE, ATTRIBUTE_QUESTIONS, EXPRESSION, Run, evaluate_model, read_predictions
from facekit.evaluation.evaluator import Statistics
from facekit.evaluation.models.endpoint_model import EndpointModel
from facekit.evaluation.models.other_models import RecordedModel, open_model
from facekit.evaluation.tasks.questions import Question, collect_replies

FEW = Statistics(resamples=50, permutations=19)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 12, seed=7, image_size=64))


class Endpoint:
    """Chat completions on 127.0.0.1: answers by the question and the picture, and fails as often as it is told to."""

    def __init__(self, failure_rate=0.0, broken=False):
        self.calls = self.failures = self.at_once = self.most_at_once = 0
        chance, lock, outer = random.Random(0), threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    outer.calls += 1
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                    fails = broken or chance.random() < failure_rate
                    outer.failures += fails
                code = (401 if broken else 503) if fails else 200
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


def test_a_server_that_refuses_is_named_and_a_second_run_goes_on(records, tmp_path):
    with Endpoint(broken=True) as endpoint:
        model = EndpointModel("m", base_url=endpoint.url, retries=0, concurrency=2)
        with pytest.raises(ConfigurationError, match="'openai:m' gave no answer to the question"):
            evaluate_model(model, records, [AGE], output_dir=tmp_path, statistics=FEW)
    log = tmp_path / "answers.jsonl"
    with Endpoint() as endpoint:
        model = EndpointModel("m", base_url=endpoint.url)
        whole = evaluate_model(model, records, [AGE], output_dir=tmp_path, statistics=FEW, resume=True)
        kept = log.read_text().splitlines()
        log.write_text("\n".join(kept[:6]) + "\n")
        before = endpoint.calls
        again = evaluate_model(model, records, [AGE], output_dir=tmp_path, statistics=FEW, resume=True)
        assert endpoint.calls - before == 12 - 5
    assert again.tasks == whole.tasks
    assert sorted(log.read_text().splitlines()) == sorted(kept)


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
    path.write_text("".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries))
    model, output = RecordedModel(path), tmp_path / "out"
    for resume in (False, True):
        result = evaluate_model(model, records, [EXPRESSION], output_dir=output, statistics=FEW, resume=resume)
        assert result["expression"].metrics["accuracy"] == 1.0
    assert len(read_predictions(output / "predictions.jsonl", records)) == len(records)
    assert len(Run.read(output).predictions) == len(records)


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
