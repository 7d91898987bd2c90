"""A user's own folder or CSV."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import ConfigurationError, RecordError


def test_every_picture_and_video_under_a_folder_is_a_record(miniature):
    miniature.picture("b/2.JPG", "a.png")
    miniature.clip("c/clip.mp4")
    miniature.text("notes.txt", "nothing")
    records = list(read_source("folder", miniature.root)[0])
    assert [record.image or record.video for record in records] == ["a.png", "b/2.JPG", "c/clip.mp4"]
    assert records[0].labels.expression is None


def test_folder_names_give_expressions_and_others_are_counted(miniature):
    miniature.picture("Happy/1.jpg", "contempt/1.jpg", "sleepy/1.jpg")
    records, summary = read_source("folder", miniature.root, labels="expression")
    assert [record.labels.expression for record in records] == ["happiness", "contempt"]
    assert summary.unmapped == {"sleepy": 1}
    with pytest.raises(ConfigurationError, match="not 'age'"):
        read_source("folder", miniature.root, labels="age")


def test_an_empty_folder_is_refused(miniature):
    with pytest.raises(RecordError, match="has no picture or video; folder expects pictures or videos"):
        read_source("folder", miniature.root)


def test_a_csv_gives_every_label_and_keeps_other_columns(miniature):
    miniature.text(
        "labels.csv",
        "file,id,expression,age,manipulated,AU06,AU12,Smiling,gender,split,camera",
        "a.jpg,one,Happy,31.5,no,0.5,3,1,woman,val,left",
        "b.jpg,,,,,,,,,train,",
    )
    miniature.picture("a.jpg", "b.jpg")
    first, second = list(read_source("csv", miniature.root)[0])
    assert first.id == "one"
    assert first.labels.expression == "happiness"
    assert (first.labels.age, first.labels.manipulated) == (31.5, False)
    assert first.labels.action_units == {"AU6": 0.5, "AU12": 3.0}
    assert first.labels.attributes == {"Smiling": True}
    assert first.groups == {"gender": "woman", "age_group": "30-39"}
    assert first.split == "validation"
    assert first.source == {"dataset": "csv", "camera": "left"}
    assert second.id == "csv/b.jpg"
    assert second.labels.model_dump(exclude_none=True) == {}
    assert [record.id for record in read_source("csv", miniature.root / "labels.csv", split="train")[0]] == [
        "csv/b.jpg"
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_columns_are_known_in_any_case_whatever_stands_between_cells(miniature, delimiter):
    lines = [
        ["FileName", "Expression", "au06", "SMILING", "Camera, left"],
        ["a.jpg", "HAPPY", "3", "1", "left; far, | \t x"],
    ]
    quoted = [delimiter.join(f'"{cell}"' if "," in cell else cell for cell in line) for line in lines]
    miniature.data("labels.csv", b"\xef\xbb\xbf" + "\r\n".join(quoted).encode())
    miniature.picture("a.jpg")
    (record,) = read_source("csv", miniature.root)[0]
    assert (record.image, record.labels.expression) == ("a.jpg", "happiness")
    assert record.labels.action_units == {"AU6": 3.0}
    assert record.labels.attributes == {"Smiling": True}
    assert record.source == {"dataset": "csv", "Camera, left": "left; far, | \t x"}


def test_an_age_that_is_a_band_and_a_gender_by_another_name_are_groups(miniature):
    bands = ("50-59", "more than 70", "30 – 39", "70+")
    lines = [f"{number}.jpg,{band},FEMALE,Happy" for number, band in enumerate(bands)]
    miniature.text("labels.csv", "file,Age,Gender,Expression", *lines, "4.jpg,12,non-binary,sad")
    miniature.picture(*(f"{number}.jpg" for number in range(5)))
    *records, last = read_source("csv", miniature.root)[0]
    assert [record.groups for record in records] == [{"age_group": band, "gender": "woman"} for band in bands]
    assert [record.labels.age for record in records] == [None] * 4
    assert (last.labels.age, last.groups) == (12.0, {"age_group": "10-19", "gender": "non-binary"})


def test_a_newline_in_quotes_is_part_of_the_cell_and_lines_are_still_named(miniature):
    miniature.text("labels.csv", "file,age,note", 'a.jpg,3,"two', 'lines"', "b.jpg,200,x")
    miniature.picture("a.jpg", "b.jpg")
    records = iter(read_source("csv", miniature.root)[0])
    assert next(records).source == {"dataset": "csv", "note": "two\nlines"}
    with pytest.raises(RecordError, match=r"line 4: 'age' must be a number from 0 to 130"):
        next(records)


def test_rows_that_repeat_another_are_left_out_and_named(miniature):
    miniature.text("labels.csv", "file,age", "a.jpg,3", "b.jpg,4", "a.jpg,3")
    miniature.picture("a.jpg", "b.jpg")
    records, summary = read_source("csv", miniature.root)
    assert [record.image for record in records] == ["a.jpg", "b.jpg"]
    assert summary.repeated.examples == ["line 4 repeats line 2 (csv/a.jpg)"]
    miniature.text("labels.csv", "file,age", "a.jpg,3", "a.jpg,4")
    with pytest.raises(RecordError, match=r"line 3: line 2 has the same face, 'csv/a\.jpg', with other values"):
        list(read_source("csv", miniature.root)[0])


def test_a_table_without_a_single_label_is_refused_with_its_columns(miniature):
    miniature.text("labels.csv", "file,Emotion_Label", "a.jpg,happy", "b.jpg,sad")
    miniature.picture("a.jpg", "b.jpg")
    with pytest.raises(
        RecordError, match=r"0 of 2 rows of .*labels\.csv have a label; its columns are file, Emotion_L"
    ):
        list(read_source("csv", miniature.root)[0])
    assert len(list(read_source("csv", miniature.root, labels="none")[0])) == 2
    miniature.text("labels.csv", "file,gender,split", "a.jpg,man,train")
    assert len(list(read_source("csv", miniature.root)[0])) == 1


@pytest.mark.parametrize(
    ("header", "line", "words"),
    [
        ("file,age", "a.jpg,131", "line 2: 'age' must be a number from 0 to 130, not '131'"),
        ("file,AU12", "a.jpg,6", "line 2: 'AU12' must be a number from 0 to 5, not '6'"),
        ("file,au99", "a.jpg,1", r"line 2: .*there is no action unit 'AU99' in FACS; did you mean 'AU9'\?"),
        ("file,expression", "a.jpg,sleepy", "line 2: 'expression' must be one of"),
        ("file,manipulated", "a.jpg,maybe", "line 2: 'manipulated' must be one of"),
        ("name,age", "a.jpg,3", "line 1: the header lacks a column image, video, file or path; it has name, age"),
        ("file,Age,age", "a.jpg,3,4", "line 1: the header has 'age' twice"),
        ("file,age", 'a.jpg,"3\nb.jpg,4', "line 2: not a row of a table .* is a quote left open there"),
    ],
)
def test_a_label_out_of_range_is_named_with_file_and_line(miniature, header, line, words):
    miniature.text("labels.csv", header, line)
    with pytest.raises(RecordError, match=rf"labels\.csv, {words}"):
        list(read_source("csv", miniature.root)[0])


def test_a_missing_table_is_named(miniature):
    with pytest.raises(RecordError, match=r"has no file labels\.csv; csv expects"):
        read_source("csv", miniature.root)


def test_splits_of_a_table_are_those_of_its_column(miniature):
    miniature.text("labels.csv", "file,age,split", "a.jpg,3,Train", "b.jpg,4,training", "c.jpg,5,fold-2", "d.jpg,6,")
    miniature.picture("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    read = {
        split: [record.image for record in read_source("csv", miniature.root, split=split)[0]]
        for split in ("train", "TRAIN", "fold-2")
    }
    assert read == {"train": ["a.jpg", "b.jpg"], "TRAIN": ["a.jpg", "b.jpg"], "fold-2": ["c.jpg"]}
    with pytest.raises(RecordError, match=r"nothing in .*labels\.csv is of the split 'fold-3'; there is fold-2, train"):
        list(read_source("csv", miniature.root, split="fold-3")[0])
    miniature.text("labels.csv", "file,age", "a.jpg,3")
    with pytest.raises(RecordError, match=r"is of the split 'test'; nothing there names a split"):
        list(read_source("csv", miniature.root, split="test")[0])


def test_columns_that_are_no_labels_are_told(miniature):
    miniature.text("labels.csv", "file,age,Emotion_Label,Smiling,au6,licence,", "a.jpg,3,happy,1,2,cc0,")
    miniature.picture("a.jpg")
    records, summary = read_source("csv", miniature.root)
    assert [record.source for record in records] == [{"dataset": "csv", "Emotion_Label": "happy"}]
    assert "columns that are no labels here, kept in source: Emotion_Label" in str(summary)
