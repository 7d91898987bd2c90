"""Answers from a common beginning that is read once are those of the prompts one by one."""

from __future__ import annotations

import pytest

from facekit.errors import ConfigurationError
from facekit.models.media import take_as_cropped, take_clip_as_cropped
from facekit.models.sessions import Request, Session, generate_batch, iterate_answers

QUESTIONS = ["How old?", "Smile?", "Which of the seven expressions does the face show?", "Hat?", "Is it a real face?"]
LENGTH = {"max_new_tokens": 8, "min_new_tokens": 8}


@pytest.fixture
def open_session(picture, points):
    """A function from a model and its processor to a session about a picture."""
    return lambda model, processor: Session.open(model, processor, picture, landmarks=points)


def answer_alone(session, questions, **options):
    return [session.generate(question, **options)[0] for question in questions]


@pytest.mark.parametrize("batch_size", [2, 64])
@pytest.mark.parametrize("backbone", ["tiny", "hf-llama", "hf-qwen2", "hf-gemma3"])
def test_answers_are_those_of_each_question_alone(compose, open_session, backbone, batch_size):
    session = open_session(*compose(backbone=backbone))
    together = session.generate(QUESTIONS, batch_size=batch_size, **LENGTH)
    assert together == answer_alone(session, QUESTIONS, **LENGTH)
    assert len({*together}) > 1


@pytest.mark.parametrize("count", [2, 40])
def test_identical_questions_each_get_their_answer(small, open_session, count):
    session = open_session(*small)
    alone = answer_alone(session, QUESTIONS[:2], **LENGTH)
    assert session.generate([QUESTIONS[0]] * count, batch_size=7, **LENGTH) == [alone[0]] * count
    mixed = [QUESTIONS[0], QUESTIONS[1], QUESTIONS[0], QUESTIONS[0]]
    assert session.generate(mixed, **LENGTH) == [alone[0], alone[1], alone[0], alone[0]]
    assert alone[0] != alone[1]


def test_a_prompt_that_begins_another_is_answered_by_itself(small, open_session):
    session = open_session(*small)
    prompt = session.write_prompt(QUESTIONS[0])
    prompts = [prompt, prompt + "It", prompt + "It is"]
    alone = [session.generate_from([each], **LENGTH)[0] for each in prompts]
    assert session.generate_from(prompts, **LENGTH) == alone


def count_tokens(model):
    seen = []
    model.language_model.register_forward_pre_hook(
        lambda module, given, named: seen.append(tuple(named["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    return seen


def test_the_common_beginning_is_read_once(small, open_session):
    model, processor = small
    session = open_session(model, processor)
    seen = count_tokens(model)
    session.generate(QUESTIONS, max_new_tokens=3, min_new_tokens=3, batch_size=3)
    prompts = [session.write_prompt(question) for question in QUESTIONS]
    lengths = sorted(len(ids) for ids in processor.tokenize(prompts)["input_ids"])
    shared = seen[0][1]
    assert shared > processor.tokens_per_frame
    reads, steps = [shape for shape in seen if shape[1] > 1], [shape for shape in seen if shape[1] == 1]
    assert reads == [(1, shared), (3, lengths[2] - shared), (2, lengths[4] - shared)]
    assert steps == [(3, 1), (3, 1), (2, 1), (2, 1)]


def test_it_is_read_once_for_different_limits_too_and_no_row_waits_for_a_longer_one(small, open_session):
    model, processor = small
    session = open_session(model, processor)
    limits = [2, 5, 2, 5, 2]
    requests = [session.request(each, max_new_tokens=limit) for each, limit in zip(QUESTIONS, limits, strict=True)]
    seen = count_tokens(model)
    answers = dict(iterate_answers(model, processor, requests, min_new_tokens=2))
    reads, steps = [shape for shape in seen if shape[1] > 1], [shape for shape in seen if shape[1] == 1]
    assert [shape[0] for shape in reads] == [1, 3, 2]
    assert reads[0][1] > processor.tokens_per_frame
    assert steps[0] == (3, 1)
    assert set(steps[1:]) == {(2, 1)}
    for index, (question, limit) in enumerate(zip(QUESTIONS, limits, strict=True)):
        assert answers[index] == session.generate(question, max_new_tokens=limit, min_new_tokens=2)


def test_one_question_about_many_pictures_is_one_batch_without_padding(small, points, picture):
    model, processor = small
    pictures = [picture.rotate(90 * turn) for turn in range(3)]
    sessions = [Session.open(model, processor, each, landmarks=points) for each in pictures]
    seen = count_tokens(model)
    requests = [session.request(question, max_new_tokens=1) for session in sessions for question in QUESTIONS[:2]]
    answers = dict(iterate_answers(model, processor, requests, shared_from=3))
    assert [shape[0] for shape in seen] == [3, 3]
    alone = [answer_alone(session, QUESTIONS[:2], max_new_tokens=1) for session in sessions]
    assert [answers[index][0] for index in range(6)] == [answer for each in alone for answer in each]


def test_a_window_that_padding_would_shift_is_answered_without_padding(compose, open_session):
    model, processor = compose(backbone="hf-gemma3")
    assert model.config.get_text_config().sliding_window == 16
    session = open_session(model, processor)
    seen = count_tokens(model)
    session.generate([*QUESTIONS, QUESTIONS[1]], max_new_tokens=1)
    assert sorted(shape[0] for shape in seen) == [1, 1, 1, 1, 1, 2]


def test_a_clip_is_answered_as_an_image_is(small, picture, points):
    model, processor = small
    clip = take_clip_as_cropped([picture, picture.rotate(90), picture], [points] * 3, 3)
    session = Session.of_media(model, processor, [clip])
    assert session.media.frames == (3,)
    assert session.generate(QUESTIONS, **LENGTH) == answer_alone(session, QUESTIONS, **LENGTH)


def test_several_media_of_different_length_share_their_beginning_too(small, picture, points):
    model, processor = small
    clip = take_clip_as_cropped([picture, picture.rotate(90), picture], [points] * 3, 3)
    session = Session.of_media(model, processor, [take_as_cropped(picture, points), clip])
    together = session.generate(QUESTIONS, **LENGTH)
    assert together == answer_alone(session, QUESTIONS, **LENGTH)
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "video"}, {"type": "text", "text": QUESTIONS[0]}]}]
    inputs = processor(
        images=picture, videos=[[picture, picture.rotate(90), picture]], text=chat, landmarks=[points],
        video_landmarks=[[points] * 3],
    )  # fmt: skip
    tokens = model.generate(**inputs, do_sample=False, **LENGTH)[:, inputs["input_ids"].shape[1] :]
    assert together[0] == processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()


def test_prompts_that_begin_differently_are_answered_too(small, open_session):
    session = open_session(*small)
    prompts = [session.write_prompt("How old?"), session.write_prompt("Old?", "Look closely.")]
    together = session.generate_from(prompts, **LENGTH)
    assert together == [session.generate_from([prompt], **LENGTH)[0] for prompt in prompts]


@pytest.mark.parametrize("options", [{"num_beams": 2}, {"use_cache": False}])
def test_beams_and_generation_without_cache_are_left_to_whole_prompts(small, open_session, options):
    session = open_session(*small)
    together = session.generate(QUESTIONS[:2], max_new_tokens=4, **options)
    assert together == answer_alone(session, QUESTIONS[:2], max_new_tokens=4, **options)


def test_several_answers_to_each_question_come_in_order(small, open_session):
    session = open_session(*small)
    options = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 4}
    alone = [answer for question in QUESTIONS[:2] for answer in session.generate(question, **options)]
    assert session.generate(QUESTIONS[:2], **options) == alone
    assert len(alone) == 4


def test_what_cannot_be_answered_is_told(small, open_session):
    model, processor = small
    session = open_session(model, processor)
    with pytest.raises(ConfigurationError, match="no question"):
        session.generate([])
    with pytest.raises(ConfigurationError, match="no prompt"):
        session.generate_from([])
    with pytest.raises(ConfigurationError, match="batch_size=0"):
        session.generate(QUESTIONS, batch_size=0)
    with pytest.raises(ConfigurationError, match="max_new_tokens=0"):
        session.generate(QUESTIONS, max_new_tokens=0)
    with pytest.raises(ConfigurationError, match="2 image and video tokens, but frames for 1"):
        session.generate_from([processor.image_token * 2])


def test_a_prompt_longer_than_the_context_is_refused_before_it_is_read(compose, open_session):
    model, processor = compose()
    session = open_session(model, processor)
    seen = count_tokens(model)
    with pytest.raises(ConfigurationError, match=r"a prompt has \d+ tokens, .* reads 2048; ask a shorter question"):
        session.generate(["Old?", "Is it so? " * 1000])
    with pytest.raises(ConfigurationError, match="reads 2048"):
        session.score("Is it so? " * 1000, ["yes"])
    assert seen == []


def test_an_answer_ends_where_the_context_does_and_that_is_told(compose, open_session, caplog):
    model, processor = compose()
    session = open_session(model, processor)
    prompts = [session.write_prompt(question) for question in QUESTIONS]
    lengths = [len(row) for row in processor.tokenize(prompts, frames=1)["input_ids"]]
    room = {"max_new_tokens": max(lengths) + 3 - lengths[0]}
    expected = session.generate(QUESTIONS[0], **room)
    assert len({*session.generate(QUESTIONS[0], max_new_tokens=100), *expected}) == 2
    assert not caplog.text
    model.config.get_text_config().max_position_embeddings = context = max(lengths) + 3
    assert session.generate(QUESTIONS[0], max_new_tokens=100) == expected
    assert f"1 of 1 answers end after {room['max_new_tokens']} tokens or more" in caplog.text
    together = session.generate(QUESTIONS, max_new_tokens=100)
    assert together[0] == expected[0]
    assert f"5 of 5 answers end after 3 tokens or more, where the language model's context of {context}" in caplog.text
    requests = [Request(session.media, prompt, 100) for prompt in prompts]
    assert generate_batch(model, processor, requests) == together


def test_nothing_to_answer_gives_no_answer(small):
    model, processor = small
    assert list(iterate_answers(model, processor, [])) == []


def test_requests_of_one_prompt_but_other_frames_do_not_mix(small, picture, points):
    model, processor = small
    sessions = [
        Session.of_media(model, processor, [take_clip_as_cropped([picture] * count, [points] * count, count)])
        for count in (2, 3)
    ]
    requests = [Request(session.media, session.write_prompt("Old?"), 3) for session in sessions]
    assert requests[0].prompt == requests[1].prompt
    answers = dict(iterate_answers(model, processor, requests))
    assert [answers[0], answers[1]] == [session.generate("Old?", max_new_tokens=3) for session in sessions]
