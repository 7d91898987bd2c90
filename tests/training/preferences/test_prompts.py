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
