"""Which questions of a record are trained on is decided by the record, not by an epoch's order."""

from __future__ import annotations

import pytest
from PIL import Image

import facekit
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.packing import pack_exchanges
from facekit.data.records import FaceRecord, Turn
from facekit.data.supervision import IGNORED, encode_conversation
from facekit.data.usable import Arrangement, LeftOut, TokenLimit, find_usable
from facekit.errors import RecordError

LONG = " ".join(f"word{number}" for number in range(60))
ALTERNATING = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ raise_exception('no system here') }}"
    "{% endif %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ '[' + message['role'] + ']' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
)


@pytest.fixture(scope="module")
def processor():
    return facekit.create(encoder="tiny?width=32&depth=1", connector="mlp", backbone="tiny?width=24&depth=1&heads=2")[1]


@pytest.fixture
def strict(processor):
    """A processor whose template refuses a system message and two turns of one speaker."""
    before = processor.chat_template
    processor.chat_template = ALTERNATING
    yield processor
    processor.chat_template = before


def exchange(question, answer):
    turns = [Turn(role="user", content=question)]
    return turns if answer is None else [*turns, Turn(role="assistant", content=answer)]


def length_of(processor, *exchanges):
    return len(encode_conversation(processor, [turn for each in exchanges for turn in each]).input_ids)


SHORT = [exchange("How old?", "Thirty."), exchange("Joy?", "Yes, plainly."), exchange("Glasses?", "None.")]


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_one_long_answer_costs_no_other_question(processor, is_packed, place):
    exchanges = [*SHORT[:place], exchange("Describe her.", LONG), *SHORT[place:]]
    limit = TokenLimit(length_of(processor, *SHORT) + 20)
    usable = find_usable(processor, [], exchanges, Arrangement(is_dialogue=False, is_packed=is_packed, limit=limit))
    assert list(usable.kept) == [index for index in range(4) if index != place]
    alone = length_of(processor, exchanges[place])
    assert usable.left_out == (
        LeftOut(place + 1, f"it has {alone} tokens with its answer, and max_tokens is {limit.tokens}"),
    )


def test_what_does_not_fit_beside_the_questions_before_it_is_left_out(processor):
    whole = len(pack_exchanges(processor, [], SHORT).input_ids)
    arrangement = Arrangement(is_dialogue=False, is_packed=True, limit=TokenLimit(whole - 1))
    usable = find_usable(processor, [], SHORT, arrangement)
    assert usable.kept == (0, 1)
    assert usable.left_out[0].reason == (
        f"with the questions before it there are {whole} tokens, and max_tokens is {whole - 1}"
    )
    exact = Arrangement(is_dialogue=False, is_packed=True, limit=TokenLimit(whole))
    assert find_usable(processor, [], SHORT, exact).kept == (0, 1, 2)
    two = Arrangement(is_dialogue=False, is_packed=True, at_once=2, limit=TokenLimit(whole - 1))
    assert find_usable(processor, [], SHORT, two).kept == (0, 1, 2), "any two of them fit together"


def test_of_a_dialogue_the_beginning_that_fits_is_kept(processor):
    talk = [SHORT[0], exchange("And why?", LONG), SHORT[2]]
    limit = TokenLimit(length_of(processor, *talk[:1]) + 5)
    usable = find_usable(processor, [], talk, Arrangement(limit=limit))
    assert usable.kept == (0,)
    assert [each.question for each in usable.left_out] == [2, 3]
    with pytest.raises(RecordError, match=r"no answer that ends within 30 tokens \(max_tokens\); raise max_tokens"):
        find_usable(processor, [], [talk[1]], Arrangement(limit=TokenLimit(30)))


def test_a_question_without_an_answer_is_left_out(processor):
    for is_dialogue in (False, True):
        usable = find_usable(
            processor, [], [*SHORT, exchange("And?", None)], Arrangement(is_dialogue=is_dialogue, is_packed=True)
        )
        assert (usable.kept, usable.left_out) == ((0, 1, 2), (LeftOut(4, "it has no answer"),))


def test_what_a_template_refuses_is_told_in_its_words(strict):
    system = [Turn(role="system", content="Be brief.")]
    twice = [Turn(role="user", content="Look."), *exchange("Joy?", "Yes.")]
    for arrangement in (Arrangement(), Arrangement(is_dialogue=False), Arrangement(is_dialogue=False, is_packed=True)):
        with pytest.raises(RecordError, match="the chat template refuses the conversation: no system here"):
            find_usable(strict, system, SHORT, arrangement)
    with pytest.raises(RecordError, match="roles must alternate"):
        find_usable(strict, [], [SHORT[0], twice], Arrangement())
    usable = find_usable(strict, [], [SHORT[0], twice, SHORT[2]], Arrangement(is_dialogue=False))
    assert usable.kept == (0, 2)
    assert "roles must alternate" in usable.left_out[0].reason


@pytest.mark.parametrize(
    ("turns", "message"),
    [([], "no conversation; annotate"), (SHORT[0][1:], "no user turn"), (SHORT[0][:1], "no assistant turn")],
)
def test_a_record_without_both_sides_is_refused(processor, turns, message):
    from facekit.data.conversation_layout import split_exchanges

    with pytest.raises(RecordError, match=message):
        find_usable(processor, *split_exchanges(turns), Arrangement())


@pytest.mark.parametrize("packed", [False, True])
def test_examples_teach_the_same_questions_in_every_epoch(processor, tmp_path, packed):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    exchanges = [*SHORT, exchange("Describe her.", LONG), exchange("Beard?", "No beard.")]
    turns = [turn for each in exchanges for turn in each]
    record = FaceRecord(id="a", image="a.png", conversations=turns, independent_questions=True)
    limit = length_of(processor, *SHORT, exchanges[4]) + 8
    options = DatasetOptions(independent_turns=packed, max_tokens=limit)
    dataset = FaceDataset(RecordSet((record,), tmp_path), processor, options)
    orders = set()
    for epoch in range(12):
        dataset.set_epoch(epoch)
        example = dataset[0]
        assert len(example.input_ids) <= limit
        orders.add(tuple(example.labels.tolist()))
        learned = processor.tokenizer.decode([label for label in example.labels if label != IGNORED])
        assert all(words in learned for words in ("Thirty.", "Yes, plainly.", "None.", "No beard."))
        assert "word3" not in learned
    assert len(orders) > 4


def test_without_max_tokens_the_language_models_context_is_the_limit(processor, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    turns = [turn for each in (*SHORT, exchange("Describe her.", LONG)) for turn in each]
    record = FaceRecord(id="a", image="a.png", conversations=turns)
    context = length_of(processor, *SHORT)
    example = FaceDataset(RecordSet((record,), tmp_path), processor, DatasetOptions(context=context))[0]
    assert len(example.input_ids) == context
    alone = record.model_copy(update={"independent_questions": True})
    bound = DatasetOptions(context=context, independent_turns=True)
    packed = FaceDataset(RecordSet((alone,), tmp_path), processor, bound)[0]
    assert len(packed.input_ids) == len(pack_exchanges(processor, [], SHORT).input_ids)
    near = DatasetOptions(context=max(length_of(processor, each) for each in SHORT), independent_turns=True)
    packed = FaceDataset(RecordSet((alone,), tmp_path), processor, near)[0]
    assert set(packed.segments.tolist()) == {0, 1, 2, 3}, "positions, not the row, stay within the context"
    wide = FaceDataset(RecordSet((record,), tmp_path), processor, DatasetOptions(context=context, max_tokens=10_000))
    assert len(wide[0].input_ids) > context
