"""facekit's engine around vLLM, with something in vLLM's place that writes what the test says."""

from __future__ import annotations

import logging

import pytest
import small_runs

from facekit.compat.vllm.engine import Progress
from facekit.errors import ConfigurationError, EngineError
from facekit.serving.engine import Job
from facekit.serving.json_format import JsonFormats
from facekit.serving.protocol import JsonSchemaFormat
from facekit.serving.request_error import RequestError
from facekit.serving.vllm import engine as vllm_engine
from facekit.serving.vllm.engine import VllmEngine


class ScriptedWriter:
    """Writes the same to every request."""

    marks = {"image": 3, "video": 4}  # noqa: RUF012 - as the writer's

    def __init__(self, folder, max_answers, options):
        self.folder, self.max_answers, self.options = folder, max_answers, options
        self.asked, self.ended = {}, []
        self.progress = ((), "stop")
        self.is_closed = False

    def begin(self, key, tokens, media, **how):
        if isinstance(self.progress, ConfigurationError):
            raise self.progress
        self.asked[key] = how

    def step(self):
        if isinstance(self.progress, Exception):
            raise self.progress
        tokens, reason = self.progress
        return [Progress(key, tuple(tokens), (), reason) for key in self.asked]

    def end(self, key):
        self.ended.append(key)

    def close(self):
        self.is_closed = True


@pytest.fixture(scope="module")
def pair():
    return small_runs.small_model()


@pytest.fixture
def engine(pair, monkeypatch, tmp_path):
    monkeypatch.setattr(vllm_engine, "Writer", ScriptedWriter)
    made = VllmEngine(*pair, folder=tmp_path, max_batch=4, max_media=None, options={"max_model_len": 64})
    made.start()
    yield made
    made.close()
    assert made.writer.is_closed


def ask(engine, progress, **how):
    engine.writer.progress = progress
    job = Job("Old?", (), b"", 8, **how)
    engine.submit(job)
    return job.future.result(10)


def test_the_floating_type_is_the_models_and_media_are_limited_only_where_that_is_asked_for(pair, engine, tmp_path):
    assert engine.writer.options == {"dtype": "float32", "max_model_len": 64}
    told = VllmEngine(*pair, folder=tmp_path, max_media=2, options={"dtype": "bfloat16"})
    assert told.writer.options == {"dtype": "bfloat16", "limit_mm_per_prompt": {"image": 2, "video": 2}}


def test_an_answer_that_vllms_context_cuts_off_is_told(pair, engine, caplog):
    words = pair[1].tokenizer.encode("yes no", add_special_tokens=False)
    with caplog.at_level(logging.WARNING):
        answer = ask(engine, (words, "length"))
    assert (answer.text, answer.end.reason) == ("yes no", "length")
    assert f"ends after {len(words)} tokens, where vLLM's context does" in caplog.text


def test_a_refused_request_is_a_400_and_a_broken_engine_an_engine_error(engine):
    with pytest.raises(RequestError, match="too long") as refusal:
        ask(engine, ConfigurationError("vLLM refuses the request: too long"))
    assert refusal.value.status == 400
    with pytest.raises(EngineError, match="vLLM ended the answer"):
        ask(engine, ((), "error"))
    with pytest.raises(EngineError, match=r"vLLM failed \(out of memory\)"):
        ask(engine, RuntimeError("out of memory\nsecond line"))


def test_an_answer_that_leaves_its_json_schema_is_an_error(pair, engine):
    pytest.importorskip("llguidance")
    tokenizer = pair[1].tokenizer
    shape = {"name": "answer", "schema": {"enum": ["yes", "no"]}, "strict": True}
    wanted = JsonSchemaFormat.model_validate({"type": "json_schema", "json_schema": shape})
    grammar = JsonFormats(tokenizer, [tokenizer.eos_token_id]).compile(wanted)
    words = {text: tokenizer.encode(text, add_special_tokens=False) for text in ('"yes"', '"ye')}
    ended = [*words['"yes"'], tokenizer.eos_token_id]
    assert ask(engine, (ended, "stop"), grammar=grammar).text == '"yes"'
    assert engine.writer.asked["1"]["schema"] == grammar.schema
    assert ask(engine, (words['"ye'], "length"), grammar=grammar).end.reason == "length"
    for progress in ((words['"ye'], "stop"), ((), "error")):
        with pytest.raises(RequestError, match="cannot follow the JSON schema any further") as refusal:
            ask(engine, progress, grammar=grammar)
        assert refusal.value.param == "response_format"


def test_an_answer_that_cannot_be_taken_costs_no_other_one(pair, monkeypatch, tmp_path):
    monkeypatch.setattr(vllm_engine, "Writer", ScriptedWriter)
    words = pair[1].tokenizer.encode("yes no", add_special_tokens=False)

    def fail(*given):
        raise LookupError("no such token")

    for reason in (None, "stop"):
        made = VllmEngine(*pair, folder=tmp_path, max_batch=4)
        made.writer.progress = (words, reason)
        broken, at_its_end, whole = (
            Job("Old?", (), b"", 4, on_text=fail), Job("Old?", (), b"", 4, grammar=Broken()), Job("Old?", (), b"", 4)
        )  # fmt: skip
        whole.is_complete = iter([True]).__next__
        for each in (broken, at_its_end, whole):
            if reason == "stop" or each is not at_its_end:
                made.submit(each)
        made.start()
        assert whole.future.result(10).text == "yes no"
        made.close()
        with pytest.raises(LookupError):
            broken.future.result(0)
        if reason == "stop":
            with pytest.raises(LookupError):
                at_its_end.future.result(0)
        assert made.writer.ended == ([] if reason == "stop" else ["1", "2"])


class Broken:
    """A grammar that fails at the end of an answer."""

    schema = "{}"

    def accepts(self, tokens):
        raise LookupError("no such token")


def test_answers_of_a_step_that_failed_are_given_up_in_vllm_too_and_one_that_died_is_told(pair, engine):
    for error, is_working in ((RuntimeError("want of memory"), True), (EngineError("vLLM has failed"), False)):
        assert engine.is_working
        with pytest.raises(EngineError, match=r"vLLM (has )?failed"):
            ask(engine, error)
        assert len(engine.writer.ended) == len(engine.writer.asked)
        assert engine.is_working is is_working
