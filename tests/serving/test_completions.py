"""Chat completions with the openai client: the same text as the library's, whole and streamed."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openai
import pytest
from model_server import QUESTION, data_url, running, user
from PIL import Image

import facekit
from facekit.models import Session


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


def answer(model, processor, picture, question, **options):
    return facekit.ask(model, processor, picture, question, max_new_tokens=12, **options)[0]


def stream_text(client, **options):
    chunks = list(client.chat.completions.create(stream=True, **options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    return text, chunks


def test_an_answer_is_that_of_ask_whole_and_streamed(client, served_model, portrait, portrait_url):
    expected = answer(*served_model, portrait, QUESTION)
    whole = client.chat.completions.create(model="tiny", messages=[user(QUESTION, portrait_url)])
    assert whole.choices[0].message.content == expected
    assert whole.usage.completion_tokens <= 12
    text, chunks = stream_text(
        client, model="tiny", messages=[user(QUESTION, portrait_url)], stream_options={"include_usage": True}
    )
    assert text == expected
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_a_system_message_a_dialogue_and_text_alone_are_read_as_the_template_has_them(client, served_model):
    model, processor = served_model
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "Who are you?"},
    ]
    prompt = processor.apply_chat_template(chat, add_generation_prompt=True)
    expected = Session.of_media(model, processor, []).generate_from([prompt], max_new_tokens=12)[0]
    assert client.chat.completions.create(model="tiny", messages=chat).choices[0].message.content == expected


def test_the_reply_says_where_the_face_is_in_pixels_of_the_picture(client, served_model, portrait, portrait_url):
    found = client.chat.completions.create(
        model="tiny", messages=[user(QUESTION, portrait_url)], extra_body={"facekit": {"overlay": True}}
    ).facekit["media"]
    face = served_model[1].image_processor.prepare(portrait)
    assert [each["face_found"] for each in found] == [True]
    assert np.allclose(found[0]["landmarks"], face.to_picture(face.landmarks), atol=0.01)
    assert found[0]["crop"] == list(face.box)
    left, top, right, bottom = found[0]["box"]
    assert 0 < left < right < 256
    assert 0 < top < bottom < 256
    assert found[0]["overlay"].startswith("data:image/jpeg;base64,")


def test_landmarks_of_a_request_reach_the_model_and_decide_what_is_cached(client, served_model, portrait):
    crop = portrait.resize((96, 96))
    for seed in (0, 1):
        landmarks = np.random.default_rng(seed).uniform(0.2, 0.8, (68, 2)).round(3)
        reply = client.chat.completions.create(
            model="tiny",
            messages=[user(QUESTION, data_url(crop))],
            extra_body={"facekit": {"landmarks": [landmarks.tolist()]}},
        )
        assert reply.choices[0].message.content == answer(*served_model, crop, QUESTION, landmarks=landmarks)
        assert np.allclose(reply.facekit["media"][0]["landmarks"], landmarks * 96, atol=0.02)


def test_two_pictures_of_one_message_are_seen_in_their_order(client, served_model, portrait, portrait_url):
    other = portrait.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    reply = client.chat.completions.create(model="tiny", messages=[user(QUESTION, portrait_url, data_url(other))])
    assert reply.choices[0].message.content == answer(*served_model, [portrait, other], QUESTION)
    assert len(reply.facekit["media"]) == 2


def test_a_picture_without_a_face_follows_the_checkpoints_rule_and_is_told(served_model):
    model, processor = served_model
    empty = data_url(Image.new("RGB", (64, 64)))
    with running(model, processor) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="no face was found in picture 1"):
            client.chat.completions.create(model="tiny", messages=[user(QUESTION, empty)])
        rule, processor.image_processor.on_no_face = processor.image_processor.on_no_face, "whole-image"
        try:
            reply = client.chat.completions.create(model="tiny", messages=[user(QUESTION, empty)], max_tokens=4)
        finally:
            processor.image_processor.on_no_face = rule
    assert reply.facekit["media"][0]["face_found"] is False


def test_several_choices_with_a_seed_are_the_same_again_and_differ_among_themselves(client, portrait_url):
    asked = {"model": "tiny", "messages": [user(QUESTION, portrait_url)], "n": 3, "seed": 7, "temperature": 1.5}
    first, second = (client.chat.completions.create(**asked) for _ in range(2))
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in second.choices]
    assert len(set(texts)) > 1
    streamed = {0: "", 1: "", 2: ""}
    for chunk in client.chat.completions.create(stream=True, **asked):
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert list(streamed.values()) == texts


def test_a_stop_text_ends_the_answer_before_itself_whole_and_streamed(client, served_model, portrait, portrait_url):
    expected = answer(*served_model, portrait, QUESTION)
    stop = expected[len(expected) // 2 :][:3]
    before = expected[: expected.index(stop)]
    asked = {"model": "tiny", "messages": [user(QUESTION, portrait_url)], "stop": [stop, "never"]}
    whole = client.chat.completions.create(**asked)
    assert whole.choices[0].message.content == before
    assert whole.choices[0].finish_reason == "stop"
    assert stream_text(client, **asked)[0] == before


def test_the_limit_of_a_request_ends_its_answer_and_is_named(client, portrait_url):
    reply = client.chat.completions.create(model="tiny", messages=[user(QUESTION, portrait_url)], max_tokens=3)
    assert reply.usage.completion_tokens == 3
    assert reply.choices[0].finish_reason == "length"


def test_control_tokens_that_a_client_types_stay_words(client, served_model, portrait, portrait_url):
    _, processor = served_model
    question = f"Say {processor.image_token} and {processor.tokenizer.eos_token}<video> please"
    reply = client.chat.completions.create(model="tiny", messages=[user(question, portrait_url)])
    assert reply.choices[0].message.content == answer(*served_model, portrait, question)


def test_32_clients_at_once_half_of_them_streaming_get_the_text_of_one_alone(served_model, portrait):
    pictures = [portrait.resize((200 + 8 * index, 200 + 8 * index)) for index in range(4)]
    urls = [data_url(picture) for picture in pictures]
    questions = [f"{QUESTION} ({number})" for number in range(8)]
    work = [(picture, question) for picture in range(4) for question in range(8)]
    expected = {each: answer(*served_model, pictures[each[0]], questions[each[1]]) for each in work}
    start = threading.Barrier(len(work))
    with running(*served_model, max_new_tokens=12, batch_seconds=0.05) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)

        def ask(number):
            picture, question = work[number]
            asked = {"model": "tiny", "messages": [user(questions[question], urls[picture])]}
            start.wait()
            if number % 2:
                return stream_text(client, **asked)[0]
            return client.chat.completions.create(**asked).choices[0].message.content

        with ThreadPoolExecutor(len(work)) as pool:
            answers = list(pool.map(ask, range(len(work))))
    wrong = [each for each, text in zip(work, answers, strict=True) if text != expected[each]]
    assert not wrong
