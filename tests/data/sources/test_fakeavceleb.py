"""FakeAVCeleb: a table whose last column has no name, and files that are listed twice."""

import pytest

from facekit.data.sources import read_source
from facekit.errors import RecordError

HEADER = "source,target1,target2,method,category,type,race,gender,path,"
LINES = (
    "id00076,-,-,real,A,RealVideo-RealAudio,African,men,00109.mp4,FakeAVCeleb/RealVideo-RealAudio/African/men/id00076",
    "id00166,-,-,rtvc,B,RealVideo-FakeAudio,African,men,00010_fake.mp4,"
    "FakeAVCeleb/RealVideo-FakeAudio/African/men/id00166",
    "id01236,id00476,10,wav2lip,D,FakeVideo-FakeAudio,Asian (East),women,1.mp4,"
    "FakeAVCeleb/FakeVideo-FakeAudio/Asian (East)/women/id01236",
    "id01236,id00476,10,faceswap-wav2lip,D,FakeVideo-FakeAudio,Asian (East),women,1.mp4,"
    "FakeAVCeleb/FakeVideo-FakeAudio/Asian (East)/women/id01236",
)
FILES = (
    "RealVideo-RealAudio/African/men/id00076/00109.mp4",
    "RealVideo-FakeAudio/African/men/id00166/00010_fake.mp4",
    "FakeVideo-FakeAudio/Asian (East)/women/id01236/1.mp4",
)


@pytest.fixture
def fakeavceleb(miniature):
    miniature.text("meta_data.csv", HEADER, *LINES)
    miniature.clip(*FILES)
    return miniature


def test_the_label_is_about_the_picture_and_repeated_files_are_counted(fakeavceleb):
    records, summary = read_source("fakeavceleb", fakeavceleb.root)
    first, second, third = list(records)
    assert [record.video for record in (first, second, third)] == list(FILES)
    assert [record.labels.manipulated for record in (first, second, third)] == [False, False, True]
    assert third.groups == {"gender": "woman", "race": "Asian (East)"}
    assert third.source["method"] == "wav2lip"
    assert summary.repeated.count == 1


def test_the_folder_above_is_a_root_too(fakeavceleb, tmp_path):
    fakeavceleb.root.rename(tmp_path / "FakeAVCeleb")
    records = list(read_source("fakeavceleb", tmp_path)[0])
    assert records[0].video == f"FakeAVCeleb/{FILES[0]}"


def test_a_wrong_root_and_a_missing_table_are_named(fakeavceleb, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match=r"no file meta_data\.csv .*fakeavceleb expects"):
        read_source("fakeavceleb", tmp_path / "empty")
    fakeavceleb.text("meta_data.csv", "source,path", "a,b")
    with pytest.raises(RecordError, match=r"meta_data\.csv, line 1: the columns source, target1"):
        list(read_source("fakeavceleb", fakeavceleb.root)[0])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("RealVideo-RealAudio,", "RealVideo-Realaudio,", "line 2: 'type' must be one of"),
        (",men,", ",people,", "line 2: 'gender' must be one of 'men', 'women', not 'people'"),
        ("00109.mp4", "../../x.mp4", "line 2: the path .* leaves the dataset's folder"),
    ],
)
def test_a_label_out_of_range_is_named_with_file_and_line(fakeavceleb, old, new, words):
    fakeavceleb.text("meta_data.csv", HEADER, LINES[0].replace(old, new))
    with pytest.raises(RecordError, match=rf"meta_data\.csv, {words}"):
        list(read_source("fakeavceleb", fakeavceleb.root)[0])
