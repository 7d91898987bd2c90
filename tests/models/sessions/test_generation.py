"""One batch of requests that differ in media, prompt, limit, sampling and listeners."""

from __future__ import annotations

import pytest
import torch

from facekit.errors import ConfigurationError
from facekit.models import Request, Sampling, Session, generate_batch
from facekit.models.media import take_as_cropped, take_clip_as_cropped

QUESTIONS = ["How old?", "Which of the seven expressions does the face show?", "Smile?"]


@pytest.fixture
def sessions(small, picture, points):
    """Sessions about a picture, a clip, and both at once, of one model."""
    face = take_as_cropped(picture.rotate(90), points)
    clip = take_clip_as_cropped([picture, picture.rotate(180)], [points] * 2, 2)
    return [Session.of_media(*small, media) for media in ([face], [clip], [clip, face])]


def requests_of(sessions, limits, **options):
    return [
        session.request(question, max_new_tokens=limits[place % len(limits)], **options)
        for place, (session, question) in enumerate((each, asked) for each in sessions for asked in QUESTIONS)
    ]


def test_a_batch_of_several_media_questions_and_limits_gives_the_answers_of_each_alone(small, sessions):
    requests = requests_of(sessions, [9, 3, 6])
    together = generate_batch(*small, requests)
    assert together == [generate_batch(*small, [request])[0] for request in requests]
    assert len(set(together)) > 3


def test_a_row_ends_at_its_own_limit(small, sessions):
    long, short = (
        generate_batch(*small, requests_of(sessions, limits), min_new_tokens=2) for limits in ([9], [9, 2, 9])
    )
    for place, (whole, cut) in enumerate(zip(long, short, strict=True)):
        if place % 3 == 1:
            assert whole.startswith(cut)
            assert len(cut) < len(whole)
        else:
            assert whole == cut


def test_without_an_end_token_what_is_written_past_a_limit_is_cut(small, sessions):
    model, _ = small
    model.generation_config.eos_token_id = None
    requests = requests_of(sessions, [9, 2])
    assert generate_batch(*small, requests) == [generate_batch(*small, [request])[0] for request in requests]


def test_the_answer_of_a_text_alone_needs_no_media(small):
    model, processor = small
    prompt = processor.apply_chat_template([{"role": "user", "content": "Hello?"}], add_generation_prompt=True)
    request = Request(Session.open_many(model, processor, [[]])[0].media, prompt, 4)
    ids = processor.tokenizer([prompt], return_tensors="pt", add_special_tokens=False)["input_ids"]
    tokens = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=4)
    expected = processor.batch_decode(tokens[:, ids.shape[1] :], skip_special_tokens=True)[0].strip()
    assert generate_batch(model, processor, [request]) == [expected]


def test_the_streamed_pieces_joined_are_the_answer(small, sessions):
    pieces = [[] for _ in range(3)]
    requests = [
        session.request(question, max_new_tokens=limit, on_text=heard.append)
        for session, question, limit, heard in zip(sessions, QUESTIONS, (12, 5, 9), pieces, strict=True)
    ]
    silent = [
        session.request(question, max_new_tokens=limit)
        for session, question, limit in zip(sessions, QUESTIONS, (12, 5, 9), strict=True)
    ]
    answers = generate_batch(*small, requests)
    assert ["".join(heard) for heard in pieces] == answers == generate_batch(*small, silent)
    assert all(len(heard) > 1 for heard in pieces)


def test_pieces_come_while_the_answer_is_written(small, sessions):
    model, _ = small
    steps, heard_at = [], []
    model.language_model.register_forward_hook(lambda *_: steps.append(1))
    request = sessions[0].request("How old?", max_new_tokens=8, on_text=lambda _: heard_at.append(len(steps)))
    generate_batch(*small, [request], min_new_tokens=8)
    assert heard_at[0] < 8
    assert heard_at == sorted(heard_at)


def test_a_request_that_stops_keeps_what_it_has_and_delays_no_other(small, sessions):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) == 3

    stopped = sessions[0].request("How old?", max_new_tokens=12, should_stop=stop)
    others = [session.request("Smile?", max_new_tokens=12) for session in sessions]
    answers = generate_batch(*small, [stopped, *others], min_new_tokens=12)
    whole = generate_batch(*small, [sessions[0].request("How old?", max_new_tokens=3)], min_new_tokens=3)
    assert answers == [*whole, *generate_batch(*small, others, min_new_tokens=12)]
    assert len(asked) == 3


def test_an_answer_that_ends_by_itself_is_no_longer_streamed_or_asked(small, sessions):
    model, _ = small
    ends = set(range(model.config.text_config.vocab_size))
    asked = []
    requests = [
        sessions[0].request("How old?", max_new_tokens=6, should_stop=lambda: asked.append(1) and False),
        sessions[1].request("Smile?", max_new_tokens=4),
    ]
    generate_batch(*small, requests, eos_token_id=sorted(ends))
    assert len(asked) == 1


def test_a_seed_decides_an_answer_whatever_else_is_in_the_batch(small, sessions):
    def sampled(seed):
        return sessions[0].request("How old?", max_new_tokens=10, sampling=Sampling(temperature=2.0, seed=seed))

    greedy = [session.request("Smile?", max_new_tokens=10) for session in sessions]
    alone = {seed: generate_batch(*small, [sampled(seed)])[0] for seed in (1, 2)}
    assert alone[1] != alone[2]
    together = generate_batch(*small, [greedy[0], sampled(2), greedy[1], sampled(1), greedy[2]])
    assert [together[1], together[3]] == [alone[2], alone[1]]
    assert [together[0], together[2], together[4]] == generate_batch(*small, greedy)


def test_without_a_seed_the_global_random_state_decides(small, sessions):
    request = sessions[0].request("How old?", max_new_tokens=10, sampling=Sampling(temperature=3.0))

    def draw(seed):
        torch.manual_seed(seed)
        return generate_batch(*small, [request])

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


def test_what_a_batch_cannot_do_is_told(small, sessions):
    request, sampled = (
        sessions[0].request("How old?", max_new_tokens=3, sampling=each) for each in (None, Sampling(seed=1))
    )
    with pytest.raises(ConfigurationError, match="no request"):
        generate_batch(*small, [])
    with pytest.raises(ConfigurationError, match="need rows that are alike"):
        generate_batch(*small, [request, sessions[0].request("Old?", max_new_tokens=4)], num_beams=2)
    with pytest.raises(ConfigurationError, match="need rows that are alike"):
        generate_batch(*small, [sampled], num_return_sequences=2)
    with pytest.raises(ConfigurationError, match="leave do_sample out"):
        generate_batch(*small, [sampled], do_sample=True)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"temperature": 0.0}, "temperature=0.0"), ({"temperature": float("nan")}, "temperature=nan"),
     ({"top_p": 0.0}, "top_p=0.0"), ({"top_p": 1.5}, "top_p=1.5"), ({"top_k": -1}, "top_k=-1")],
)  # fmt: skip
def test_sampling_out_of_range_is_refused(values, message):
    with pytest.raises(ConfigurationError, match=message):
        Sampling(**values)
