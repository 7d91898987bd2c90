"""What a set of a stranger names outside its folder is not opened; what was written here is."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from facekit.data.confinement import VARIABLE, Confinement, OutsideFolders
from facekit.data.convert import convert
from facekit.data.formats import read_records as read_format
from facekit.data.formats import write_records as write_format
from facekit.data.formats.shards import verify_shards
from facekit.data.records import FaceRecord, iterate_records, read_records, write_records
from facekit.data.shard_index import count_samples
from facekit.data.sources import read_source
from facekit.errors import RecordError


@pytest.fixture
def private(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "private.jpg")
    np.save(folder / "points.npy", np.full((68, 2), 128.0))
    return folder / "private.jpg"


@pytest.fixture
def foreign(tmp_path, private):
    """A folder that came from elsewhere, with a link in it."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "own.jpg")
    (folder / "link.jpg").symlink_to(private)
    (folder / "linked").symlink_to(private.parent)
    return folder


def names(private):
    return [
        str(private),
        "../home/private.jpg",
        "linked/../private.jpg",
        "link.jpg",
        "linked/private.jpg",
        "a/../../x.jpg",
    ]


def write_lines(folder, *values):
    path = folder / "records.jsonl"
    path.write_text("".join(json.dumps({"id": str(index), **value}) + "\n" for index, value in enumerate(values)))
    return path


def test_every_way_out_of_the_folder_is_refused_with_the_line(foreign, private):
    for name in names(private):
        path = write_lines(foreign, {"image": "own.jpg"}, {"image": name})
        with pytest.raises(RecordError, match=r"records\.jsonl, line 2: the path .* leads out of .*--allow-outside"):
            read_records(path, check_files=False)


@pytest.mark.parametrize("value", [{"video": ["own.jpg", "../home/private.jpg"]}, {"video": "../home/a.mp4"},
                                   {"image": "own.jpg", "landmarks": "../home/points.npy"}])  # fmt: skip
def test_frames_videos_and_landmarks_are_looked_at_too(foreign, value):
    with pytest.raises(RecordError, match="leads out of"):
        read_records(write_lines(foreign, value), check_files=False)


def test_paths_that_stay_inside_are_read(foreign):
    (foreign / "deep").mkdir()
    (foreign / "here.jpg").symlink_to("own.jpg")
    values = [
        {"image": name} for name in ("own.jpg", "./own.jpg", "deep/../own.jpg", "here.jpg", str(foreign / "own.jpg"))
    ]
    assert len(read_records(write_lines(foreign, *values))) == 5


def test_a_relative_records_file_is_as_confined(foreign, private, monkeypatch):
    write_lines(foreign, {"image": "own.jpg"})
    monkeypatch.chdir(foreign)
    assert len(read_records("records.jsonl")) == 1
    write_lines(foreign, {"image": "../home/private.jpg"})
    with pytest.raises(RecordError, match="leads out of"):
        read_records("records.jsonl")


def test_whoever_reads_it_may_allow_it(foreign, private, monkeypatch):
    path = write_lines(foreign, *({"image": name} for name in ("link.jpg", str(private))))
    monkeypatch.setenv(VARIABLE, "1")
    assert len(read_records(path)) == 2


def test_other_formats_and_their_landmarks_are_as_confined(foreign, private):
    turns = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    chat = foreign / "chat.json"
    for sample in ({"image": "../home/private.jpg"}, {"image": "own.jpg", "landmarks_2d": "../home/points.npy"}):
        chat.write_text(json.dumps([{"id": "a", **sample, "conversations": turns}]))
        with pytest.raises(RecordError, match="leads out of"):
            list(read_format(chat))
        with pytest.raises(RecordError, match="leads out of"):
            list(read_source("chat-json", foreign)[0])


def test_a_folder_that_the_user_names_for_media_is_the_one_to_stay_in(foreign, private, tmp_path):
    path = write_lines(foreign, {"image": "private.jpg"}, {"image": str(private)})
    assert len(list(read_format(path, media_folder=private.parent))) == 2
    path = write_lines(foreign, {"image": "../foreign/own.jpg"})
    with pytest.raises(RecordError, match="leads out of"):
        list(read_format(path, media_folder=private.parent))
    turns = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    (foreign / "chat.json").write_text(json.dumps([{"image": "private.jpg", "conversations": turns}]))
    assert len(list(read_source("chat-json", foreign / "chat.json", media="../home")[0])) == 1


def test_what_is_written_here_is_read_here(private, tmp_path):
    out = tmp_path / "out" / "records.jsonl"
    write_records(out, [FaceRecord(id="a", image=str(private)), FaceRecord(id="b", image="../home/private.jpg")])
    assert [record.id for record in read_records(out)] == ["a", "b"]
    for format, name in (("llava", "chat.json"), ("datasets", "folder")):
        if format == "datasets":
            pytest.importorskip("datasets")
        write_format(read_records(out), tmp_path / "out" / name, format)
        assert len(list(read_format(tmp_path / "out" / name))) == 2


def test_what_was_written_elsewhere_says_nothing_here(private, tmp_path):
    out = tmp_path / "out" / "records.jsonl"
    write_records(out, [FaceRecord(id="a", image="../home/private.jpg")])
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    with pytest.raises(RecordError, match="leads out of"):
        read_records(tmp_path / "copy" / "records.jsonl")
    (tmp_path / "out").rename(tmp_path / "moved")
    assert len(read_records(tmp_path / "moved" / "records.jsonl")) == 1


def test_only_the_folders_that_were_written_are_open(private, tmp_path):
    out = tmp_path / "out" / "records.jsonl"
    write_records(out, [FaceRecord(id="a", image="../home/private.jpg")])
    (tmp_path / "other.jpg").write_bytes(private.read_bytes())
    out.write_text('{"id": "b", "image": "../other.jpg"}\n')
    with pytest.raises(RecordError, match="leads out of"):
        read_records(out)
    write_records(out, [FaceRecord(id="c", image="own.jpg")])
    out.write_text('{"id": "a", "image": "../home/private.jpg"}\n')
    with pytest.raises(RecordError, match="leads out of"):
        read_records(out, check_files=False)


def test_links_in_a_folder_of_the_users_own_are_followed_and_the_records_read(foreign, tmp_path):
    result = convert(f"folder:{foreign}", tmp_path / "out" / "records.jsonl")
    assert result.counts.records == 2  # own.jpg, and linked/private.jpg
    assert len(read_records(result.path)) == 2


def test_a_converted_set_is_not_laundered(foreign, tmp_path):
    path = write_lines(foreign, {"image": "../home/private.jpg"})
    with pytest.raises(RecordError, match="leads out of"):
        convert(str(path), tmp_path / "out.jsonl")
    (foreign / "labels.csv").write_text("file,age\n../home/private.jpg,3\n")
    with pytest.raises(RecordError, match=r"csv, record .* leads out of"):
        convert(f"csv:{foreign}", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_names_in_shards_are_as_confined(foreign, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    record = {"id": "a", "image": "../home/private.jpg"}
    with webdataset.TarWriter(str(foreign / "shard-000000.tar"), encoder=False) as sink:
        sink.write({"__key__": "000000000", "json": json.dumps(record).encode(), "jpg": b"x"})
    with pytest.raises(RecordError, match="leads out of"):
        convert(str(foreign / "shard-000000.tar"), tmp_path / "out.jsonl")


@pytest.mark.parametrize("name", ["../home/private.jpg", "/etc/passwd", "..", "", None, "a\\b"])
def test_a_manifest_names_files_beside_it_and_nothing_else(foreign, name):
    shard = {"name": name, "bytes": 1, "sha256": "x", "records": 1}
    (foreign / "manifest.json").write_text(json.dumps({"records": 1, "shards": [shard]}))
    for check in (count_samples, verify_shards):
        with pytest.raises(RecordError, match="is no name of a file beside the manifest"):
            check(foreign)


def test_a_snapshot_of_the_hub_may_link_to_its_own_blobs(tmp_path, private):
    snapshot = tmp_path / "datasets--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "datasets--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "77").write_bytes(private.read_bytes())
    (snapshot / "a.jpg").symlink_to("../../blobs/77")
    (snapshot / "b.jpg").symlink_to("../../../home/private.jpg")
    confinement = Confinement(snapshot)
    assert confinement.contains("a.jpg")
    assert not confinement.contains("b.jpg")
    shutil.rmtree(blobs)
    blobs.symlink_to(private.parent)
    assert not Confinement(snapshot).contains("../../blobs/private.jpg")


def test_a_damaged_note_opens_nothing(private, tmp_path):
    out = tmp_path / "out" / "records.jsonl"
    write_records(out, [FaceRecord(id="a", image="../home/private.jpg")])
    (note,) = out.parent.glob(".*.json")
    for text in ("[]", "{", '{"inode": 1, "folders": ["/"]}'):
        note.write_text(text)
        with pytest.raises(RecordError, match="leads out of"):
            read_records(out)


def test_many_folders_are_noted_by_those_above_them(tmp_path):
    outside = OutsideFolders(tmp_path / "out" / "records.jsonl")
    (tmp_path / "out").mkdir()
    outside.add(f"../data/{person}/{index}.jpg" for person in range(300) for index in range(2))
    outside.write()
    confinement = Confinement(tmp_path / "out", tmp_path / "out" / "records.jsonl")
    assert confinement.contains("../data/7/1.jpg")
    assert not confinement.contains("../other/7/1.jpg")


def test_looking_costs_little(tmp_path):
    confinement = Confinement(tmp_path)
    names = [f"faces/{index % 50}/{index}.jpg" for index in range(5000)]
    started = time.process_time()
    confinement.check(names, "here")
    assert time.process_time() - started < 0.5


def test_the_commands_have_a_switch(foreign, private, run_facekit, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "")
    path = write_lines(foreign, {"image": str(private)})
    status, _, error = run_facekit("convert", path, tmp_path / "out.jsonl")
    assert (status, error.count("\n")) == (2, 1)
    assert run_facekit("verify", path)[0] == 1
    assert run_facekit("convert", path, tmp_path / "out.jsonl", "--allow-outside")[0] == 0
    assert os.environ[VARIABLE] == "1"
    monkeypatch.setenv(VARIABLE, "")
    assert run_facekit("--allow-outside", "verify", path)[0] == 0
    assert len(list(iterate_records(tmp_path / "out.jsonl"))) == 1


def test_several_pictures_are_each_looked_at(foreign):
    path = write_lines(foreign, {"images": ["own.jpg", "../home/private.jpg"]})
    with pytest.raises(RecordError, match="leads out of"):
        read_records(path)


@pytest.mark.parametrize("name", ["\0/", "a\0b.png", "../\0"])
def test_a_name_that_no_file_can_have_is_judged_by_its_words(tmp_path, name):
    outside = OutsideFolders(tmp_path / "records.jsonl")
    outside.add([name])
    assert Confinement(tmp_path).contains(name) is not name.startswith("..")
