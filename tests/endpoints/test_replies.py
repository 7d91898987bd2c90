"""Chat completions as they come: ends, parts, errors in place of answers, and what was charged all the same."""

import json

import pytest

from facekit.endpoints.replies import ErrorReplyError, parse_completion
from facekit.endpoints.requests import ANSWER_SCHEMA, AnswerSchema, TemporaryCallError, UnreadableReplyError, Usage

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100}
RATING = AnswerSchema("rating", {"type": "object"})


def completion(content="The face is oval.", end="stop", **fields):
    choice = {"index": 0, "finish_reason": end, "message": {"role": "assistant", "content": content}}
    return json.dumps({"choices": [choice], "model": "served", "usage": USAGE, **fields})


def read(body, schema=ANSWER_SCHEMA):
    return parse_completion(body, schema, "asked")


@pytest.mark.parametrize(("end", "meaning"), [
    ("stop", "stop"), ("STOP", "stop"), ("eos", "stop"), ("end_turn", "stop"), (None, "stop"),
    ("length", "length"), ("MAX_TOKENS", "length"), ("model_length", "length"),
    ("content_filter", "content_filter"), ("safety", "content_filter"), ("SAFETY", "content_filter"),
    ("PROHIBITED_CONTENT", "content_filter"), ("RECITATION", "content_filter"), ("sensitive", "content_filter"),
    ("content_filter: PROHIBITED_CONTENT", "content_filter"), ("model_context_window_exceeded", "length"),
])  # fmt: skip
def test_the_ends_that_endpoints_name_are_three(end, meaning):
    assert read(completion(end=end)).finish_reason == meaning


@pytest.mark.parametrize("end", ["error", "abort", "OTHER", "tool_calls", "", 7])
def test_an_end_that_is_no_end_is_another_try_and_what_was_charged_is_known(end):
    with pytest.raises(TemporaryCallError, match="the answer ended with") as caught:
        read(completion(end=end))
    assert caught.value.answered
    assert caught.value.usage == Usage(1000, 100)


def test_an_input_that_is_filtered_before_it_is_answered_has_no_message():
    choice = {"index": 0, "finish_reason": "content_filter: PROHIBITED_CONTENT"}
    reply = read(completion(choices=[choice]))
    assert (reply.text, reply.finish_reason, reply.completion_tokens) == ("", "content_filter", 100)


@pytest.mark.parametrize(("usage", "written"), [
    ({"prompt_tokens": 20, "completion_tokens": 151, "total_tokens": 553}, 533),
    ({"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81}, 60),
    ({"prompt_tokens": 21, "total_tokens": 81}, 60), ({"prompt_tokens": 20, "total_tokens": 5}, None),
    ({"prompt_tokens": 20, "completion_tokens": 151, "total_tokens": 171}, 151),
    ({"prompt_tokens": 20, "completion_tokens": 151, "total_tokens": 0}, 151),
])  # fmt: skip
def test_tokens_that_were_thought_are_paid_for_where_the_total_alone_has_them(usage, written):
    assert read(completion(usage=usage)).completion_tokens == written


def test_parts_are_joined_without_the_thoughts_among_them():
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": '{"answer": "The '},
        {"type": "reference", "reference_ids": [1]}, {"type": "text", "text": 'face is oval."}'},
    ]  # fmt: skip
    assert read(completion(parts)).text == "The face is oval."


@pytest.mark.parametrize(("fields", "status"), [
    ({"choices": {"error": {"message": "no", "code": 429}}}, 429),
    ({"choices": {"message": "no", "code": "503"}}, 503),
    ({"choices": None, "error": {"message": "no", "code": 402}}, 402),
    ({"choices": [], "error": "no"}, 500),
    ({"choices": [{"error": {"message": "no", "code": "server_error"}}]}, 500),
])  # fmt: skip
def test_an_error_in_place_of_an_answer_stands_for_its_status(fields, status):
    with pytest.raises(ErrorReplyError) as caught:
        read(completion(**fields))
    assert caught.value.status == status
    assert caught.value.usage == Usage(1000, 100)


@pytest.mark.parametrize("body", [
    "", "[]", "null", '{"choices": [{"mess', completion(choices=None), completion(choices=[]),
    completion(choices=[None]),
    completion(choices=[{"message": None}]), completion(choices=[{"finish_reason": "stop"}]),
])  # fmt: skip
def test_what_is_no_completion_is_another_try(body):
    with pytest.raises(TemporaryCallError) as caught:
        read(body)
    assert caught.value.answered
    assert not isinstance(caught.value, UnreadableReplyError)


@pytest.mark.parametrize(
    "content", [None, "", "  ", [], 3, '{"answer": null}', '{"answer": "The fa', "<think>Hm", "<|im_end|>"]
)
def test_an_answer_that_cannot_be_read_says_so_and_what_was_charged(content):
    with pytest.raises(UnreadableReplyError, match=r"^unreadable: ") as caught:
        read(completion(content))
    assert caught.value.usage == Usage(1000, 100)


@pytest.mark.parametrize("content", ['{"answer": "The fa', "<think>Hm", "", "```json"])
def test_an_answer_that_is_cut_off_at_its_longest_keeps_nothing_raw(content):
    reply = read(completion(content, end="length"))
    assert (reply.text, reply.finish_reason) == ("", "length")


def test_of_other_forms_only_thoughts_and_control_tokens_are_taken_away():
    text = '<think>Hm.</think>{"image": 8}<|im_end|>'
    assert read(completion(text), RATING).text == read(completion(text), None).text == '{"image": 8}'
    assert read(completion("<think>Hm."), None).finish_reason == "length"
    with pytest.raises(UnreadableReplyError):
        read(completion("<think>Hm."), RATING)


def test_a_refusal_is_known_by_its_field_and_by_its_key():
    body = json.loads(completion(None))
    body["choices"][0]["message"]["refusal"] = "I will not."
    assert read(body).refusal == "I will not."
    reply = read(completion('{"refusal": "I will not."}'))
    assert (reply.text, reply.refusal) == ("", "I will not.")
    assert read(completion('{"answer": "A face.", "error": "none"}')).refusal is None


def test_counts_that_are_none_are_not_taken_for_numbers():
    for usage in (None, [], {"prompt_tokens": "many", "completion_tokens": -1}, {"prompt_tokens": True}):
        reply = read(completion(usage=usage))
        assert (reply.prompt_tokens, reply.completion_tokens) == (None, None)
    assert read(completion(usage={"input_tokens": 3, "output_tokens": 4.0})).completion_tokens == 4
    assert read(completion(model=None)).model == "asked"
