"""The loss covers the assistant's words and the end of its turn, nothing else, whatever the chat template."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_families import FAMILIES, GEMMA2

import facekit
from facekit.backbones.chat_template import CHAT_TEMPLATE_FOLDER
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


PUBLISHED = {
    "llama3": ("<|eot_id|>", ""),
    "qwen2": ("<|im_end|>", ""),
    "gemma3": ("<end_of_turn>", ""),
    "gemma2": ("<end_of_turn>", ""),
    "mistral": ("</s>", ""),
    "phi3": ("<|end|>", "\n<|endoftext|>"),
}


def render_as(family, chat):
    own = FAMILIES["gemma3" if family == "gemma2" else family].build_tokenizer()
    own.chat_template = GEMMA2 if family == "gemma2" else own.chat_template
    return own, render_conversation(own, chat)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("family", PUBLISHED)
def test_every_answer_is_supervised_with_its_end_under_published_templates(family, turns):
    end, closing = PUBLISHED[family]
    chat = (CHAT + CHAT)[: 2 * turns]
    own, rendered = render_as(family, chat)
    answers = [message["content"] for message in chat[1::2]]
    expected = [f"{answer}{end}" for answer in answers]
    expected[-1] += closing
    assert [rendered.text[start:end].lstrip() for start, end in rendered.spans] == expected
    assert rendered.text == own.apply_chat_template(chat, tokenize=False)
    learned = "".join(supervised_texts(own, supervise(own, rendered)))
    assert "".join(learned.split()) == "".join("".join(expected).split())


THOUGHT = "<think>\nHer skin is smooth.\n</think>\n\n"
EMPTY = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("", "", ["Joy.<|im_end|>", f"{EMPTY}35.<|im_end|>"]),
        (THOUGHT, "", ["Joy.<|im_end|>", f"{EMPTY}35.<|im_end|>"]),
        ("", THOUGHT, ["Joy.<|im_end|>", f"{THOUGHT}35.<|im_end|>"]),
        (THOUGHT, THOUGHT, ["Joy.<|im_end|>", f"{THOUGHT}35.<|im_end|>"]),
    ],
)
def test_a_thought_is_supervised_where_qwen3_writes_it(first, last, expected):
    chat = [
        {"role": "user", "content": QUESTIONS[0]},
        {"role": "assistant", "content": f"{first}Joy."},
        {"role": "user", "content": QUESTIONS[1]},
        {"role": "assistant", "content": f"{last}35."},
    ]
    own, rendered = render_as("qwen3", chat)
    assert [rendered.text[start:end] for start, end in rendered.spans] == expected
    assert rendered.text == own.apply_chat_template(chat, tokenize=False)


def test_a_thought_that_the_prompt_begins_is_not_supervised_twice():
    own = FAMILIES["qwen3"].build_tokenizer()
    template = own.chat_template.replace("'<|im_start|>assistant\n' }}", "'<|im_start|>assistant\n<think>\n' }}")
    assert template != own.chat_template
    rendered = render_conversation(own, CHAT, chat_template=template)
    learned = [rendered.text[start:end] for start, end in rendered.spans]
    assert learned == [f"{ANSWERS[0]}<|im_end|>", f"\n</think>\n\n{ANSWERS[1]}<|im_end|>"]


def test_a_system_message_and_answers_one_after_the_other_are_no_hindrance():
    chat = [
        {"role": "system", "content": "Be brief."},
        *CHAT[:2],
        {"role": "assistant", "content": "Really."},
        *CHAT[2:],
    ]
    _, rendered = render_as("qwen2", chat)
    answers = [ANSWERS[0], "Really.", ANSWERS[1]]
    assert [rendered.text[start:end] for start, end in rendered.spans] == [f"{each}<|im_end|>" for each in answers]


def test_a_template_that_writes_the_last_turn_otherwise_is_supervised_as_it_writes(tokenizer):
    template = (
        "{% for message in messages %}{{ message['role'] + ('!' if loop.last else ':') + message['content'] }}"
        "{% endfor %}"
    )
    rendered = render_conversation(tokenizer, CHAT, chat_template=template)
    words = [rendered.text[start:end] for start, end in rendered.spans]
    assert words == [f"assistant:{ANSWERS[0]}", f"assistant!{ANSWERS[1]}"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("message['content'] | upper", None),
        ("message['content'][:9]", "changes the words of a conversation"),
        ("message['content'] if loop.last else ''", "leaves out turn 2"),
        ("message['content'] * 2", "repeats turn 2"),
        ("message['content'] | length", "changes the words of a conversation"),
    ],
)
def test_words_that_a_template_changes_are_refused_with_the_remedy(tokenizer, content, told):
    template = "{% for message in messages %}{{ message['role'] + ': ' ~ (" + content + ") }}{% endfor %}"
    if told is None:
        text = render_conversation(tokenizer, CHAT, chat_template=template)
        assert [text.text[start:end].split(": ")[1] for start, end in text.spans] == [a.upper() for a in ANSWERS]
        return
    with pytest.raises(ConfigurationError, match=told + r".*\{% generation %\}"):
        render_conversation(tokenizer, CHAT, chat_template=template)


@pytest.mark.parametrize("family", ["qwen2", "gemma3", "phi3", "vicuna", "mistral"])
def test_control_tokens_that_a_record_has_in_its_words_are_words(family, tmp_path):
    FAMILIES[family].save(tmp_path)
    choice = "?chat_template=vicuna" if family == "vicuna" else ""
    _, own = facekit.create(encoder="tiny?width=32&depth=1", connector="mlp", backbone=f"hf:{tmp_path}{choice}")
    end = FAMILIES[family].ends[-1]
    typed = [
        Turn(role="user", content=f"What does {end} mean, and <image>?"),
        Turn(role="assistant", content=f"{end} ends a turn."),
        Turn(role="user", content="Why?"),
        Turn(role="assistant", content="Rules."),
    ]
    plain = [turn.model_copy(update={"content": turn.content.replace(end, "it")}) for turn in typed]
    special = set(own.tokenizer.all_special_ids)
    tokens, without = encode_conversation(own, typed), encode_conversation(own, plain)
    assert [i for i in tokens.input_ids if i in special] == [i for i in without.input_ids if i in special]
    learned = own.tokenizer.decode([label for label in tokens.labels if label != IGNORED])
    assert f"{end} ends a turn.{end}" in "".join(learned)
    assert "What" not in learned
    assert tokens.input_ids.count(own.image_token_id) == own.tokens_per_frame


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


@pytest.mark.parametrize("name", ["plain", "vicuna", "tiny"])
@pytest.mark.parametrize("words", ["Happy.", " <think>brows</think>\n\nHappy. ", "Two\nlines", "  ", "Grüße 笑顔"])
def test_the_marks_of_our_own_templates_say_what_is_found_without_them(tokenizer, name, words):
    folder = CHAT_TEMPLATE_FOLDER if name != "tiny" else CHAT_TEMPLATE_FOLDER.parent / "tiny_tokenizer"
    template = (folder / f"{'chat_template' if name == 'tiny' else name}.jinja").read_text()
    bare = re.sub(r"\{%-? (end)?generation -?%\}", "", template)
    assert template != bare
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How?"},
        {"role": "assistant", "content": words},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": words},
    ]
    marked = render_conversation(tokenizer, chat, chat_template=template)
    found = render_conversation(tokenizer, chat, chat_template=bare)
    assert marked.text == found.text
    assert supervise(tokenizer, marked) == supervise(tokenizer, found)
