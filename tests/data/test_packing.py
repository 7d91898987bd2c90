"""Packed questions learn exactly what the same questions in sequences of their own would."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import facekit
from facekit.data.attention import attention_masks
from facekit.data.collation import FaceCollator
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.packing import DOCUMENT, pack_exchanges, pack_rows, plan_rows
from facekit.data.records import Turn
from facekit.data.supervision import IGNORED, encode_conversation
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import RecordError

OPENING = [Turn(role="system", content="Look closely.")]
EXCHANGES = [
    [Turn(role="user", content=question), Turn(role="assistant", content=answer)]
    for question, answer in (("How old?", "About 35 years."), ("Which expression?", "It is fear."), ("Hat?", "No."))
]


@pytest.fixture(scope="module")
def model_and_processor():
    return facekit.create(
        encoder="tiny?image_size=64&width=32&depth=1", connector="region", backbone="tiny?width=48&depth=2&heads=2",
        seed=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def processor(model_and_processor):
    return model_and_processor[1]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 3, seed=1, image_size=64))


def test_every_question_keeps_the_tokens_labels_and_positions_it_has_alone(processor):
    packed = pack_exchanges(processor, OPENING, EXCHANGES)
    for number, exchange in enumerate(EXCHANGES, start=1):
        alone = encode_conversation(processor, [*OPENING, *exchange])
        places = [place for place, segment in enumerate(packed.segments) if segment in (0, number)]
        assert [packed.input_ids[place] for place in places] == alone.input_ids
        assert [packed.labels[place] for place in places] == alone.labels
        assert [packed.position_ids[place] for place in places] == list(range(len(alone.input_ids)))
    assert packed.input_ids.count(processor.image_token_id) == processor.tokens_per_frame


def test_the_loss_and_gradients_are_those_of_separate_sequences(model_and_processor, records):
    model, processor = model_and_processor
    names = [name for name, _ in model.named_parameters()]
    results = []
    for packed in (True, False):
        options = DatasetOptions(independent_turns=packed, shuffle_turns=False)
        if packed:
            examples = [FaceDataset(records, processor, options)[index] for index in range(len(records))]
        else:
            alone = RecordSet(
                tuple(
                    record.model_copy(update={"conversations": record.conversations[start : start + 2]})
                    for record in records.records
                    for start in range(0, 10, 2)
                ),
                records.folder,
            )
            examples = [FaceDataset(alone, processor, options)[index] for index in range(len(alone))]
        model.zero_grad()
        batch = FaceCollator(processor.tokenizer.pad_token_id)(examples)
        if packed:
            segments = batch.pop("segments")
            config = model.config.get_text_config()
            batch["attention_mask"] = attention_masks(segments, batch["position_ids"], config)
        loss = model(**batch).loss
        loss.backward()
        results.append((loss, [parameter.grad.clone() for parameter in model.parameters()]))
    (loss, gradients), (expected, expected_gradients) = results
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for name, gradient, wanted in zip(names, gradients, expected_gradients, strict=True):
        torch.testing.assert_close(
            gradient, wanted, rtol=1e-3, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_packing_is_shorter_than_separate_sequences(processor):
    packed = pack_exchanges(processor, OPENING, EXCHANGES)
    alone = sum(len(encode_conversation(processor, [*OPENING, *exchange]).input_ids) for exchange in EXCHANGES)
    beginning = packed.segments.count(0)
    assert len(packed.input_ids) == alone - 2 * beginning
    assert all(label == IGNORED for label in packed.labels[:beginning])


def test_questions_beyond_the_limit_are_left_out(processor):
    whole = pack_exchanges(processor, [], EXCHANGES)
    assert pack_exchanges(processor, [], EXCHANGES, max_tokens=len(whole.input_ids) - 1).segments[-1] == 2
    with pytest.raises(RecordError, match="within 12 tokens"):
        pack_exchanges(processor, [], EXCHANGES, max_tokens=12)
    with pytest.raises(RecordError, match="no question"):
        pack_exchanges(processor, OPENING, [])


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 60))
def test_rows_hold_every_example_once_and_stay_within_their_capacity(lengths, capacity):
    rows = plan_rows(lengths, capacity)
    assert sorted(place for row in rows for place in row) == list(range(len(lengths)))
    assert all(len(row) == 1 or sum(lengths[place] for place in row) <= capacity for row in rows)
    half_empty = [row for row in rows if sum(lengths[place] for place in row) <= capacity / 2]
    assert len(half_empty) <= 1


def test_examples_of_a_row_keep_their_tokens_and_media_in_order(processor, records):
    dataset = FaceDataset(records, processor, DatasetOptions(independent_turns=True, shuffle_turns=False))
    examples = [dataset[index] for index in range(3)]
    lengths = [len(example.input_ids) for example in examples]
    collator = FaceCollator(processor.tokenizer.pad_token_id, with_indices=True, row_tokens=sum(lengths))
    batch = collator(examples)
    assert batch["input_ids"].shape == (1, sum(lengths))
    assert "attention_mask" not in batch
    assert batch["example_indices"].tolist() == [0, 1, 2]
    starts = [0, lengths[0], lengths[0] + lengths[1]]
    for number, (start, example) in enumerate(zip(starts, examples, strict=True)):
        end = start + len(example.input_ids)
        assert torch.equal(batch["input_ids"][0, start:end], example.input_ids)
        assert torch.equal(batch["position_ids"][0, start:end], example.position_ids)
        assert torch.equal(batch["segments"][0, start:end], example.segments + number * DOCUMENT)
        assert torch.equal(batch["pixel_values"][number], example.pixel_values)


def test_plain_conversations_in_a_row_are_documents_that_are_shared_throughout(processor, records):
    dataset = FaceDataset(records, processor, DatasetOptions(shuffle_turns=False))
    examples = [dataset[index] for index in range(2)]
    (row,) = pack_rows(examples, 10_000)
    lengths = [len(example.input_ids) for example in examples]
    assert row.segments.tolist() == [0] * lengths[0] + [DOCUMENT] * lengths[1]
    assert row.position_ids.tolist() == [*range(lengths[0]), *range(lengths[1])]
