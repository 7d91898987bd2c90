"""The engine's batches: what goes into one, how long it waits for company, and when each answer is given."""

import pytest

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
