"""Marks of pictures are told from words, wherever they are written, and never change how many pictures there are."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import facekit
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.records import FaceRecord, Turn
from facekit.data.supervision import encode_conversation


@pytest.fixture(scope="module")
def processor():
    return facekit.create(encoder="tiny?width=32&depth=1", connector="mlp", backbone="tiny?width=24&depth=1&heads=2")[1]


def turns_of(*words):
    return [Turn(role=("user", "assistant")[index % 2], content=each) for index, each in enumerate(words)]


def written(processor, *words, frames=1):
    """What the language model reads, with ``[P]`` for the picture and words as they were typed."""
    tokens = encode_conversation(processor, turns_of(*words), frames=frames)
    assert tokens.input_ids.count(processor.image_token_id) == (processor.tokens_per_frame if frames else 0)
    runs, ids = [], list(tokens.input_ids)
    while processor.image_token_id in ids:
        at = ids.index(processor.image_token_id)
        runs.append(processor.tokenizer.decode(ids[:at]) + "[P]")
        ids = ids[at + processor.tokens_per_frame :]
    return "".join([*runs, processor.tokenizer.decode(ids)])


@pytest.mark.parametrize(
    "question",
    ["Joy?", "<image>\nJoy?", "<image>Joy?", "Joy?\n<image>", "Joy? <image>", "<video>\nJoy?", "<image> Joy?"],
)
def test_a_mark_at_either_end_of_the_first_question_is_the_picture(processor, question):
    assert written(processor, question, "Yes.") == "<|user|>[P]\nJoy?<|end|><|assistant|>Yes.<|end|>"


def test_a_mark_on_a_line_of_its_own_is_the_picture_where_it_stands(processor):
    assert written(processor, "Look at\n<image>\nand say.", "Joy.") == (
        "<|user|>Look at\n[P]\nand say.<|end|><|assistant|>Joy.<|end|>"
    )
    later = written(processor, "Hello.", "Hello.", "This one:\n<image>\nJoy?", "Yes.")
    assert later.index("This one:\n[P]\nJoy?") > later.index("Hello.")


def test_a_mark_that_is_repeated_is_the_same_picture(processor):
    once = written(processor, "Joy?", "Yes.", "And her age?", "Thirty.")
    assert written(processor, "<image>\nJoy?", "Yes.", "<image>\nAnd her age?", "Thirty.") == once
    assert written(processor, "<image>\n<image>\nJoy?", "Yes.", "And her age?", "Thirty.") == once


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (("What does <image> mean in HTML?", "It is no tag."), "What does <image> mean in HTML?"),
        (("Joy?", "The <image> shows joy."), "The <image> shows joy."),
        (("<image>\nIs a <video> here?", "No, an <image>."), "Is a <video> here?"),
        (("Joy?", "Yes.", "Why does <image> stand there?", "A typo."), "Why does <image> stand there?"),
        (("<image>\nA or <image> or <image>?", "<image>"), "A or <image> or <image>?"),
    ],
)
def test_elsewhere_words_are_words(processor, words, typed):
    text = written(processor, *words)
    assert text.startswith("<|user|>[P]\n")
    assert typed in text


def test_in_text_alone_every_mark_is_words(processor):
    assert written(processor, "<image>\nWhat is this?", "A tag.", frames=()) == (
        "<|user|><image>\nWhat is this?<|end|><|assistant|>A tag.<|end|>"
    )


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["<image>", "<video>", " ", "\n", "a", "b?"]), max_size=7), min_size=2, max_size=6
    )
)
def test_no_words_change_how_many_pictures_are_read(processor, parts):
    words = ["".join(part) or "x" for part in parts]
    assume(all(word.replace("<image>", "").replace("<video>", "").strip() for word in words))
    tokens = encode_conversation(processor, turns_of(*words))
    assert tokens.input_ids.count(processor.image_token_id) == processor.tokens_per_frame


@pytest.mark.parametrize("packed", [False, True])
def test_examples_of_records_with_such_words_have_one_picture_in_every_order(processor, tmp_path, packed):
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    words = ("Joy? <image>", "Yes.", "<image>\nAge?", "An <image> of thirty.", "Is <image> a word?", "It is.")
    record = FaceRecord(id="a", image="a.png", conversations=turns_of(*words), independent_questions=True)
    dataset = FaceDataset(RecordSet((record,), tmp_path), processor, DatasetOptions(independent_turns=packed))
    orders = set()
    for epoch in range(6):
        dataset.set_epoch(epoch)
        ids = dataset[0].input_ids.tolist()
        assert ids.count(processor.image_token_id) == processor.tokens_per_frame
        text = processor.tokenizer.decode([each for each in ids if each != processor.image_token_id])
        assert text.count("<image>") == 2
        orders.add(text)
    assert len(orders) > 2
