"""The engine vllm behind facekit's server: jobs begin and end one by one. A stand-in writes in place of vLLM."""

from __future__ import annotations

import threading

import pytest
import small_runs
import torch

from facekit.compat.vllm.engine import Progress
from facekit.errors import ConfigurationError, EngineError
from facekit.models.sessions import MediumTensors, Sampling
from facekit.serving.engine import Job
from facekit.serving.request_error import RequestError
from facekit.serving.vllm import engine as vllm_engine
from facekit.serving.vllm.engine import VllmEngine, collapse

WORDS = [70, 71, 72, 73]


class StandIn:
    """Writes the words 70 to 73, one a step, to every answer; ``tests/real`` has the real ``Writer``."""

    marks = {"image": 7, "video": 9000}  # noqa: RUF012

    def __init__(self, folder, max_answers, options):
        self.folder, self.options, self.begun, self.written = folder, options, {}, {}
        self.together, self.is_closed, self.gate = [], False, threading.Event()
        self.gate.set()

    def begin(self, key, tokens, media, **settings):
        if settings["max_tokens"] == 13:
            raise ConfigurationError("vLLM refuses the request: too long")
        self.begun[key] = (tokens, media, settings)
        self.written[key] = 0

    def end(self, key):
        del self.written[key]

    def step(self):
        self.gate.wait(5)
        self.together.append(len(self.written))
        for key in list(self.written):
            place = self.written[key]
            if WORDS[place] == 72 and self.begun[key][2]["max_tokens"] == 14:
                raise RuntimeError("out of memory")
            self.written[key] += 1
            is_last = place + 1 == min(len(WORDS), self.begun[key][2]["max_tokens"])
            reason = None if not is_last else "length"
            if is_last:
                del self.written[key]
            yield Progress(key, (WORDS[place],), ((-0.5, ((WORDS[place], -0.5), (1, -2.0))),), reason)

    def close(self):
        self.is_closed = True


@pytest.fixture(scope="module")
def parts():
    return small_runs.small_model("mlp")


@pytest.fixture
def engine(parts, monkeypatch, tmp_path):
    monkeypatch.setattr(vllm_engine, "Writer", StandIn)
    made = VllmEngine(*parts, folder=tmp_path, max_batch=2, max_media=3, options={"dtype": "float32"})
    made.start()
    yield made
    made.close()


def job(processor, media=(), **options):
    content = [{"type": "video" if each.is_clip else "image"} for each in media]
    chat = [{"role": "user", "content": [*content, {"type": "text", "text": "Who is <image>?"}]}]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    return Job(prompt, tuple(media), b"", **{"max_new_tokens": 4, **options})


def medium(frames=1, *, is_clip=False):
    return MediumTensors(torch.rand(frames, 3, 64, 64), torch.rand(frames, 68, 2), is_clip=is_clip)


def test_each_medium_becomes_one_mark_again():
    assert collapse([1, 7, 7, 7, 2, 7, 7, 3], 7, [3, 2], [7, 90]) == [1, 7, 2, 90, 3]
    assert collapse([1, 7, 7, 7, 7, 3], 7, [2, 2], [90, 7]) == [1, 90, 7, 3], "they may stand beside each other"


def test_prompts_reach_vllm_with_one_mark_for_each_medium_and_words_that_stay_words(engine, parts):
    model, processor = parts
    picture, clip = medium(), medium(2, is_clip=True)
    engine.submit(asked := job(processor, [picture, clip]))
    assert asked.future.result(10).end.tokens == 4
    (tokens, media, settings), *_ = engine.writer.begun.values()
    image = model.config.image_token_id
    assert [token for token in tokens if token in (image, 9000)] == [image, 9000]
    assert media["image"][0][1] is picture
    assert media["video"][0][1] is clip
    assert media["image"][0][0] != media["video"][0][0]
    assert settings["sampling"] == {"temperature": 0.0}
    assert settings["top_tokens"] is None
    assert engine.writer.options == {"dtype": "float32", "limit_mm_per_prompt": {"image": 3, "video": 3}}


def test_answers_are_streamed_with_their_scores_and_the_limit_is_told(engine, parts):
    _, processor = parts
    pieces, scores = [], []
    sampling = Sampling(0.5, 0.9, 3, 11)
    engine.submit(
        asked := job(processor, max_new_tokens=3, sampling=sampling, on_text=pieces.append, on_token=scores.append,
                     top_tokens=1)
    )  # fmt: skip
    answer = asked.future.result(10)
    assert answer.text == processor.tokenizer.decode([70, 71, 72], skip_special_tokens=True).strip()
    assert "".join(pieces) == answer.text
    assert (answer.end.tokens, answer.end.reason) == (3, "length")
    assert [(each.token, each.log_probability, each.most_likely) for each in scores] == [
        (token, -0.5, ((token, -0.5),)) for token in (70, 71, 72)
    ]
    _, _, settings = engine.writer.begun["1"]
    assert settings["sampling"] == {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 11}


def test_an_answer_begins_while_another_is_written_and_no_more_than_the_bound(engine, parts):
    _, processor = parts
    engine.writer.gate.clear()
    jobs = [job(processor) for _ in range(4)]
    for each in jobs:
        engine.submit(each)
    engine.writer.gate.set()
    assert [each.future.result(10).end.tokens for each in jobs] == [4] * 4
    assert max(engine.writer.together) == 2


def test_an_answer_that_is_complete_or_given_up_ends_after_its_token(engine, parts):
    _, processor = parts
    engine.submit(asked := job(processor, is_complete=lambda: True))
    assert (asked.future.result(10).end.reason, asked.future.result().end.tokens) == ("cancelled", 1)
    given_up = job(processor)
    given_up.cancel()
    engine.submit(given_up)
    assert engine.run(lambda: 42).result(10) == 42
    assert len(engine.writer.begun) == 1, "what nobody waits for is not begun"


def test_what_vllm_refuses_is_the_clients_and_what_breaks_it_is_everyones(engine, parts):
    _, processor = parts
    engine.submit(refused := job(processor, max_new_tokens=13))
    with pytest.raises(RequestError, match="vLLM refuses the request") as refusal:
        refused.future.result(10)
    assert refusal.value.status == 400
    engine.submit(broken := job(processor, max_new_tokens=14))
    with pytest.raises(EngineError, match=r"vLLM failed .*out of memory"):
        broken.future.result(10)
    assert engine.run(lambda: 42).result(10) == 42, "the thread lives on"


def test_closing_finishes_what_was_begun_and_ends_vllm(engine, parts):
    _, processor = parts
    engine.submit(asked := job(processor))
    engine.close()
    assert asked.future.result(0).end.tokens == 4
    assert engine.writer.is_closed
