"""Rows of records for TRL's trainers, and the crops behind their pictures."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord, Turn
from facekit.errors import RecordError
from facekit.models.landmark_rows import split_landmark_rows
from facekit.training.preferences.prompts import iterate_prompts, processor_of_rows, rewarded_rows


def test_every_question_with_a_label_is_a_row(records):
    rows = rewarded_rows(records, {"face": 1.0})
    asked = [turn for record in records.records for turn in record.conversations if turn.role == "user"]
    assert len(rows) == len(asked) == 30
    assert {row["task"] for row in rows} == {turn.task for turn in asked}
    first = rows[0]
    assert first["images"] == ["record:0"]
    assert first["prompt"] == [{"role": "user", "content": asked[0].content}]
    assert json.loads(first["labels"])["expression"] == records.records[0].labels.expression
    assert {frozenset(row) for row in rows} == {frozenset({"prompt", "images", "task", "labels", "same"})}


def test_of_a_dialogue_the_first_question_and_of_clips_and_texts_none(records):
    face = records.records[0]
    turns = [Turn(role="system", content="Be brief."), *face.conversations]
    others = [
        face.model_copy(update={"id": "dialogue", "conversations": turns, "independent_questions": False}),
        FaceRecord(id="clip", video=["a.png", "b.png"], labels=face.labels, conversations=face.conversations),
        FaceRecord(id="text", labels=face.labels, conversations=face.conversations),
    ]
    prompts = list(iterate_prompts(RecordSet(others, records.folder)))
    assert [(prompt.record, prompt.system) for prompt in prompts] == [(0, "Be brief.")]
    assert prompts[0].row()["prompt"][0] == {"role": "system", "content": "Be brief."}


QUESTION, ANSWER = (
    Turn(role="user", content="The same person?", task="verification"),
    Turn(role="assistant", content="Yes."),
)


def pair(records, name="pair", same=True, question=QUESTION, **fields):
    first, second = records.records[:2]
    given = {"images": [first.image, second.image], "landmarks": [first.landmarks, None], "same": same, **fields}
    return FaceRecord(id=name, conversations=[question, ANSWER], **given)


def test_two_pictures_are_compared_by_the_truth_of_their_record(records):
    other = Turn(role="user", content="Who is older?", task="age")
    rows = rewarded_rows(
        RecordSet(
            [
                pair(records),
                pair(records, "two", False),
                pair(records, "unknown", None),
                pair(records, "age", True, other),
            ],
            records.folder,
        ),
        {"verification": 1.0},
    )
    assert [(row["images"], row["same"], row["task"]) for row in rows] == [
        (["record:0.0", "record:0.1"], True, "verification"), (["record:1.0", "record:1.1"], False, "verification"),
    ]  # fmt: skip
    assert rows[0]["prompt"] == [{"role": "user", "content": "The same person?"}]
    with pytest.raises(
        RecordError, match=r"by verification: a question needs its 'task', and the record a label for it \(of"
    ):
        rewarded_rows(RecordSet([pair(records, same=None)], records.folder), {"verification": 1.0})


def test_pictures_stand_where_a_question_says_and_then_all_prompts_are_entries(records):
    asked = Turn(role="user", content="Is <image> the same person as <image>?", task="verification")
    face = records.records[0].model_copy(update={"independent_questions": False})
    system = pair(records, "system").model_copy(
        update={"conversations": [Turn(role="system", content="Be brief."), QUESTION, ANSWER]}
    )
    rows = rewarded_rows(
        RecordSet([face, pair(records, question=asked), system], records.folder), {"face": 1.0, "verification": 1.0}
    )
    text = [{"type": "text", "text": face.conversations[0].content}]
    assert [row["prompt"] for row in rows] == [
        [{"role": "user", "content": [{"type": "image"}, *text]}],
        [{"role": "user", "content": [
            {"type": "text", "text": "Is"}, {"type": "image"}, {"type": "text", "text": "the same person as"},
            {"type": "image"}, {"type": "text", "text": "?"}]}],
        [{"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
         {"role": "user", "content": [
            {"type": "image"}, {"type": "image"}, {"type": "text", "text": "The same person?"}]}],
    ]  # fmt: skip
    shown = [sum(entry["type"] == "image" for message in row["prompt"] for entry in message["content"]) for row in rows]
    assert shown == [len(row["images"]) for row in rows] == [1, 2, 2]


def test_a_dialogue_is_asked_with_the_pictures_that_its_first_question_shows(records):
    asked = [
        Turn(role="user", content="<image>\nOld?", task="age"),
        ANSWER,
        Turn(role="user", content="And <image>"),
        ANSWER,
    ]
    dialogue = pair(records).model_copy(update={"conversations": asked})
    (prompt,) = iterate_prompts(RecordSet([dialogue], records.folder))
    assert prompt.pictures == ("record:0.0",)


def test_each_of_several_pictures_has_its_own_landmarks(records, small):
    _, processor = small
    twin = processor_of_rows(processor, RecordSet([pair(records)], records.folder))
    inputs = twin(images=[["record:0.0", "record:0.1"]], text=["<image><image>"])
    split = split_landmark_rows(inputs["pixel_values"])
    expected = torch.tensor(records.records[0].landmark_array(records.folder))
    torch.testing.assert_close(split.landmarks[0, 0], expected.float(), atol=1e-6, rtol=0)
    assert split.landmarks[1].isnan().all()
    assert not torch.equal(split.pixel_values[0], split.pixel_values[1])


def test_records_without_labels_have_nothing_to_be_rewarded(records):
    bare = [record.model_copy(update={"labels": type(record.labels)()}) for record in records.records]
    with pytest.raises(RecordError, match="no question of 6 records can be rewarded by face"):
        rewarded_rows(RecordSet(bare, records.folder), {"face": 1.0})
    assert len(rewarded_rows(RecordSet(bare, records.folder), {"format": 1.0})) == 30


def test_a_picture_is_opened_once_and_its_landmarks_travel_in_the_pixels(records, small):
    _, processor = small
    twin = processor_of_rows(processor, records)
    asked = {"type": "text", "text": "Who?"}
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": f"record:{index}"}, asked]}] for index in (0, 1, 0, 0)
    ]
    inputs = twin.apply_chat_template(chats, tokenize=True, return_dict=True, add_generation_prompt=True)
    again = twin(images=[["record:0"], ["record:1"]], text=["<image>", "<image>"])
    assert twin.image_processor._prepared.opened == 2
    split = split_landmark_rows(inputs["pixel_values"])
    expected = torch.tensor(records.records[0].landmark_array(records.folder))
    torch.testing.assert_close(split.landmarks[0, 0], expected.float(), atol=1e-6, rtol=0)
    assert torch.equal(inputs["pixel_values"][:2], again["pixel_values"])
    assert not processor.landmarks_in_pixels
    assert processor.image_processor._prepared is None


def test_the_copy_saves_the_processor_as_it_was(records, small, tmp_path):
    _, processor = small
    twin = processor_of_rows(processor, records)
    twin(images="record:0")
    twin.save_pretrained(tmp_path / "twin")
    processor.save_pretrained(tmp_path / "own")
    saved = [(tmp_path / name / "processor_config.json").read_text() for name in ("twin", "own")]
    assert saved[0] == saved[1]
    assert copy.deepcopy(twin.image_processor._prepared) is twin.image_processor._prepared
