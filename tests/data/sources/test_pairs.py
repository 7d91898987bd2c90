"""A user's own pairs of pictures, the same person or not."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import RecordError


def test_a_row_is_a_question_with_its_truth_and_answer(miniature):
    miniature.text(
        "pairs.csv",
        "First,Second,Same,person_first,person_second,gender,consent,split",
        "a.jpg,b.jpg,Yes,p,p,woman,research,val",
        "a.jpg,c.jpg,0,p,q,,,train",
    )
    miniature.picture("a.jpg", "b.jpg", "c.jpg")
    records, summary = read_source("pairs", miniature.root)
    first, second = list(records)
    assert (first.id, first.images, first.same) == ("pairs/a.jpg+b.jpg", ["a.jpg", "b.jpg"], True)
    assert (first.groups, first.consent, first.split) == ({"gender": "woman"}, "research", "validation")
    assert first.source == {"dataset": "pairs", "person_first": "p", "person_second": "p"}
    assert [(turn.role, turn.task) for turn in first.conversations] == [
        ("user", "verification"), ("assistant", "verification"),
    ]  # fmt: skip
    assert first.conversations[1].content == "Yes."
    assert (second.same, second.conversations[1].content) == (False, "No.")
    assert dict(summary.counts.tasks) == {"verification": 2}
    assert str(summary).startswith("pairs: 2 records (2 sets of images) from ")
    assert [record.same for record in read_source("pairs", miniature.root / "pairs.csv", split="train")[0]] == [False]


def test_pairs_without_one_of_their_pictures_are_counted(miniature):
    miniature.text("pairs.csv", "first,second,same", "a.jpg,b.jpg,1", "a.jpg,c.jpg,0")
    miniature.picture("a.jpg", "b.jpg")
    records, summary = read_source("pairs", miniature.root)
    assert [record.same for record in records] == [True]
    assert summary.missing.count == 1


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["first,second", "a.jpg,b.jpg"], "line 1: the header lacks a column same; it has first, second"),
        (["first,second,same", "a.jpg,b.jpg,maybe"], "line 2: 'same' must be one of '1', 'true'.* not 'maybe'"),
        (["first,second,same", "a.jpg,,1"], "line 2: the field 'second' is empty"),
        (["first,second,same", "a.jpg,b.jpg,1", "a.jpg,b.jpg,0"], "line 3: line 2 has the same pair"),
    ],
)
def test_a_table_that_is_malformed_is_said_with_its_line(miniature, lines, message):
    miniature.text("pairs.csv", *lines)
    miniature.picture("a.jpg", "b.jpg")
    with pytest.raises(RecordError, match=message):
        list(read_source("pairs", miniature.root)[0])


def test_columns_of_pairs_are_known_in_british_spelling_and_others_are_told(miniature):
    miniature.text("pairs.csv", "first,second,same,Licence,person_first,gendre", "a.jpg,b.jpg,1,cc0,p,woman")
    miniature.picture("a.jpg", "b.jpg")
    records, summary = read_source("pairs", miniature.root)
    assert [record.license for record in records] == ["cc0"]
    assert summary.other_columns == ["gendre"]
