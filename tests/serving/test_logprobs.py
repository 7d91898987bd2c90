"""Log-probabilities of answers: those of a plain forward pass, whole and streamed, token by token."""

import math

import openai
import pytest
import torch
from model_server import QUESTION, user

from facekit.models.sessions import TokenScore, write_prompt
from facekit.serving.token_scores import TokenWriter


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def forward(served_model, portrait):
    """The greedy answer's tokens, and the log-probabilities of all tokens before each."""
    model, processor = served_model
    prompt = write_prompt(processor, QUESTION)
    inputs = processor(images=[portrait], text=[prompt])
    length = inputs["input_ids"].shape[1]
    with torch.inference_mode():
        tokens = model.generate(**inputs, max_new_tokens=12, do_sample=False)
        inputs |= {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        logs = model(**inputs).logits[0, length - 1 : -1].log_softmax(dim=-1)
    written = tokens[0, length:].tolist()
    return [token for token in written if token != processor.tokenizer.eos_token_id], logs


def test_log_probabilities_are_those_of_a_plain_forward_pass(client, served_model, portrait_url, forward):
    tokens, logs = forward
    reply = client.chat.completions.create(
        model="tiny", messages=[user(QUESTION, portrait_url)], logprobs=True, top_logprobs=5
    )
    content = reply.choices[0].logprobs.content
    writer = TokenWriter(served_model[1].tokenizer)
    assert [bytes(each.bytes) for each in content] == [writer.content(token) for token in tokens]
    for each, token, row in zip(content, tokens, logs, strict=False):
        assert each.logprob == pytest.approx(float(row[token]), abs=1e-5)
        best = row.topk(5)
        assert [other.logprob for other in each.top_logprobs] == pytest.approx(best.values.tolist(), abs=1e-5)
        assert bytes(each.top_logprobs[0].bytes) == writer.content(int(best.indices[0]))
    assert b"".join(bytes(each.bytes) for each in content).decode("utf-8", "replace").strip() == (
        reply.choices[0].message.content
    )


def test_a_stream_has_the_same_log_probabilities_beside_its_pieces(client, portrait_url):
    asked = {"model": "tiny", "messages": [user(QUESTION, portrait_url)], "logprobs": True, "top_logprobs": 2, "n": 2}
    whole = client.chat.completions.create(**asked).choices
    found, texts = {0: [], 1: []}, {0: "", 1: ""}
    for chunk in client.chat.completions.create(stream=True, **asked):
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        if choice.logprobs is not None:
            found[choice.index] += choice.logprobs.content
    for index, choice in enumerate(whole):
        assert texts[index] == choice.message.content
        assert [each.bytes for each in found[index]] == [each.bytes for each in choice.logprobs.content]
        assert [each.logprob for each in found[index]] == pytest.approx(
            [each.logprob for each in choice.logprobs.content], abs=1e-5
        )


def test_sampling_does_not_change_what_the_model_held_a_token_for(client, portrait_url, forward):
    reply = client.chat.completions.create(
        model="tiny", messages=[user(QUESTION, portrait_url)], logprobs=True, temperature=2, seed=1, max_tokens=1,
        top_logprobs=20,
    ).choices[0]  # fmt: skip
    (first,) = reply.logprobs.content
    assert [each.logprob for each in first.top_logprobs] == pytest.approx(
        forward[1][0].topk(20).values.tolist(), abs=1e-5
    )


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_behind_a_stop_text_are_left_out(client, portrait_url, stream):
    asked = {"model": "tiny", "messages": [user(QUESTION, portrait_url)], "logprobs": True}
    all_tokens = client.chat.completions.create(**asked).choices[0]
    words = all_tokens.message.content
    stop = words[len(words) // 2 :][:3]
    asked["stop"] = stop
    if stream:
        chunks = [chunk.choices[0] for chunk in client.chat.completions.create(stream=True, **asked)]
        content = [each for choice in chunks if choice.logprobs for each in choice.logprobs.content]
    else:
        content = client.chat.completions.create(**asked).choices[0].logprobs.content
    told = b"".join(bytes(each.bytes) for each in content).decode("utf-8", "replace").strip()
    before = words[: words.index(stop)]
    assert told.startswith(before)
    assert len(content) < len(all_tokens.logprobs.content)


def test_without_being_asked_for_there_are_none(client, portrait_url):
    reply = client.chat.completions.create(model="tiny", messages=[user(QUESTION, portrait_url)], max_tokens=2)
    assert reply.choices[0].logprobs is None


def test_bytes_of_a_token_are_those_that_its_text_is_made_of(served_model):
    tokenizer = served_model[1].tokenizer
    writer = TokenWriter(tokenizer)
    words = "Zoë, 30 — 笑顔 🙂"
    ids = tokenizer(words, add_special_tokens=False)["input_ids"]
    assert b"".join(map(writer.content, ids)).decode() == words
    assert writer.content(tokenizer.eos_token_id) == tokenizer.eos_token.encode()
    assert writer.write(TokenScore(ids[0], -math.inf))["logprob"] == -9999.0
