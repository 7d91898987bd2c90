"""An engine of a server answers batches and evaluations as the model itself does; facekit's own stands for vLLM."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import small_runs
from PIL import Image

from facekit.data import FaceRecord, Turn, write_records
from facekit.data.answering import answer_entries, open_entries
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, EngineError, MissingExtraError
from facekit.evaluation.models.answering import FaceKitModel
from facekit.evaluation.tasks.questions import Question
from facekit.models.sessions import AnswerEnd, AskedPrompt, Subject, answer_subjects
from facekit.models.source import ModelSource
from facekit.serving import Engine, engines
from facekit.serving.batch import answering, choose_batch_engine
from facekit.serving.engine import Answer
from facekit.serving.request_error import RequestError
from facekit.serving.vllm.engine import deciding_options

LANDMARKS = np.linspace(0.2, 0.8, 136).reshape(68, 2).round(4).tolist()


@pytest.fixture(scope="module")
def pair():
    model, processor = small_runs.small_model("region", seed=3)
    processor.image_processor.landmarker = None
    return model, processor


@pytest.fixture
def records(tmp_path):
    """Four faces with two questions each, a face whose picture is gone, a question that is too long, a torn line."""
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    asked = [[*turns("How old?"), *turns("Which expression?")], turns("How old?"), turns("Smile? " * 5_000)]
    faces = [(f"face-{number}", f"{number}.png", asked[0]) for number in range(4)]
    rows = [*faces, ("gone", "missing.png", asked[1]), ("long", "0.png", asked[2])]
    path = write_records(
        tmp_path / "records.jsonl",
        [
            FaceRecord(id=name, image=image, landmarks=LANDMARKS, independent_questions=True, conversations=each)
            for name, image, each in rows
        ],
    )
    with path.open("a") as file:
        file.write('{"id": "torn", "image": \n')
    return path


def turns(words):
    return [Turn(role="user", content=words), Turn(role="assistant", content="-")]


class Counting(Engine):
    """Counts what it is asked, and fails after so many answers."""

    def __init__(self, *arguments, fails_after=10**9, **options):
        super().__init__(*arguments, **options)
        self.jobs, self._fails_after = [], fails_after

    def submit(self, job):
        self.jobs.append(job)
        if len(self.jobs) > self._fails_after:
            job.future.set_exception(EngineError("vLLM failed (want of memory)"))
            return
        super().submit(job)


def run(pair, records, output, engine=None, **options):
    return answer_entries(*pair, open_entries(records), output, max_new_tokens=6, engine=engine, **options)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_batch_has_the_same_lines_by_an_engine_and_the_same_failures(pair, records, tmp_path):
    plain = run(pair, records, tmp_path / "plain.jsonl", batch_size=3)
    with answering(Engine, *pair, 3) as engine:
        result = run(pair, records, tmp_path / "engine.jsonl", engine, batch_size=3)
    assert (result.answers, result.failures) == (8, {"ImageError": 1, "ConfigurationError": 1, "RecordError": 1})
    assert (plain.answers, plain.failures) == (result.answers, result.failures)
    assert read(tmp_path / "engine.jsonl") == read(tmp_path / "plain.jsonl")


def test_a_run_that_is_started_again_asks_the_engine_nothing_twice(pair, records, tmp_path):
    whole, output = tmp_path / "whole.jsonl", tmp_path / "answers.jsonl"
    run(pair, records, whole, batch_size=2)
    engine = Counting(*pair)
    made = [engine, Counting(*pair)]
    kept = "".join(whole.read_text().splitlines(keepends=True)[:5])
    output.write_text(kept + '{"id": "face-2", "question": "Which exp')  # killed while it wrote
    (tmp_path / "answers.jsonl.run.json").write_bytes((tmp_path / "whole.jsonl.run.json").read_bytes())
    for expected_jobs, expected_reuse in ((5, 4), (0, 8)):
        with answering(lambda *_, **__: made.pop(0), *pair, 2) as answers:
            engine = answers._engine
            result = run(pair, records, output, answers, batch_size=2)
        assert (len(engine.jobs), result.reused) == (expected_jobs, expected_reuse)
    assert sorted(output.read_text().splitlines()) == sorted(whole.read_text().splitlines())


def test_an_engine_that_fails_ends_the_run_and_blames_no_record(pair, records, tmp_path):
    output = tmp_path / "answers.jsonl"
    with (
        answering(lambda *_, **__: Counting(*pair, fails_after=5), *pair, 2) as engine,
        pytest.raises(EngineError, match="want of memory"),
    ):
        run(pair, records, output, engine, batch_size=2)
    assert len(read(output)) == 3, "a batch of a torn line and a face"
    assert all(line.get("kind") != "EngineError" for line in read(output))
    result = run(pair, records, output, batch_size=2)
    assert (result.answers, result.reused) == (6, 2)


def test_a_refused_question_is_a_failure_of_its_own(pair):
    class Refusing(Engine):
        def submit(self, job):
            job.future.set_exception(RequestError(400, "vLLM refuses the request: too long"))

    with answering(Refusing, *pair, 2) as engine, pytest.raises(ConfigurationError, match="too long"):
        engine.answer((), "Hello", 2).result(10)


def test_what_is_given_up_is_cancelled_and_no_more_is_opened_than_is_under_way(pair):
    jobs, opened = [], []

    class Slow(Engine):
        """Answers the first question alone."""

        def submit(self, job):
            jobs.append(job)
            if len(jobs) == 1:
                job.future.set_result(Answer("yes", AnswerEnd(1, "stop")))

    def subject(number):
        return Subject(lambda: opened.append(number) or (), lambda is_clip: [AskedPrompt("Old?", 2)])

    with answering(Slow, *pair, 2) as engine:
        found = answer_subjects(*pair, map(subject, range(100)), batch_size=2, engine=engine)
        assert next(found) == (0, 0, "yes")
        assert len(opened) == 4, "twice the batch size"
        found.close()
    assert [job.should_stop() for job in jobs] == [False, True, True, True]


def test_evaluation_answers_by_an_engine_and_scores_by_the_model(pair, records):
    questions = [Question(str(number), "How old?", (records.parent / f"{number}.png",), max_new_tokens=6)
                 for number in range(4)]  # fmt: skip
    plain = FaceKitModel(*pair, batch_size=2)
    with answering(Engine, *pair, 2) as engine:
        by_engine = FaceKitModel(*pair, batch_size=2, engine=engine)
        assert dict(by_engine.answer(questions)) == dict(plain.answer(questions))
        assert by_engine.identity == plain.identity


@pytest.fixture
def with_vllm(monkeypatch):
    """As if vLLM were installed, with facekit's own engine in its place."""
    find, made = importlib.util.find_spec, []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find("json" if name == "vllm" else name))

    class InItsPlace(Counting):
        def __init__(self, *arguments, folder, adapter, max_media, options, **others):
            super().__init__(*arguments, **others)
            made.append(self)
            self.folder, self.options = folder, options

        @property
        def identity(self):
            return deciding_options(self.options)

    monkeypatch.setattr(engines, "VllmEngine", InItsPlace)
    return made


@pytest.fixture(scope="module")
def checkpoint(pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    for part in pair:
        part.save_pretrained(folder)
    return folder


def test_the_command_asks_a_batch_by_vllm_and_goes_on_with_options_that_change_no_answer(
    run_facekit, with_vllm, checkpoint, records, tmp_path
):
    output = tmp_path / "answers.jsonl"
    command = ["ask", checkpoint, "--batch", records, "--output", output, "--max-new-tokens", 4, "--engine", "vllm"]
    status, out, error = run_facekit(*command, "--max-failures", 3, "--engine-options", '{"dtype": "bfloat16"}')
    assert status == 0, error
    assert "8 questions answered" in out
    (engine,) = with_vllm
    assert (engine.folder, engine.options, engine.model.device.type) == (checkpoint, {"dtype": "bfloat16"}, "cpu")
    assert len(engine.jobs) == 9
    assert run_facekit(*command, "--engine-options", '{"dtype": "bfloat16", "max_num_seqs": 8}')[0] == 1
    assert with_vllm[1].jobs == []
    status, _, error = run_facekit(*command)
    assert status == 2
    assert "engine_options" in error


def test_the_command_evaluates_by_vllm(run_facekit, with_vllm, checkpoint, tmp_path):
    faces = write_synthetic_dataset(tmp_path / "faces", 6, seed=11, image_size=64)
    found = []
    for name, options in (("plain", ()), ("engine", ("--engine", "vllm"))):
        command = (
            "eval",
            checkpoint,
            faces,
            "--tasks",
            "expression",
            "--max-new-tokens",
            4,
            "--output",
            tmp_path / name,
        )
        status, _, error = run_facekit(*command, *options)
        assert status == 0, error
        found.append((tmp_path / name / "predictions.jsonl").read_text().splitlines()[1:])
    assert found[0] == found[1]
    assert len(with_vllm[0].jobs) == 6


def test_an_evaluation_goes_on_with_no_answers_of_other_options_of_vllm(run_facekit, with_vllm, checkpoint, tmp_path):
    faces = write_synthetic_dataset(tmp_path / "faces", 3, seed=11, image_size=64)
    command = ("eval", checkpoint, faces, "--tasks", "expression", "--max-new-tokens", 4, "--output", tmp_path / "out")
    packed = ("--engine", "vllm", "--engine-options", '{"quantization": "fp8"}')
    assert run_facekit(*command, *packed)[0] == 0
    assert run_facekit(*command, *packed, "--resume")[0] == 0
    for engine in ((), ("--engine", "vllm")):
        status, _, error = run_facekit(*command, *engine, "--resume")
        assert status == 2
        assert "engine_options was" in error
    plain = (*command[:-1], tmp_path / "plain")
    assert run_facekit(*plain)[0] == 0
    assert run_facekit(*plain, "--engine", "vllm", "--resume")[0] == 0
    assert with_vllm[-1].jobs == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ask", "{photo}", "Old?", "--engine", "vllm"), "go with --batch"),
        (("ask", "{model}", "--batch", "x.jsonl", "--output", "y", "--engine", "sglang"), "--engine is one of"),
        (("ask", "{model}", "--batch", "x.jsonl", "--output", "y", "--engine-options", "{{}}"), "are vLLM's"),
        (("eval", "{model}", "x.jsonl", "--engine", "vllm", "--scoring", "likelihood"), "scores no options"),
        (("eval", "openai:m", "x.jsonl", "--engine", "vllm"), "is for models of facekit"),
        (("eval", "{model}", "x.jsonl", "--engine", "vllm", "--load-in", "4bit"), "leave --load-in"),
    ],
)  # fmt: skip
def test_a_wrong_use_of_an_engine_is_one_line(run_facekit, with_vllm, checkpoint, tmp_path, arguments, words):
    status, _, error = run_facekit(*(each.format(model=checkpoint, photo=tmp_path / "a.png") for each in arguments))
    assert status == 2
    assert words in error
    assert error.count("\n") == 1
    assert with_vllm == []


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vLLM is installed here")
def test_without_vllm_a_batch_says_what_is_missing_before_the_model_is_loaded(tmp_path):
    with pytest.raises(MissingExtraError, match="needs vLLM"):
        choose_batch_engine("vllm", None, ModelSource(tmp_path))


def test_options_of_memory_and_speed_tell_no_runs_apart():
    assert deciding_options({"max_num_seqs": 8, "gpu_memory_utilization": 0.5}) == {}
    assert deciding_options({"quantization": "fp8", "max_num_seqs": 8, "dtype": "half"}) == {
        "engine_options": '{"dtype": "half", "quantization": "fp8"}'
    }
