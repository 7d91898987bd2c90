"""The engine's batches: what goes into one, how long it waits for company, and when each answer is given."""

import gc
import weakref

import pytest
import torch

from facekit.models.sessions import MediumTensors
from facekit.serving import engine as engine_module
from facekit.serving.engine import Engine, Job


@pytest.fixture
def make_engine(served_model):
    engines = []

    def make(**options):
        engines.append(Engine(*served_model, **options))
        return engines[-1]

    yield make
    for engine in engines:
        if engine._thread.is_alive():
            engine.close()


def job(processor, words="Hello", tokens=4, **options):
    chat = [{"role": "user", "content": words}]
    return Job(processor.apply_chat_template(chat, add_generation_prompt=True), (), b"", tokens, **options)


def test_a_batch_waits_for_what_is_being_prepared(served_model, make_engine):
    late, sizes, asked = job(served_model[1], "later"), [], []

    def count_coming():
        asked.append(None)
        if len(asked) == 3:
            engine.submit(late)
        return int(len(asked) < 3)

    engine = make_engine(batch_seconds=0, on_batch=lambda size, _: sizes.append(size), count_coming=count_coming)
    engine.start()
    engine.submit(job(served_model[1]))
    assert late.future.result(30).end.tokens == 4
    engine.close()
    assert sizes == [2]


def test_it_waits_no_longer_than_a_batch_usually_takes_for_what_never_comes(served_model, make_engine):
    sizes = []
    engine = make_engine(on_batch=lambda size, _: sizes.append(size), count_coming=lambda: 1)
    engine._typical_seconds = 0.02
    engine.start()
    first, second = job(served_model[1]), job(served_model[1])
    for each in (first, second):
        engine.submit(each)
        each.future.result(30)
    engine.close()
    assert sizes == [1, 1]


def test_a_full_batch_waits_for_nobody(served_model, make_engine):
    sizes = []
    engine = make_engine(max_batch=2, on_batch=lambda size, _: sizes.append(size), count_coming=lambda: 1)
    engine._typical_seconds = 1e6
    jobs = [job(served_model[1]) for _ in range(4)]
    for each in jobs:
        engine.submit(each)
    engine.start()
    for each in jobs:
        each.future.result(30)
    engine.close()
    assert sizes == [2, 2]


def test_those_who_asked_the_last_time_are_expected_for_a_tenth_of_a_batch(make_engine):
    engine = make_engine()
    engine._typical_seconds, engine._last_size = 2.0, 8
    assert engine._gathering_ends(began=10.0, heard=10.5, size=3) == pytest.approx(10.7)
    assert engine._gathering_ends(began=10.0, heard=10.5, size=8) == 10.5
    assert engine._gathering_ends(began=10.0, heard=11.95, size=3) == 12.0


def test_a_short_answer_is_given_before_the_long_one_of_its_batch_ends(served_model, make_engine):
    short, given, sizes = job(served_model[1], tokens=2), [], []
    long = job(served_model[1], "Tell me more", 12, on_text=lambda piece: given.append(short.future.done()))
    engine = make_engine(on_batch=lambda size, _: sizes.append(size))
    for each in (short, long):
        engine.submit(each)
    engine.start()
    text = long.future.result(30).text
    assert sizes == [] or sizes == [2]
    assert given[0] is False
    assert given[-1] is True
    alone = make_engine()
    again = job(served_model[1], tokens=2)
    alone.submit(again)
    alone.start()
    assert short.future.result(0).text == again.future.result(30).text
    assert text != short.future.result(0).text


def test_what_a_batch_that_failed_held_is_free_before_its_questions_are_asked_one_by_one(
    served_model, make_engine, monkeypatch
):
    real, held = engine_module.answer_together, []

    class Tensors:
        """Of a batch."""

    def fail(model, processor, requests):
        if len(requests) == 1:
            gc.collect()
            held.append(held[0]())
            return real(model, processor, requests)
        tensors = Tensors()
        held.append(weakref.ref(tensors))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engine_module, "answer_together", fail)
    engine = make_engine()
    jobs = [job(served_model[1]), job(served_model[1])]
    for each in jobs:
        engine.submit(each)
    engine.start()
    assert [each.future.result(30).end.tokens for each in jobs] == [4, 4]
    assert held[1:] == [None, None]


def test_a_picture_that_is_kept_keeps_nothing_of_those_that_were_encoded_with_it(served_model, make_engine):
    side = served_model[1].image_processor.image_size
    absent = torch.full((1, 68, 2), torch.nan)
    pictures = [MediumTensors(torch.rand(1, 3, side, side), absent) for _ in range(4)]
    engine = make_engine(cached_media=1)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Old?"}]}]
    prompt = served_model[1].apply_chat_template(chat, add_generation_prompt=True)
    jobs = [Job(prompt, (each,), each.digest(), 2) for each in pictures]
    for each in jobs:
        engine.submit(each)
    engine.start()
    for each in jobs:
        each.future.result(30)
    engine.close()
    (kept,) = engine._encoded.values()
    assert [each.untyped_storage().nbytes() for each in kept.features] == [
        each.numel() * each.element_size() for each in kept.features
    ]
