"""AffectNet: CSV lists with and without a header, and the layout of .npy files."""

import io

import numpy as np
import pytest

from facekit.data.sources import read_source
from facekit.errors import RecordError

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
POINTS = ";".join(["2.0", "4.0"] * 68)


def line(name, expression, valence="0.5", arousal="-0.25"):
    return f"{name},1,1,6,6,{POINTS},{expression},{valence},{arousal}"


@pytest.fixture
def lists(miniature):
    names = ("1/a.jpg", "1/b.jpg", "2/c.jpg")
    miniature.text(
        "Manually_Annotated_file_lists/training.csv",
        HEADER,
        line(names[0], 7),
        line(names[1], 9, "-2", "-2"),
        line(names[1], 0, "-2", "-2"),
    )
    miniature.text("Manually_Annotated_file_lists/validation.csv", line(names[2], 6))
    miniature.picture(*(f"Manually_Annotated_Images/{name}" for name in names))
    return miniature


@pytest.fixture
def arrays(miniature):
    def save(name, value):
        buffer = io.BytesIO()
        np.save(buffer, np.array(value))
        miniature.data(name, buffer.getvalue())

    for number, code in (("2", "1"), ("10", "7")):
        miniature.picture(f"train_set/images/{number}.jpg")
        save(f"train_set/annotations/{number}_exp.npy", code)
        save(f"train_set/annotations/{number}_val.npy", "0.75")
        save(f"train_set/annotations/{number}_aro.npy", "-0.5")
        save(f"train_set/annotations/{number}_lnd.npy", np.full(136, 4.0))
    miniature.save = save
    return miniature


def test_lists_give_expressions_and_count_what_has_none(lists):
    records, summary = read_source("affectnet", lists.root)
    first, second, third = list(records)
    assert [record.labels.expression for record in (first, second, third)] == ["contempt", "neutral", "anger"]
    assert [record.split for record in (first, second, third)] == ["train", "train", "validation"]
    assert first.source == {"dataset": "affectnet", "valence": 0.5, "arousal": -0.25}
    assert first.landmarks is None
    assert second.source == {"dataset": "affectnet"}, "-2 stands for not annotated"
    assert summary.unmapped == {"uncertain": 1}
    assert "unmapped labels: uncertain 1" in str(summary)


def test_landmarks_are_divided_by_the_size_of_the_picture(lists):
    record = next(read_source("affectnet", lists.root, landmarks=True)[0])
    assert record.landmarks == [[0.25, 0.5]] * 68


def test_the_npy_layout_is_read_in_order_of_numbers(arrays):
    first, second = list(read_source("affectnet", arrays.root, split="train", landmarks="true")[0])
    assert [record.image for record in (first, second)] == ["train_set/images/2.jpg", "train_set/images/10.jpg"]
    assert [record.labels.expression for record in (first, second)] == ["happiness", "contempt"]
    assert first.source["valence"] == 0.75
    assert first.landmarks == [[0.5, 0.5]] * 68


def test_a_wrong_root_and_a_missing_label_file_are_named(lists, arrays, tmp_path):
    with pytest.raises(RecordError, match=r"no file Manually_Annotated_file_lists/training\.csv .*affectnet expects"):
        read_source("affectnet", tmp_path)
    (arrays.root / "train_set/annotations/2_exp.npy").unlink()
    with pytest.raises(RecordError, match=r"2_exp\.npy cannot be read"):
        list(read_source("affectnet", arrays.root, split="train")[0])
    (lists.root / "val_set").mkdir()
    with pytest.raises(RecordError, match="no folder val_set/images"):
        read_source("affectnet", lists.root, split="validation")


def test_a_label_out_of_range_is_named_with_file_and_line(lists, arrays):
    arrays.save("train_set/annotations/10_exp.npy", "11")
    with pytest.raises(RecordError, match=r"file name .*10_exp\.npy: 'expression' must be one of '0', .* not '11'"):
        list(read_source("affectnet", arrays.root)[0])
    (arrays.root / "train_set").rename(arrays.root / "elsewhere")
    lists.text("Manually_Annotated_file_lists/training.csv", HEADER, line("1/a.jpg", 11))
    with pytest.raises(RecordError, match=r"training\.csv, line 2: 'expression' must be one of"):
        list(read_source("affectnet", lists.root)[0])
    lists.text("Manually_Annotated_file_lists/training.csv", HEADER, line("1/a.jpg", 1, "1.5"))
    with pytest.raises(RecordError, match=r"training\.csv, line 2: 'valence' must be a number from -1 to 1"):
        list(read_source("affectnet", lists.root)[0])
