"""UTKFace: labels in names, whole and broken."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import ConfigurationError, RecordError


def read(miniature, *names):
    miniature.picture(*(f"UTKFace/{name}" for name in names))
    records, summary = read_source("utkface", miniature.root)
    return list(records), summary


def test_a_whole_name_gives_age_gender_and_race(miniature):
    (record,), summary = read(miniature, "26_1_4_20170116235150272.jpg.chip.jpg")
    assert record.labels.age == 26
    assert record.groups == {"age_group": "20-29", "gender": "woman", "race": "Others"}
    assert record.split is None
    assert summary.unmapped == {}


@pytest.mark.parametrize(
    ("name", "age", "groups"),
    [
        ("39_1_20170116174525125.jpg.chip.jpg", 39, {"age_group": "30-39"}),
        ("61_3_20170109150557335.jpg.chip.jpg", 61, {"age_group": "60-69"}),
        ("53__0_20170116184028385.jpg.chip.jpg", 53, {"age_group": "50-59", "race": "White"}),
    ],
)
def test_a_broken_name_keeps_what_is_certain_and_is_counted(miniature, name, age, groups):
    (record,), summary = read(miniature, name)
    assert (record.labels.age, record.groups) == (age, groups)
    assert summary.unmapped == {"name without gender or race": 1}


@pytest.mark.parametrize(
    "name",
    ["24_0_1_20170116220224657 .jpg.chip.jpg", "55_0_0_20170116232725357jpg", "44_1_4_20170116235150272.pg.chip.jpg"],
)
def test_a_name_with_a_broken_ending_is_whole(miniature, name):
    (record,), summary = read(miniature, name)
    assert set(record.groups) == {"age_group", "gender", "race"}
    assert not summary.unmapped


def test_other_files_are_passed_over_and_parts_in_the_wild_are_found(miniature):
    miniature.picture("part1/1_0_2_20161219140623097.jpg", "part2/100_1_0_20170112213500903.jpg")
    miniature.text("part1/notes.txt", "no face")
    records, _ = read_source("utkface", miniature.root)
    assert [record.labels.age for record in records] == [1, 100]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("205_0_1_20170116220224657.jpg", "'age' must be a whole number from 0 to 116, not '205'"),
        ("20_2_1_20170116220224657.jpg", "'gender' must be one of '0', '1', not '2'"),
        ("20_0_7_20170116220224657.jpg", "'race' must be one of"),
    ],
)
def test_a_label_out_of_range_names_the_file(miniature, name, words):
    with pytest.raises(RecordError, match=rf"file name .*{name}: {words}"):
        read(miniature, name)


def test_a_wrong_root_and_a_split_are_refused(miniature):
    with pytest.raises(RecordError, match="has no folder UTKFace or part1; utkface expects pictures named age_gender"):
        read_source("utkface", miniature.root)
    with pytest.raises(ConfigurationError, match="utkface defines no split"):
        read_source("utkface", miniature.root, split="train")


@pytest.mark.parametrize("outer", ["UTKFace/UTKFace", "utkface_aligned_cropped/UTKFace", "UTKFace/part1"])
def test_folders_inside_a_folder_are_found(miniature, outer):
    miniature.picture(f"{outer}/26_1_4_20170116235150272.jpg.chip.jpg")
    (record,) = read_source("utkface", miniature.root)[0]
    assert record.image == f"{outer}/26_1_4_20170116235150272.jpg.chip.jpg"


def test_an_archive_that_has_the_same_faces_four_times_gives_each_once(miniature):
    places = ("UTKFace", "crop_part1", "utkface_aligned_cropped/UTKFace", "utkface_aligned_cropped/crop_part1")
    miniature.picture(*(f"{place}/26_1_4_20170116235150272.jpg.chip.jpg" for place in places))
    assert [record.image.split("/")[0] for record in read_source("utkface", miniature.root)[0]] == ["UTKFace"]


def test_a_folder_of_the_right_name_without_labelled_pictures_is_an_error(miniature):
    miniature.text("UTKFace/readme.txt", "no face")
    with pytest.raises(RecordError, match="UTKFace has no picture with labels in its name"):
        read_source("utkface", miniature.root)
