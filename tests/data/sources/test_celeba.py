"""CelebA: the count line, the header line, values of 1 and -1, and the partition file."""

import pytest

from facekit.data.labels import CELEBA_ATTRIBUTES
from facekit.data.sources import read_source
from facekit.errors import ConfigurationError, RecordError


def values(*present):
    return " ".join(f"{1 if name in present else -1:>2}" for name in CELEBA_ATTRIBUTES)


def write(miniature, *lines, count=None, anno="Anno/", evaluation="Eval/", pictures="Img/"):
    count = len(lines) if count is None else count
    miniature.text(f"{anno}list_attr_celeba.txt", count, " ".join(CELEBA_ATTRIBUTES) + " ", *lines)
    miniature.text(f"{evaluation}list_eval_partition.txt", "000001.jpg 0", "000002.jpg 1", "000003.jpg 2")
    miniature.picture(*(f"{pictures}img_align_celeba/00000{number}.jpg" for number in (1, 2, 3)))


@pytest.fixture
def celeba(miniature):
    write(
        miniature,
        f"000001.jpg {values('Smiling', 'Male')}",
        f"000002.jpg  {values('Young', 'No_Beard')}",
        f"000003.jpg {values()}",
    )
    return miniature


def test_faces_have_forty_attributes_and_the_official_split(celeba):
    records, summary = read_source("celeba", celeba.root)
    first, second, third = list(records)
    assert list(first.labels.attributes) == list(CELEBA_ATTRIBUTES)
    assert first.labels.present_attributes() == ["Male", "Smiling"]
    assert first.groups == {"gender": "man"}
    assert second.labels.present_attributes() == ["No_Beard", "Young"]
    assert third.labels.present_attributes() == []
    assert [record.split for record in (first, second, third)] == ["train", "validation", "test"]
    assert first.image == "Img/img_align_celeba/000001.jpg"
    assert summary.counts.tasks == {"attributes": 3}


@pytest.mark.parametrize("home", ["Anno/", ""])
def test_people_have_their_numbers_where_the_file_is_there(celeba, home):
    assert "person" not in next(read_source("celeba", celeba.root)[0]).source
    celeba.text(f"{home}identity_CelebA.txt", "000001.jpg 2880", "000003.jpg 2937")
    records, _ = read_source("celeba", celeba.root)
    assert [record.source.get("person") for record in records] == ["2880", None, "2937"]


def test_files_side_by_side_are_found_and_one_split_is_read(miniature):
    lines = [f"00000{number}.jpg {values()}" for number in (1, 2, 3)]
    write(miniature, *lines, anno="", evaluation="", pictures="")
    records, _ = read_source("celeba", miniature.root, split="test")
    assert [record.image for record in records] == ["img_align_celeba/000003.jpg"]


def test_a_count_that_does_not_fit_is_an_error(miniature):
    write(miniature, f"000001.jpg {values()}", count=2)
    with pytest.raises(RecordError, match="line 1 announces 2 faces and 1 follow"):
        list(read_source("celeba", miniature.root)[0])


def test_other_attribute_names_are_an_error(celeba):
    celeba.text("Anno/list_attr_celeba.txt", 1, "Smiling Hat", "000001.jpg 1 -1")
    with pytest.raises(RecordError, match="line 2 the 40 attribute names"):
        list(read_source("celeba", celeba.root)[0])


def test_a_wrong_root_and_a_missing_label_file_are_named(celeba, tmp_path):
    with pytest.raises(
        RecordError, match=r"no file Anno/list_attr_celeba\.txt or list_attr_celeba\.txt or list_attr_celeba\.csv; cele"
    ):
        read_source("celeba", tmp_path)
    (celeba.root / "Eval/list_eval_partition.txt").unlink()
    with pytest.raises(RecordError, match=r"no file Eval/list_eval_partition\.txt"):
        read_source("celeba", celeba.root)


def test_a_value_out_of_range_is_named_with_file_and_line(miniature):
    write(miniature, f"000001.jpg {values()}", f"000002.jpg {values().replace('-1', ' 0', 1)}")
    with pytest.raises(
        RecordError, match=r"list_attr_celeba\.txt, line 4: '5_o_Clock_Shadow' must be one of '1', '-1'"
    ):
        list(read_source("celeba", miniature.root)[0])


def test_a_face_outside_the_partition_and_an_unknown_kind_of_picture_are_refused(celeba):
    celeba.text("Eval/list_eval_partition.txt", "000001.jpg 3")
    with pytest.raises(RecordError, match=r"list_eval_partition\.txt, line 1: 'split' must be one of '0', '1', '2'"):
        list(read_source("celeba", celeba.root)[0])
    celeba.text("Eval/list_eval_partition.txt", "000001.jpg 0")
    with pytest.raises(RecordError, match=r"line 4: 000002\.jpg is not in"):
        list(read_source("celeba", celeba.root)[0])
    with pytest.raises(ConfigurationError, match="aligned or original"):
        read_source("celeba", celeba.root, pictures="large")


def test_the_folder_that_torchvision_makes_is_found_from_its_root(miniature):
    lines = [f"00000{number}.jpg {values()}" for number in (1, 2, 3)]
    write(miniature, *lines, anno="celeba/", evaluation="celeba/", pictures="celeba/")
    records = list(read_source("celeba", miniature.root)[0])
    assert [record.image for record in records] == [f"celeba/img_align_celeba/00000{n}.jpg" for n in (1, 2, 3)]


def test_tables_with_commas_and_doubled_folders_are_read(miniature):
    row = values("Smiling", "Male").split()
    miniature.text("list_attr_celeba.csv", ",".join(("image_id", *CELEBA_ATTRIBUTES)), ",".join(("000001.jpg", *row)))
    miniature.text("list_eval_partition.csv", "image_id,partition", "000001.jpg,2")
    miniature.picture("img_align_celeba/img_align_celeba/000001.jpg")
    (record,) = read_source("celeba", miniature.root)[0]
    assert record.image == "img_align_celeba/img_align_celeba/000001.jpg"
    assert record.labels.present_attributes() == ["Male", "Smiling"]
    assert (record.split, record.groups) == ("test", {"gender": "man"})
    miniature.text("list_attr_celeba.csv", "image_id,Smiling", "000001.jpg,1")
    with pytest.raises(RecordError, match=r"list_attr_celeba\.csv, line 1: the header lacks '5_o_Clock_Shadow'"):
        list(read_source("celeba", miniature.root)[0])
