"""Pictures of the last requests: each is opened and searched once, and what is kept has bounds."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from model_server import data_url, user
from PIL import Image

from facekit.errors import ImageError
from facekit.models.media import take_as_cropped
from facekit.serving import ServerSettings
from facekit.serving.protocol import read_request
from facekit.serving.questions import QuestionReader
from facekit.serving.recent_media import PreparedMedium, RecentMedia, content_key
from facekit.serving.request_error import RequestError


@pytest.fixture
def searched(served_model, monkeypatch):
    """The pictures that faces were looked for in."""
    images = served_model[1].image_processor
    found, prepare = [], images.prepare
    monkeypatch.setattr(images, "prepare", lambda picture: found.append(picture) or prepare(picture))
    return found


def reader(served_model, **settings):
    return QuestionReader(*served_model, ServerSettings("tiny", **settings))


def asked(text, url, **options):
    return read_request({"model": "tiny", "messages": [user(text, url)], "facekit": options})


def medium(served_model, side=8):
    return PreparedMedium.of(served_model[1].image_processor, take_as_cropped(Image.new("RGB", (side, side)), None))


def test_questions_about_one_picture_find_its_face_once(served_model, searched, portrait_url):
    questions = reader(served_model)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda text: questions.read(asked(text, portrait_url)), "abcdefgh"))
    assert len(searched) == 1
    assert len({question.key for question in read}) == 1
    assert read[0].faces[0]["face_found"]
    assert all(question.faces == read[0].faces for question in read)
    fresh = reader(served_model).read(asked("a", portrait_url))
    assert (fresh.key, fresh.faces, fresh.prompt) == (read[0].key, read[0].faces, read[0].prompt)


def test_another_picture_and_other_landmarks_are_another_medium(served_model, searched, portrait, portrait_url):
    questions = reader(served_model)
    points = [np.linspace(low, 0.9, 136).reshape(68, 2).tolist() for low in (0.1, 0.2)]
    keys = [
        questions.read(asked("a", portrait_url)).key,
        questions.read(asked("a", data_url(portrait.resize((200, 200))))).key,
        *(questions.read(asked("a", portrait_url, landmarks=[each])).key for each in points),
    ]
    assert len(set(keys)) == 4
    assert len(searched) == 2


def test_a_server_that_keeps_nothing_looks_each_time(served_model, searched, portrait_url):
    questions = reader(served_model, cached_media=0)
    for text in "ab":
        questions.read(asked(text, portrait_url))
    assert len(searched) == 2


def test_a_picture_that_cannot_be_used_is_told_by_the_number_that_it_has_in_each_request(served_model, portrait_url):
    questions, broken = reader(served_model), "data:image/png;base64,d29yZHM="
    for urls, number in (([broken], 1), ([portrait_url, broken], 2), ([broken], 1)):
        with pytest.raises(RequestError, match=f"^picture {number} is not a picture"):
            questions.read(read_request({"model": "tiny", "messages": [user("a", *urls)]}))


def test_what_was_not_used_for_longest_goes_first(served_model):
    recent, prepared = RecentMedia(2), []

    def get(key):
        recent.get(key, lambda: prepared.append(key) or medium(served_model))

    for key in (b"1", b"2", b"1", b"3", b"1", b"2"):
        get(key)
    assert prepared == [b"1", b"2", b"3", b"2"]


def test_no_more_bytes_are_kept_than_the_bound(served_model):
    one = medium(served_model)
    assert one.size == 8 * 8 * 3 + one.tensors.pixel_values.nbytes + one.tensors.landmarks.nbytes
    recent, prepared = RecentMedia(100, 2 * one.size), []
    for key in (b"1", b"2", b"3", b"3", b"2", b"1"):
        recent.get(key, lambda key=key: prepared.append(key) or medium(served_model))
    assert prepared == [b"1", b"2", b"3", b"1"]
    large = medium(served_model, 400)
    assert recent.get(b"4", lambda: large) is large
    assert recent._entries == {}


def test_a_failure_is_not_kept_and_costs_those_who_wait_nothing(served_model):
    recent, begun, goes_on = RecentMedia(4), threading.Event(), threading.Event()
    one = medium(served_model)

    def fail():
        begun.set()
        goes_on.wait(30)
        raise ImageError("picture 1 is empty")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(recent.get, b"1", fail)
        assert begun.wait(30)
        second = pool.submit(recent.get, b"1", lambda: one)
        goes_on.set()
        assert second.result(30) is one
        with pytest.raises(ImageError, match="empty"):
            first.result(30)


def test_keys_tell_kinds_frames_and_landmarks_apart():
    points = np.zeros((68, 2), np.float32)
    keys = [
        content_key(b"a", "image"),
        content_key(b"a", "video", "mp4", 4),
        content_key(b"a", "video", "mp4", 8),
        content_key(b"b", "image"),
        content_key(b"a", "image", landmarks=points),
        content_key(b"a", "image", landmarks=points + 1),
    ]
    assert len(set(keys)) == len(keys)
