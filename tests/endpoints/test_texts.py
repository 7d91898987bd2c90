"""The answer comes out of every form that endpoints were seen to send, or is refused; nothing raw is left in it."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facekit.endpoints.texts import UnreadableError, find_json, read_answer, strip_control_tokens, strip_thoughts

ANSWER = "The face is oval, eyes: open, the brows are level."
JSON = json.dumps({"answer": ANSWER})

FORMS = [
    ANSWER, JSON, f"```json\n{JSON}\n```", f"```JSON\n{JSON}\n```", f"~~~ json\n{JSON}\n~~~", f"```json\n{JSON}",
    f"```\n{ANSWER}\n```", f"Here it is:\n```Json\n{JSON}```\nMore?", f"Sure! {JSON} More?", f"{JSON}{JSON}",
    f"<think>A {{face}}.\n</think>\n{JSON}", f"A face. </think>{JSON}", f"<thinking>Hm</thinking>{ANSWER}",
    f"<think>a <think>b</think> c</think>{JSON}", f"[THINK]Hm[/THINK]{JSON}", f"{ANSWER} <think>Right?</think>",
    f"<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>{JSON}<|return|>",
    f"{JSON}<|im_end|>", f"{JSON}</s>", f"{ANSWER}<end_of_turn>\n", f"{ANSWER}<|im_end|>\n<|im_start|>user\nMore?",
    f"<|start_header_id|>assistant<|end_header_id|>\n\n{ANSWER}<|eot_id|>", f"<s>{ANSWER}", f"{ANSWER}<|im_en",
    json.dumps({"Answer": ANSWER}), json.dumps([{"answer": ANSWER}]), json.dumps({"answer": [ANSWER]}),
    json.dumps({"response": ANSWER}), json.dumps({"reason": "So.", "answer": ANSWER}), json.dumps({"answer": JSON}),
    json.dumps(ANSWER), str({"answer": ANSWER}), f'{{"answer": "{ANSWER}",}}',
    json.dumps({"answer": f"<think></think>{ANSWER}"}),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_answer_comes_out_of_every_form(form):
    assert read_answer(form) == ANSWER


@pytest.mark.parametrize(("text", "reason"), [
    ('{"answer": "The face is ov', "cut off"),
    ('```json\n{"answer": "The face', "cut off"),
    ('Sure: {"answer": "The', "cut off"),
    ("<think>The face", "thoughts"),
    ("The face <think> is it", "thoughts"),
    ("<|channel|>analysis<|message|>The face", "thoughts"),
    ('{"answer": null}', "null"),
    ('{"emotion": "joy"}', "no 'answer'"),
    ('{"answer": {"emotion": "joy"}}', "no 'answer'"),
    ('{"properties": {"answer": {"type": "string"}}}', "no 'answer'"),
    ('{"text": "a", "output": "b"}', "several answers"),
    ('["One.", "Two."]', "a list"),
    ('{"answer": 3}', "no text"),
    ("{}", "no 'answer'"),
    ("Look: ```python", "its form"),
    ('{"answer": "A face <|box_start|>(1, 2)"}', "its form"),
])  # fmt: skip
def test_what_has_no_answer_in_it_is_refused_with_a_reason(text, reason):
    with pytest.raises(UnreadableError, match=reason):
        read_answer(text)


WORDS = st.lists(
    st.sampled_from(
        ["the", "face", "is", "oval;", "brows,", "level:", "open", "(closed)", "'soft'", "34", "—", "AU6", "naïve",
         "脸", "мягкий", "e.g.", "[sic]"]
    ),
    min_size=1, max_size=12,
).map(" ".join)  # fmt: skip


def layer(inside):
    """One more form around a text, healthy or broken."""
    return st.builds(
        lambda text, form, cut: form(text)[: len(form(text)) - cut],
        inside,
        st.sampled_from([
            lambda text: json.dumps({"answer": text}), lambda text: json.dumps({"answer": text}, indent=1),
            lambda text: json.dumps({"label": text}), lambda text: json.dumps([text]),
            lambda text: json.dumps([text] * 2), lambda text: json.dumps({"answer": None, "note": text}),
            lambda text: json.dumps({"answer": [text]}),
            lambda text: f"```json\n{text}\n```", lambda text: f"```JSON\n{text}\n```", lambda text: f"```\n{text}```",
            lambda text: f"~~~\n{text}\n~~~", lambda text: f"Here you are:\n{text}\nAnything else?",
            lambda text: f"<think>{text}</think>{text}", lambda text: f"{text}</think>{text}",
            lambda text: f"<think>{text}", lambda text: f"{text}<|im_end|>", lambda text: f"{text}</s>",
            lambda text: f"<|im_start|>assistant\n{text}", lambda text: f"{text}<|im_end|>\n<|im_start|>user\n{text}",
            lambda text: f"<|channel|>final<|message|>{text}<|return|>", lambda text: str({"answer": text}),
        ]),
        st.sampled_from([0, 0, 0, 0, 1, 2, 3, 7]),
    )  # fmt: skip


RAW = ("```", "~~~", "<|", "|>", "<think", "</think", '{"', "{'", '"}', '"answer"', "</s>", "[THINK")


@settings(max_examples=2000, deadline=None)
@given(st.recursive(WORDS, layer, max_leaves=4))
def test_nothing_raw_is_left_in_an_answer(text):
    try:
        answer = read_answer(text)
    except UnreadableError:
        return
    assert not [mark for mark in RAW if mark in answer]


@given(WORDS)
def test_plain_words_are_an_answer_as_they_are(words):
    assert read_answer(words) == words
    assert read_answer(json.dumps({"answer": words})) == words


@given(st.text())
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(UnreadableError):
        assert isinstance(read_answer(text), str)


def test_parts_of_reading_can_be_used_alone():
    assert strip_thoughts("<think>Hm") == ("", True)
    assert strip_thoughts("Oval.") == ("Oval.", False)
    assert strip_control_tokens("<s>Oval.</s>Square.") == "Oval."
    assert find_json('So {"a": 1} or {"a": 2}') == {"a": 2}
    assert find_json("None") is None
