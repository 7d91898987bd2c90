"""Records of several pictures, and of none: where the pictures stand, and which landmarks belong to which."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import facekit
from facekit.data.dataset import DatasetOptions, FaceDataset, RecordSet
from facekit.data.marks import join_parts, split_marks, strip_leading_marks
from facekit.data.record_media import load_media, open_media
from facekit.data.records import FaceRecord, Turn, read_records
from facekit.errors import RecordError

SHAPE = [[0.25, 0.5]] * 68
OTHER = [[0.5, 0.75]] * 68


@pytest.fixture(scope="module")
def processor():
    return facekit.create(encoder="tiny?image_size=32&width=32&depth=1", connector="mlp", backbone="tiny")[1]


@pytest.fixture
def folder(tmp_path):
    for name, colour in (("a.png", 10), ("b.png", 200)):
        Image.new("RGB", (32, 32), (colour, 0, 0)).save(tmp_path / name)
    return tmp_path


def record(*said, **fields):
    turns = [Turn(role=("user", "assistant")[index % 2], content=words) for index, words in enumerate(said)]
    return FaceRecord(id="one", conversations=turns, **{"images": ["a.png", "b.png"], **fields})


def example_of(record, folder, processor, **options):
    return FaceDataset(RecordSet((record,), folder), processor, DatasetOptions(**options))[0]


def text_of(example, processor):
    words = processor.tokenizer.decode(example.input_ids)
    return words.replace(processor.image_token * processor.tokens_per_frame, "[P]")


def test_pictures_stand_before_the_first_question_unless_it_marks_them(folder, processor):
    plain = example_of(record("Same?", "No."), folder, processor)
    assert text_of(plain, processor) == "<|user|>[P]\n[P]\nSame?<|end|><|assistant|>No.<|end|>"
    leading = example_of(record("<image>\n<image>\nSame?", "No."), folder, processor)
    assert torch.equal(leading.input_ids, plain.input_ids)
    between = example_of(record("Is <image> like <image>?", "No."), folder, processor)
    assert text_of(between, processor) == "<|user|>Is\n[P]\nlike\n[P]\n?<|end|><|assistant|>No.<|end|>"
    later = example_of(record("<image>\nA man?", "Yes.", "And <image>", "No."), folder, processor)
    assert text_of(later, processor).count("[P]") == 2
    for example in (plain, between, later):
        assert example.media == (1, 1)
        assert example.pixel_values.shape == (2, 3, 32, 32)
        assert (example.labels[example.input_ids == processor.image_token_id] == -100).all()


def test_a_conversation_is_written_as_a_chat_of_the_same_entries(folder, processor):
    entries = [{"type": "text", "text": "Is"}, {"type": "image"}, {"type": "text", "text": "like"}, {"type": "image"}]
    chat = [{"role": "user", "content": entries}]
    prompt = processor.tokenize([processor.apply_chat_template(chat, add_generation_prompt=True)])["input_ids"][0]
    example = example_of(record("Is <image> like <image>", "No."), folder, processor)
    assert example.input_ids[: len(prompt)].tolist() == prompt


def test_each_picture_has_its_own_landmarks(folder, processor):
    several = record("Same?", "No.", landmarks=[SHAPE, OTHER])
    _, points = load_media(several, folder, processor)
    np.testing.assert_allclose(points[:, 0], [[0.25, 0.5], [0.5, 0.75]])
    _, points = load_media(record("Same?", "No.", landmarks=[None, OTHER]), folder, processor)
    assert points.isnan().all(dim=(1, 2)).tolist() == [True, False]
    media = open_media(several, folder, processor)
    assert [len(medium.pixel_values) for medium in media] == [1, 1]
    assert [medium.landmarks[0, 0].tolist() for medium in media] == [[0.25, 0.5], [0.5, 0.75]]
    np.save(folder / "points.npy", np.zeros((3, 68, 2)))
    with pytest.raises(RecordError, match="has 2 pictures but landmarks for 3"):
        load_media(record("Same?", "No.", landmarks="points.npy"), folder, processor)


def test_text_alone_has_no_media(folder, processor):
    example = example_of(record("Name a colour.", "Red.", images=None), folder, processor)
    assert example.media == ()
    assert (example.pixel_values.shape, example.landmarks.shape) == ((0, 3, 32, 32), (0, 68, 2))
    assert text_of(example, processor) == "<|user|>Name a colour.<|end|><|assistant|>Red.<|end|>"
    assert open_media(record("Hi?", "Hi.", images=None), folder, processor) == []


def test_pictures_of_dropped_turns_are_dropped_with_them(folder, processor):
    dialogue = record("<image>\nA man?", "Yes.", "<image>\nAnd this?", "No.", landmarks=[SHAPE, OTHER])
    whole = example_of(dialogue, folder, processor)
    for short in (
        example_of(dialogue, folder, processor, max_tokens=len(whole.input_ids) - 1),
        example_of(dialogue, folder, processor, turns_per_example=1),
    ):
        assert short.media == (1,)
        assert short.pixel_values.shape == (1, 3, 32, 32)
        assert short.landmarks[0, 0].tolist() == [0.25, 0.5]


def test_questions_about_all_pictures_share_them_and_others_are_a_dialogue(folder, processor):
    alone = {"independent_questions": True}
    shared = record("<image><image>Same?", "No.", "Who is older?", "The first.", **alone)
    packed = example_of(shared, folder, processor, independent_turns=True, shuffle_turns=False)
    assert sorted(set(packed.segments.tolist())) == [0, 1, 2]
    assert (packed.input_ids == processor.image_token_id).sum() == 2 * processor.tokens_per_frame
    between = record("Is <image> like <image>?", "No.", "Why?", "The nose.", **alone)
    example = example_of(between, folder, processor, independent_turns=True)
    assert example.segments is None
    assert text_of(example, processor).endswith("Why?<|end|><|assistant|>The nose.<|end|>")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["Is <image> like her?", "No."], "marks 1 picture in its questions, but the record has 2"),
        (["<image><image><image>?", "No."], "marks 3 pictures"),
    ],
)
def test_marks_that_do_not_fit_are_told_with_the_record(folder, processor, said, message):
    with pytest.raises(RecordError, match=f"record 'one': a conversation {message}"):
        example_of(record(*said), folder, processor)


def test_entries_of_a_message_may_hold_the_pictures(folder):
    content = [
        {"type": "image", "path": "a.png"},
        {"type": "image_url", "image_url": {"url": "b.png"}},
        {"type": "text", "text": "Same?"},
    ]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": [{"type": "text", "text": "No."}]}]
    (folder / "records.jsonl").write_text(json.dumps({"id": "one", "conversations": turns}))
    (found,) = read_records(folder / "records.jsonl")
    assert found == record("<image>\n<image>\nSame?", "No.")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image": "a.png"}, "give one of 'image', 'images' and 'video'"),
        ({"images": None, "landmarks": SHAPE}, "landmarks, but no picture"),
        ({"landmarks": [SHAPE]}, "2 pictures but landmarks for 1; write null"),
        ({"images": []}, "at least 1 item"),
        ({"conversations": [{"role": "user", "content": [{"type": "audio"}]}]}, "not 'audio'"),
        ({"conversations": [{"role": "user", "content": [{"type": "text", "text": "<image>?"}]}]}, "without marks"),
        ({"conversations": [{"role": "user", "content": [{"type": "image", "path": "c"}]}]}, "in one place"),
    ],
)
def test_what_contradicts_itself_is_refused(fields, message):
    values = {"id": "one", "images": ["a.png", "b.png"], "conversations": [{"role": "user", "content": "Same?"}]}
    with pytest.raises(ValueError, match=message):
        FaceRecord.model_validate({**values, **fields})


def test_paths_of_several_pictures_move_with_their_record(tmp_path):
    moved = record("Same?", "No.").rebased(tmp_path / "old", tmp_path / "new")
    assert moved.images == ["../old/a.png", "../old/b.png"]
    assert moved.media_paths(tmp_path / "new")[0].resolve() == (tmp_path / "old" / "a.png").resolve()


def test_marks_become_entries_and_entries_marks():
    assert split_marks("Is <image> like\n<image>?") == [
        {"type": "text", "text": "Is"}, {"type": "image"}, {"type": "text", "text": "like"}, {"type": "image"},
        {"type": "text", "text": "?"},
    ]  # fmt: skip
    assert split_marks("  no mark \n") == [{"type": "text", "text": "  no mark \n"}]
    assert join_parts(split_marks("<image>\n a\nb ")) == "<image>\n a\nb "
    assert strip_leading_marks("<image>\n<video> Words <image>") == "Words <image>"
