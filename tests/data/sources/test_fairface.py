"""FairFace: its CSV files, its splits, and what is missing or broken."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import ConfigurationError, InvalidSpecError, RecordError

HEADER = "file,age,gender,race,service_test"


@pytest.fixture
def fairface(miniature):
    miniature.text(
        "fairface_label_train.csv",
        HEADER,
        "train/1.jpg,50-59,Male,East Asian,True",
        "train/2.jpg,more than 70,Female,Latino_Hispanic,False",
    )
    miniature.text("fairface_label_val.csv", HEADER, "val/1.jpg,3-9,Male,Southeast Asian,False")
    miniature.picture("train/1.jpg", "train/2.jpg", "val/1.jpg")
    return miniature


def test_faces_have_their_groups_split_and_origin(fairface):
    records, summary = read_source("fairface", fairface.root)
    first, second, third = list(records)
    assert first.id == "fairface/train/1.jpg"
    assert first.image == "train/1.jpg"
    assert first.groups == {"age_group": "50-59", "gender": "man", "race": "East Asian"}
    assert first.source == {"dataset": "fairface", "service_test": True}
    assert second.groups["age_group"] == "more than 70"
    assert [record.split for record in (first, second, third)] == ["train", "train", "validation"]
    assert summary.counts.splits == {"train": 2, "validation": 1}
    assert summary.counts.groups["gender"] == {"man": 2, "woman": 1}
    assert "3 records (3 images)" in str(summary)


def test_one_split_is_read_alone_and_needs_only_its_file(fairface):
    (fairface.root / "fairface_label_train.csv").unlink()
    records, _ = read_source("fairface", fairface.root, split="val")
    assert [record.id for record in records] == ["fairface/val/1.jpg"]
    with pytest.raises(RecordError, match=r"has no file fairface_label_train\.csv; fairface expects"):
        read_source("fairface", fairface.root, split="train")


def test_pictures_may_lie_in_the_folder_of_the_archive(fairface):
    home = fairface.root / "fairface-img-margin025-trainval"
    home.mkdir()
    for name in ("train", "val"):
        (fairface.root / name).rename(home / name)
    records, _ = read_source("fairface", fairface.root)
    assert next(records).image == "fairface-img-margin025-trainval/train/1.jpg"


def test_missing_and_broken_pictures_are_left_out_and_counted(fairface):
    (fairface.root / "train/2.jpg").unlink()
    (fairface.root / "val/1.jpg").write_bytes(fairface.jpeg[:40])
    records, summary = read_source("fairface", fairface.root, check_images=True)
    assert [record.id for record in records] == ["fairface/train/1.jpg"]
    assert summary.missing.count == 1
    assert summary.broken.examples == [str(fairface.root / "val/1.jpg")]
    assert "missing: 1 file:" in str(summary)
    records, summary = read_source("fairface", fairface.root)
    assert len(list(records)) == 2, "without the check a broken picture passes"


def test_a_wrong_root_says_what_was_expected(tmp_path, fairface):
    with pytest.raises(RecordError, match=r"no folder .*nowhere; fairface expects fairface_label_train\.csv"):
        read_source("fairface", tmp_path / "nowhere")
    with pytest.raises(RecordError, match=r"has no file fairface_label_train\.csv or fairface_label_val\.csv"):
        read_source("fairface", tmp_path)
    for folder in ("train", "val"):
        (fairface.root / folder).rename(tmp_path / folder)
    with pytest.raises(RecordError, match="has no folder train or fairface-img-margin025-trainval/train"):
        read_source("fairface", fairface.root)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train/3.jpg,5-9,Male,White,True", r"line 3: 'age' must be one of '0-2', .* not '5-9'"),
        ("train/3.jpg,3-9,Male,Martian,True", "line 3: 'race' must be one of .* not 'Martian'"),
        ("train/3.jpg,3-9,,White,True", "line 3: the field 'gender' is empty"),
        ("train/3.jpg,3-9", "line 3: 2 cells where 5 are expected"),
        (f"train/3.jpg,{'x' * 200_000},Male,White,True", "line 3: not a row of a table"),
    ],
)
def test_a_label_out_of_range_is_named_with_file_and_line(fairface, line, words):
    fairface.text("fairface_label_train.csv", HEADER, "train/1.jpg,50-59,Male,White,True", line)
    records, _ = read_source("fairface", fairface.root, split="train")
    assert next(records).image == "train/1.jpg"
    with pytest.raises(RecordError, match=rf"fairface_label_train\.csv, {words}"):
        next(records)


def test_a_header_without_a_column_is_named(fairface):
    fairface.text("fairface_label_train.csv", "file,age,gender", "train/1.jpg,50-59,Male")
    with pytest.raises(RecordError, match="line 1: the header lacks 'race'"):
        list(read_source("fairface", fairface.root)[0])


def test_options_and_splits_that_do_not_exist_are_refused(fairface):
    with pytest.raises(ConfigurationError, match="has the splits train, validation, not 'test'"):
        read_source("fairface", fairface.root, split="test")
    with pytest.raises(InvalidSpecError, match="dataset 'fairface' has no option 'fold'; known: check_images, split"):
        read_source("fairface", fairface.root, fold=1)
    with pytest.raises(ConfigurationError, match="makes a dataset and reads none"):
        read_source("synthetic", fairface.root)
