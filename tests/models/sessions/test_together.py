"""Requests of one batch: common beginnings are read once, in one batch too, where that is worth it."""

from __future__ import annotations

import pytest

from facekit.errors import ConfigurationError
from facekit.models.media import take_as_cropped, take_clip_as_cropped
from facekit.models.sessions import Request, Session, answer_together, generate_batch
from facekit.models.sessions import together as together_room

QUESTIONS = ["How old?", "Smile?", "Which of the seven expressions does the face show?", "Hat?"]


def count_tokens(model):
    seen = []
    model.language_model.register_forward_pre_hook(
        lambda module, given, named: seen.append(tuple(named["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    return seen


@pytest.fixture
def open_sessions(picture, points):
    """A function from a model and its processor to sessions about three pictures."""
    pictures = [take_as_cropped(picture.rotate(90 * turn), points) for turn in range(3)]
    return lambda model, processor: [Session.of_media(model, processor, [each]) for each in pictures]


def ask(sessions, limits=(6,)):
    pairs = [(session, question) for session in sessions for question in QUESTIONS]
    return [
        session.request(question, max_new_tokens=limits[place % len(limits)])
        for place, (session, question) in enumerate(pairs)
    ]


def alone(small, requests):
    return [generate_batch(*small, [request])[0] for request in requests]


@pytest.fixture
def cheap_passes(monkeypatch):
    """Sharing is worth it where prompts are as short as here."""
    monkeypatch.setattr(together_room, "PASS_TOKENS", 8)


@pytest.mark.parametrize("backbone", ["tiny", "hf-llama", "hf-qwen2", "hf-gemma3"])
def test_answers_are_those_of_each_request_alone(compose, open_sessions, backbone, cheap_passes):
    parts = compose(backbone=backbone)
    requests = ask(open_sessions(*parts), limits=[6, 3])
    assert answer_together(*parts, requests) == alone(parts, requests)
    assert len({*answer_together(*parts, requests)}) > 2


def test_the_beginnings_of_all_pictures_are_read_as_one_batch_and_all_answers_written_as_one(
    small, open_sessions, cheap_passes
):
    model, processor = small
    requests = ask(open_sessions(*small))
    lengths = [len(ids) for ids in processor.tokenize([each.prompt for each in requests])["input_ids"]]
    seen = count_tokens(model)
    answer_together(*small, requests)
    shared = seen[0][1]
    assert processor.tokens_per_frame < shared < min(lengths)
    assert seen[:2] == [(3, shared), (12, max(lengths) - shared)]
    assert {*seen[2:]} == {(12, 1)}


def test_where_little_is_saved_prompts_are_read_whole(small, open_sessions):
    requests = ask(open_sessions(*small))[::4]
    seen = count_tokens(small[0])
    assert answer_together(*small, requests)
    assert [shape[0] for shape in seen if shape[1] > 1] == [3]


def test_text_alone_and_clips_go_beside_pictures(small, open_sessions, picture, points):
    model, processor = small
    clip = take_clip_as_cropped([picture, picture.rotate(180)], [points] * 2, 2)
    hello = processor.apply_chat_template([{"role": "user", "content": "Hello?"}], add_generation_prompt=True)
    others = [
        Request(Session.open_many(*small, [[]])[0].media, hello, 5),
        *ask([Session.of_media(*small, [clip])])[:2],
    ]
    pictures = ask(open_sessions(*small))
    requests = [others[0], *pictures[:5], others[1], *pictures[5:], others[2]]
    expected = alone(small, requests)
    seen = count_tokens(model)
    assert answer_together(*small, requests) == expected
    assert [shape[0] for shape in seen if shape[1] > 1] == [15], "a batch of their own would cost more than it saves"


def test_a_batch_of_their_own_for_those_that_save_more_than_it_costs(small, open_sessions, cheap_passes):
    model, processor = small
    hello = processor.apply_chat_template([{"role": "user", "content": "Hello?"}], add_generation_prompt=True)
    requests = [Request(Session.open_many(*small, [[]])[0].media, hello, 5), *ask(open_sessions(*small))]
    expected = alone(small, requests)
    seen = count_tokens(model)
    assert answer_together(*small, requests) == expected
    assert [shape[0] for shape in seen if shape[1] > 1] == [3, 12, 1]


def test_a_window_that_padding_would_shift_is_read_whole(compose, open_sessions, cheap_passes):
    parts = compose(backbone="hf-gemma3")
    requests = ask(open_sessions(*parts))
    seen = count_tokens(parts[0])
    answer_together(*parts, requests)
    assert [shape[0] for shape in seen if shape[1] > 1] == [12]


def test_the_end_of_each_row_says_its_answer_before_the_batch_has_ended(small, open_sessions, cheap_passes):
    ends, order = {}, []

    def note(place):
        return lambda end: (ends.update({place: end.text}), order.append(place))

    requests = [
        Request(each.media, each.prompt, each.max_new_tokens, on_end=note(place))
        for place, each in enumerate(ask(open_sessions(*small), limits=[9, 2]))
    ]
    answers = answer_together(*small, requests)
    assert [ends[place] for place in range(len(requests))] == answers
    assert {place % 2 for place in order[:6]} == {1}


def test_no_request_is_refused(small):
    with pytest.raises(ConfigurationError, match="no request"):
        answer_together(*small, [])
