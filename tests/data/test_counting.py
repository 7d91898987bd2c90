"""Counts that are taken while records pass."""

from facekit.data.counting import RecordCounts, labelled_tasks, origin_of
from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord, Turn


def test_records_pass_unchanged_and_are_counted():
    records = [
        FaceRecord(
            id="1", image="a.jpg", split="train", source={"dataset": "celeba"}, groups={"gender": "man"},
            labels=FaceLabels(attributes={"Male": True}, manipulated=False),
            conversations=[Turn(role="user", content="?"), Turn(role="assistant", content="!", task="age")],
        ),
        FaceRecord(id="2", video="a.mp4", source="ours", groups={"gender": "woman", "race": "Asian"}),
        FaceRecord(id="3", image="b.jpg", landmarks="b.npy", labels=FaceLabels(expression="anger")),
    ]  # fmt: skip
    counts = RecordCounts()
    assert list(counts.watch(records)) == records
    assert (counts.records, counts.with_landmarks) == (3, 1)
    assert counts.media == {"image": 2, "video": 1}
    assert counts.splits == {"train": 1}
    assert counts.origins == {"celeba": 1, "ours": 1, "unknown": 1}
    assert counts.tasks == {"attributes": 1, "manipulation": 1, "expression": 1}
    assert counts.expressions == {"anger": 1}
    assert counts.groups == {"gender": {"man": 1, "woman": 1}, "race": {"Asian": 1}}
    assert counts.answers == {"age": 1}


def test_a_label_of_false_or_zero_is_a_label():
    assert labelled_tasks(FaceLabels(manipulated=False, age=0.0)) == ["age", "manipulation"]
    assert labelled_tasks(FaceLabels()) == []


def test_the_origin_is_read_from_a_name_or_a_table():
    values = [None, "ours", {"dataset": "dfew", "fold": 1}, {"seed": 7}, {"name": "mine"}]
    records = [FaceRecord(id="1", image="a.jpg", source=source) for source in values]
    assert [origin_of(record) for record in records] == ["unknown", "ours", "dfew", "unknown", "mine"]
