import json
import shutil

import pytest

from facekit.data.formats import read_records, write_records
from facekit.datagen.intake import take_in
from facekit.errors import ConfigurationError, RecordError, UnknownPartError


def test_a_records_file_is_taken_as_it_is(faces, tmp_path):
    assert take_in(faces, tmp_path / "out") == faces
    assert not (tmp_path / "out").exists()


def test_shards_are_unpacked_once_and_again_when_they_change(faces, tmp_path):
    records, shards = list(read_records(faces)), tmp_path / "shards"
    write_records(records[:4], shards, "webdataset", media_folder=faces.parent)
    taken = take_in(shards, tmp_path / "out")
    assert [record.id for record in read_records(taken, check_files=True)] == [record.id for record in records[:4]]
    first = taken.stat().st_mtime_ns
    assert take_in(str(shards), tmp_path / "out").stat().st_mtime_ns == first
    shutil.rmtree(shards)
    write_records(records, shards, "webdataset", media_folder=faces.parent)
    assert len(list(read_records(take_in(shards, tmp_path / "out")))) == 10


def test_a_dataset_or_another_format_is_converted_where_its_media_are(faces, tmp_path):
    write_records(read_records(faces), faces.with_name("chat.json"), "llava")
    taken = take_in(faces.with_name("chat.json"), tmp_path / "chat")
    assert len(list(read_records(taken, check_files=True))) == 10
    taken = take_in(f"folder:{faces.parent}", tmp_path / "folder")
    assert {record.id for record in read_records(taken, check_files=True)} >= {"folder/images/0.png"}


def test_pictures_inside_a_table_are_unpacked(faces, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    pictures = [record.media_paths(faces.parent)[0].read_bytes() for record in list(read_records(faces))[:2]]
    table = pyarrow.table({"image": [{"bytes": each, "path": None} for each in pictures], "gender": ["man", "woman"]})
    parquet.write_table(table, tmp_path / "faces.parquet")
    taken = take_in(tmp_path / "faces.parquet", tmp_path / "out")
    found = list(read_records(taken, check_files=True))
    assert [record.media_paths(taken.parent)[0].read_bytes() for record in found] == pictures


def test_a_dataset_whose_labels_changed_is_read_again(faces, tmp_path):
    table = faces.with_name("labels.csv")
    table.write_text("file,age\nimages/0.png,30\n")
    for origin in (f"csv:{table}", f"csv:{faces.parent}"):
        output = faces.parent / f"out-{len(origin)}"
        ages = []
        for age in (30, 31, 31):
            table.write_text(f"file,age\nimages/0.png,{age}\n")
            taken = take_in(origin, output)
            ages.append(next(iter(read_records(taken))).labels.age)
        assert ages == [30, 31, 31]
        written = taken.stat().st_mtime_ns
        note = taken.with_name("origin.json")
        note.write_text(json.dumps({**json.loads(note.read_text()), "state": None}))  # of an earlier version
        assert take_in(origin, output).stat().st_mtime_ns == written
        assert json.loads(note.read_text())["state"] is not None


def test_another_origin_needs_another_folder(faces, tmp_path):
    take_in(f"folder:{faces.parent}", tmp_path / "out")
    with pytest.raises(ConfigurationError, match="was begun with folder:"):
        take_in(f"folder:{tmp_path}", tmp_path / "out")


def test_a_wrong_origin_is_named(tmp_path):
    with pytest.raises(UnknownPartError, match="did you mean 'fairface'"):
        take_in(f"fairfac:{tmp_path}", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="neither a folder of the datasets library nor one with WebDataset shards"):
        take_in(tmp_path / "empty", tmp_path / "out")


def test_several_sets_are_merged_once(faces, tmp_path):
    origins = [faces, f"folder:{faces.parent}"]
    taken = take_in(origins, tmp_path / "out")
    merged = list(read_records(taken, check_files=True))
    assert len(merged) == 10 + len(list(read_records(take_in(origins[1], tmp_path / "alone"))))
    assert [record.id for record in merged[:10]] == [record.id for record in read_records(faces)]
    written = taken.stat().st_mtime_ns
    assert take_in(origins, tmp_path / "out").stat().st_mtime_ns == written
    with pytest.raises(ConfigurationError, match=r"was begun with .* and folder:"):
        take_in(origins[1], tmp_path / "out")


def test_one_set_in_a_list_is_that_set_and_an_empty_list_is_refused(faces, tmp_path):
    assert take_in([faces], tmp_path / "out") == faces
    with pytest.raises(ConfigurationError, match="nothing to describe"):
        take_in([], tmp_path / "out")
