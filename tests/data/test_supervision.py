"""The loss covers the assistant's words and the end of its turn, nothing else, whatever the chat template."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facekit
from facekit.backbones.tiny import load_tiny_tokenizer
from facekit.data.records import Turn
from facekit.data.supervision import (
    IGNORED,
    RenderedConversation,
    encode_conversation,
    render_conversation,
    supervise,
)
from facekit.errors import ConfigurationError, RecordError

TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' "
        "+ '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        "{}<|im_end|>",
    ),
    "llama3": (
        "{{ '<|begin|>' }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
        "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt "
        "%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        "{}<|eot_id|>",
    ),
    "llama2": (
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<s>[INST] ' + message['content'] + "
        "' [/INST]' }}{% else %}{{ ' ' + message['content'] + ' </s>' }}{% endif %}{% endfor %}",
        " {} </s>",
    ),
    "gemma": (
        "{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
        "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        "{}<end_of_turn>",
    ),
    "vicuna": (
        "A chat. {% for message in messages %}{% if message['role'] == 'user' %}USER: {{ message['content'] }} "
        "{% else %}ASSISTANT: {{ message['content'] }}</s>{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}",
        " {}</s>",
    ),
    "marked": (
        "{% for message in messages %}{% if message['role'] == 'assistant' %}bot:{% generation %}"
        "{{ message['content'] + '<eot>' }}{% endgeneration %}{% else %}me> {{ message['content'] }}{% endif %}"
        "{{ '\n' if not loop.last else '' }}{% endfor %}",
        "{}<eot>",
    ),
}
QUESTIONS = ("Which expression?", "How old is it?")
ANSWERS = ("It is happiness.", "About 35 years old.")
CHAT = [
    {"role": role, "content": content}
    for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
    for role, content in (("user", question), ("assistant", answer))
]
TURNS = [Turn(**message) for message in CHAT]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tiny_tokenizer()


@pytest.fixture(scope="module")
def processor():
    return facekit.create(encoder="tiny?width=32&depth=1", connector="mlp", backbone="tiny?width=24&depth=1&heads=2")[1]


def supervised_texts(tokenizer, tokens):
    """Decode every run of labelled tokens by itself."""
    runs, run = [], []
    for label in [*tokens.labels, IGNORED]:
        if label != IGNORED:
            run.append(label)
        elif run:
            runs.append(tokenizer.decode(run))
            run = []
    return runs


@pytest.mark.parametrize("name", TEMPLATES)
def test_exactly_the_answers_and_their_end_of_turn_are_supervised(tokenizer, name):
    template, shape = TEMPLATES[name]
    rendered = render_conversation(tokenizer, CHAT, chat_template=template)
    tokens = supervise(tokenizer, rendered)
    assert supervised_texts(tokenizer, tokens) == [shape.format(answer) for answer in ANSWERS]
    assert tokenizer.decode(tokens.input_ids) == rendered.text


def test_our_own_template_supervises_the_end_token(tokenizer):
    tokens = supervise(tokenizer, render_conversation(tokenizer, CHAT))
    assert supervised_texts(tokenizer, tokens) == [f"{answer}<|end|>" for answer in ANSWERS]
    assert [label for label in tokens.labels if label == tokenizer.eos_token_id] == [tokenizer.eos_token_id] * 2


@pytest.mark.parametrize("name", ["plain", "vicuna"])
def test_templates_given_to_base_models_are_located(tokenizer, name):
    from importlib.resources import files

    template = (files("facekit.backbones") / "chat_templates" / f"{name}.jinja").read_text()
    rendered = render_conversation(tokenizer, CHAT, chat_template=template)
    words = [rendered.text[start:end].strip() for start, end in rendered.spans]
    assert words == [f"{answer}{tokenizer.eos_token}" for answer in ANSWERS]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(alphabet="ab .é<|>\n", min_size=1).filter(str.strip), min_size=1, max_size=3))
def test_any_answers_are_found_again_under_chatml(answers):
    tokenizer = load_tiny_tokenizer()
    chat = [part for a in answers for part in ({"role": "user", "content": "q"}, {"role": "assistant", "content": a})]
    rendered = render_conversation(tokenizer, chat, chat_template=TEMPLATES["chatml"][0])
    assert [rendered.text[start:end] for start, end in rendered.spans] == [f"{a}<|im_end|>" for a in answers]


def test_expansion_moves_the_spans_with_the_text():
    rendered = RenderedConversation("q <i> a1 <i> a2", ((6, 8), (13, 15))).expand("<i>", 3)
    assert rendered.text == "q <i><i><i> a1 <i><i><i> a2"
    assert [rendered.text[start:end] for start, end in rendered.spans] == ["a1", "a2"]


def test_a_template_that_rewrites_the_past_is_refused_with_the_remedy(tokenizer):
    template = (
        "{% for message in messages %}{{ message['role'] + ('!' if loop.last else ':') + message['content'] }}"
        "{% endfor %}"
    )
    with pytest.raises(ConfigurationError, match=r"turn 2 .*\{% generation %\}"):
        render_conversation(tokenizer, CHAT, chat_template=template)


def test_a_tokenizer_without_a_template_is_refused(tokenizer):
    bare = load_tiny_tokenizer()
    bare.chat_template = None
    with pytest.raises(ConfigurationError, match="no chat template"):
        render_conversation(bare, CHAT)


def test_the_image_stands_once_before_the_first_question(processor):
    tokens = encode_conversation(processor, TURNS)
    count = processor.tokens_per_frame
    ids = tokens.input_ids
    first = ids.index(processor.image_token_id)
    assert ids.count(processor.image_token_id) == count
    assert ids[first : first + count] == [processor.image_token_id] * count
    assert supervised_texts(processor.tokenizer, tokens) == [f"{answer}<|end|>" for answer in ANSWERS]


def test_training_tokens_begin_as_the_prompt_that_inference_writes(processor):
    tokens = encode_conversation(processor, TURNS)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}]}
    prompt = processor.apply_chat_template([user], add_generation_prompt=True)
    ids = processor.tokenize([prompt])["input_ids"][0]
    assert tokens.input_ids[: len(ids)] == ids
    assert tokens.labels[: len(ids)] == [IGNORED] * len(ids)
    assert tokens.labels[len(ids)] == tokens.input_ids[len(ids)]


def test_frames_multiply_the_visual_tokens(processor):
    tokens = encode_conversation(processor, TURNS, frames=3)
    assert tokens.input_ids.count(processor.image_token_id) == 3 * processor.tokens_per_frame


def test_too_long_a_conversation_loses_whole_turns(processor):
    whole = encode_conversation(processor, TURNS)
    first = encode_conversation(processor, TURNS[:2])
    cut = encode_conversation(processor, TURNS, max_tokens=len(whole.input_ids) - 1)
    assert cut == first
    with pytest.raises(RecordError, match="no answer that ends within 10 tokens"):
        encode_conversation(processor, TURNS, max_tokens=10)


@pytest.mark.parametrize(
    ("turns", "message"),
    [([], "no assistant turn"), (TURNS[:1], "no assistant turn"), (TURNS[1:2], "no user turn")],
)
def test_conversations_without_both_sides_are_refused(processor, turns, message):
    with pytest.raises(RecordError, match=message):
        encode_conversation(processor, turns)


def test_a_token_that_joins_a_space_to_the_first_word_is_supervised(tokenizer):
    rendered = RenderedConversation("ok: eyeglasses.", ((4, 15),))
    assert tokenizer.tokenize(rendered.text)[-2:] == ["Ġeyeglasses", "."]
    assert supervised_texts(tokenizer, supervise(tokenizer, rendered)) == [" eyeglasses."]
