"""Chats with pictures as plain text, and what is refused in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from facekit.errors import ConfigurationError
from facekit.models.chat import flatten_chat, is_chat

TOKEN = "<image>"


def user(*entries):
    return [{"role": "user", "content": list(entries)}]


def text(words):
    return {"type": "text", "text": words}


def test_entries_are_joined_by_line_breaks_in_their_order():
    chat = user({"type": "image"}, text("Who is older?"), {"type": "image"})
    assert flatten_chat(chat, TOKEN).messages == [{"role": "user", "content": "<image>\nWho is older?\n<image>"}]


def test_text_content_and_other_keys_are_kept():
    chat = [{"role": "system", "content": "Be brief.", "name": "x"}, {"role": "user", "content": "Hello?"}]
    assert flatten_chat(chat, TOKEN).messages == chat


def test_pictures_are_collected_whatever_their_key():
    chat = user(
        {"type": "image", "path": "a.png"},
        {"type": "image", "url": "b.png"},
        {"type": "image"},
        {"type": "image_url", "image_url": {"url": "https://a.b/c.png"}},
        text("?"),
    )
    assert flatten_chat(chat, TOKEN).images == ["a.png", "b.png", "https://a.b/c.png"]


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("named", ["/etc/hostname", "file:///etc/hostname", "a.png", Path("a.png")])
def test_an_address_reads_no_local_file_unless_asked(kind, named):
    for entry in ({"type": f"{kind}_url", f"{kind}_url": {"url": named}}, {"type": kind, f"{kind}_url": named}):
        with pytest.raises(ConfigurationError, match=rf"{kind}_url names '.*', a file of this machine.*local_files"):
            flatten_chat(user(entry, text("?")), TOKEN)
        flat = flatten_chat(user(entry, text("?")), TOKEN, local_files=True)
        assert (flat.images if kind == "image" else flat.videos) == [named]


def test_an_address_of_the_web_or_a_data_url_is_taken():
    for url in ("http://a.b/c", "HTTPS://a.b/c", "data:image/png;base64,AAAA"):
        assert flatten_chat(user({"type": "image_url", "image_url": {"url": url}}, text("?")), TOKEN).images == [url]


def test_clips_are_collected_apart_and_marked_in_their_place():
    frames = ["0.png", "1.png"]
    chat = user(
        {"type": "video", "video": frames},
        {"type": "image", "path": "a.png"},
        {"type": "video", "path": "b.mp4"},
        {"type": "video"},
        {"type": "video_url", "video_url": {"url": "https://a.b/c.mp4"}},
        text("?"),
    )
    flat = flatten_chat(chat, TOKEN)
    assert (flat.images, flat.videos) == (["a.png"], [frames, "b.mp4", "https://a.b/c.mp4"])
    assert flat.messages[0]["content"] == "<video>\n<image>\n<video>\n<video>\n<video>\n?"
    assert "<clip>" in flatten_chat(chat, TOKEN, "<clip>").messages[0]["content"]


def test_the_chat_given_is_not_changed():
    chat = user({"type": "image"}, text("Hm?"))
    flatten_chat(chat, TOKEN)
    assert chat == user({"type": "image"}, text("Hm?"))


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        (user({"type": "image"}), "has no words"),
        (user({"type": "image"}, text("  \n")), "has no words"),
        ([{"role": "user", "content": ""}], "has no words"),
        (user(text("What is <image> here?")), "holds the image token '<image>'"),
        ([{"role": "assistant", "content": "an <image>"}], "holds the image token"),
        ([{"content": "Hello"}], "no 'role'"),
        ([{"role": "user", "content": None}], "neither text nor a list"),
        (user({"type": "audio"}, text("?")), "'text', 'image' or 'video', not 'audio'"),
        (user(text("What is <video> here?")), "holds the video token '<video>'"),
        (user({"type": "video"}), "has no words"),
        (user({"type": "text"}), "not 'text'"),
    ],
)
def test_what_cannot_be_asked_is_refused(chat, message):
    with pytest.raises(ConfigurationError, match=message):
        flatten_chat(chat, TOKEN)


def test_a_chat_is_told_from_a_prompt_and_from_a_list_of_chats():
    assert is_chat(user(text("a")))
    assert not is_chat("a")
    assert not is_chat([user(text("a"))])
    assert not is_chat([])
