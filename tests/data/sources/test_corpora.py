"""Finished corpora: FairFaceGPT, FaceInstruct-1M, and any LLaVA or ShareGPT JSON."""

import io
import json

import numpy as np
import pytest

from facekit.data.formats import read_records
from facekit.data.sources import read_source
from facekit.errors import RecordError


def sample(medium, *words, **fields):
    roles = ("human", "gpt")
    turns = [{"from": roles[place % 2], "value": each} for place, each in enumerate(words)]
    return {**medium, "conversations": turns, **fields}


def test_fairfacegpt_is_read_over_the_pictures_of_fairface(miniature):
    miniature.text(
        "dataset.json",
        json.dumps(
            [
                sample({"image": "val/1.jpg"}, "<image>Describe the image.", "A man."),
                sample({"image": "val/1.jpg"}, "<image>\nDescribe the pose.", "Frontal."),
                sample({"image": "val/2.jpg"}, "Describe the skin.\n<image>", "Smooth."),
            ]
        ),
    )
    miniature.picture("fairface_img_margin025/val/1.jpg")
    records, summary = read_source("fairfacegpt", miniature.root)
    first, second = list(records)
    assert first.image == "fairface_img_margin025/val/1.jpg"
    assert [turn.content for turn in first.conversations] == ["Describe the image.", "A man."]
    assert [turn.role for turn in second.conversations] == ["user", "assistant"]
    assert first.id != second.id
    assert first.source == {"dataset": "fairfacegpt", "file": "dataset.json"}
    assert first.independent_questions
    assert first.split == "validation", "that of the picture"
    assert summary.missing.count == 1
    assert summary.counts.answers == {"": 2}


def test_faceinstruct_landmarks_become_fractions_of_the_crop(miniature):
    buffer = io.BytesIO()
    np.save(buffer, np.full((3, 68, 2), 64.0))
    miniature.data("landmarks/a.npy", buffer.getvalue())
    miniature.clip("videos/a.mp4")
    miniature.picture("faces/b.jpg")
    miniature.text(
        "expression.json",
        json.dumps(
            [
                sample({"video": "videos/a.mp4"}, "<video>\nWhich?", "Fear.", id="a", landmarks_2d="landmarks/a.npy"),
                sample({"image": "faces/b.jpg"}, "<image>\nWhich?", "Joy.", id="b", landmarks_2d="landmarks/b.npy"),
            ]
        ),
    )
    records, summary = read_source("faceinstruct", miniature.root)
    first, second = list(records)
    assert np.array_equal(np.asarray(first.landmarks), np.full((3, 68, 2), 0.25))
    assert (first.id, first.video) == ("a", "videos/a.mp4")
    assert second.landmarks is None
    assert summary.missing.examples == [str(miniature.root / "landmarks/b.npy")]
    assert summary.counts.with_landmarks == 1


def test_whether_the_questions_of_a_chat_stand_alone_is_for_its_owner_to_say(miniature):
    miniature.picture("a.jpg")
    words = ("Smiling?", "Yes.", "Are you sure?", "Yes.")
    path = miniature.text("chat.json", json.dumps([sample({"image": "a.jpg"}, *words)]))
    for given, expected in (({}, False), ({"independent_questions": "true"}, True)):
        (record,) = read_source("chat-json", path, **given)[0]
        assert record.independent_questions is expected


def test_text_alone_and_several_pictures_are_read_and_what_a_record_cannot_hold_is_counted(miniature):
    miniature.picture("a.jpg", "b.jpg")
    path = miniature.text(
        "mixed.json",
        json.dumps(
            [
                sample({}, "Hello?", "Hello."),
                sample({"image": ["a.jpg", "b.jpg"]}, "Same?", "No."),
                sample({"image": ["a.jpg"]}, "Who?", "Someone."),
                sample({"image": "b.jpg"}, "<image>", "A face."),
                sample({"image": "b.jpg", "video": "c.mp4"}, "Same?", "No."),
            ]
        ),
    )
    records, summary = read_source("chat-json", path)
    assert [(record.image, record.images) for record in records] == [
        (None, None), (None, ["a.jpg", "b.jpg"]), ("a.jpg", None)
    ]  # fmt: skip
    assert summary.unmapped == {"pictures and clips together": 1, "a message without words": 1}


def test_other_names_of_fields_are_taken_from_dataset_info(miniature):
    miniature.picture("pictures/a.jpg")
    entry = {
        "file_name": "ours.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images", "system": "system"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    miniature.text("dataset_info.json", json.dumps({"ours": entry}))
    messages = [{"role": "user", "content": "<image>Age?"}, {"role": "assistant", "content": "30"}]
    line = {"messages": messages, "images": ["pictures/a.jpg"], "system": "Be brief."}
    miniature.text("ours.json", json.dumps([line]))
    (record,) = read_source("chat-json", miniature.root)[0]
    assert [(turn.role, turn.content) for turn in record.conversations] == [
        ("system", "Be brief."), ("user", "Age?"), ("assistant", "30")
    ]  # fmt: skip


def test_media_in_another_folder_and_repeated_ids_are_handled(miniature):
    miniature.picture("media/a.jpg")
    miniature.text("a.jsonl", *(json.dumps(sample({"image": "a.jpg"}, "x", "y", id=7)) for _ in range(2)))
    records = list(read_source("chat-json", miniature.root / "a.jsonl", media="media")[0])
    assert [record.image for record in records] == ["media/a.jpg"] * 2
    assert [record.id for record in records] == ["7", "7-2"]


def test_a_wrong_root_is_named(miniature):
    with pytest.raises(RecordError, match=r"has no file dataset\.json; fairfacegpt expects"):
        read_source("fairfacegpt", miniature.root)
    with pytest.raises(RecordError, match=r"has no file \*\.json or json_files/\*\.json; faceinstruct expects"):
        read_source("faceinstruct", miniature.root)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (json.dumps([sample({"image": "a.jpg"}, "x", "y"), {"image": "a.jpg"}]), "entry 2: the field 'conversations'"),
        (json.dumps([{"image": "a.jpg", "conversations": [{"from": "bot", "value": "x"}]}]), "entry 1, .*not 'bot'"),
        ('[{"image": "a.jpg", "conversations": []}', "ends after entry 1 without the closing"),
        ('[{"image": ', "entry 1: not JSON, or cut off"),
        ("[1, 2]", "entry 1: an object is expected, not '1"),
    ],
)
def test_a_malformed_sample_is_named_with_its_number(miniature, text, words):
    miniature.picture("a.jpg")
    miniature.text("a.json", text)
    with pytest.raises(RecordError, match=rf"a\.json,? {words}"):
        list(read_source("chat-json", miniature.root)[0])


def test_landmarks_of_another_shape_are_left_out_and_counted(miniature):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((5, 2)))
    miniature.data("a.npy", buffer.getvalue())
    miniature.picture("a.jpg")
    miniature.text("a.json", json.dumps([sample({"image": "a.jpg"}, "x", "y", landmarks_2d="a.npy")]))
    records, summary = read_source("faceinstruct", miniature.root)
    assert [record.landmarks for record in records] == [None]
    assert summary.broken.examples == [str(miniature.root / "a.npy")]
    with pytest.raises(RecordError, match=r"entry 1, field 'landmarks_2d': .*a\.npy cannot be used .*\(5, 2\)"):
        list(read_records(miniature.root / "a.json"))


def test_faceinstruct_as_the_hub_has_it_is_read_with_landmarks_of_several_files(miniature):
    for name, value in (("a", 64.0), ("b", 128.0)):
        buffer = io.BytesIO()
        np.save(buffer, np.full((68, 2), value))
        miniature.data(f"landmarks/{name}.npy", buffer.getvalue())
    miniature.clip("videos/a.mp4")
    names = ["landmarks/a.npy", "landmarks/b.npy"]
    line = sample({"video": "videos/a.mp4"}, "<video>\nWhich?", "Fear.", id="a", landmarks_2d=names)
    miniature.text("json_files/dfew.json", json.dumps([line]))
    (record,) = read_source("faceinstruct", miniature.root)[0]
    assert (record.id, record.video) == ("a", "videos/a.mp4")
    points = np.asarray(record.landmarks)
    assert points.shape == (2, 68, 2)
    assert (points[0] == 0.25).all()
    assert (points[1] == 0.5).all()
    (miniature.root / names[1]).unlink()
    records, summary = read_source("faceinstruct", miniature.root)
    assert [each.landmarks for each in records] == [None]
    assert summary.missing.examples == [str(miniature.root / names[1])]


def test_messages_images_and_videos_are_known_without_dataset_info_in_lists_and_lines(miniature):
    miniature.picture("a.jpg", "b.jpg")
    miniature.clip("c.mp4")
    turns = [{"role": "user", "content": "<image><image>Same?"}, {"role": "assistant", "content": "No."}]
    clip = [{"role": "user", "content": "<video>Which?"}, {"role": "assistant", "content": "Fear."}]
    lines = [{"messages": turns, "images": ["a.jpg", "b.jpg"]}, {"messages": clip, "videos": ["c.mp4"]}]
    lines += [{"conversations": turns, "image": ["a.jpg", "b.jpg"]}]
    miniature.text("a.json", json.dumps(lines))
    miniature.text("b.jsonl", *(json.dumps(line) for line in lines))
    for name in ("a.json", "b.jsonl"):
        first, second, third = read_source("chat-json", miniature.root / name)[0]
        assert first.images == third.images == ["a.jpg", "b.jpg"]
        assert second.video == "c.mp4"
        assert [turn.content for turn in first.conversations] == ["Same?", "No."]
        assert [turn.content for turn in second.conversations] == ["Which?", "Fear."]
        assert [record.video for record in read_records(miniature.root / name)] == [None, "c.mp4", None]


def test_answers_that_are_numbers_or_lists_are_words(miniature):
    answers = {
        0: "0", 31.5: "31.5", True: "true", ("AU6", "AU12"): "AU6, AU12",
    }  # fmt: skip
    lines = [sample({}, "x", list(each) if isinstance(each, tuple) else each) for each in answers]
    lines.append(sample({}, "x", [{"type": "text", "text": "Thirty."}]))
    lines += [sample({}, "x", {"age": 3}), sample({}, "x", [])]
    path = miniature.text("a.json", json.dumps(lines))
    records, summary = read_source("chat-json", path)
    assert [record.conversations[1].content for record in records] == [*answers.values(), "Thirty."]
    assert summary.unmapped == {
        "a message that is neither words, a number nor a list of these": 1, "a message without words": 1,
    }  # fmt: skip
