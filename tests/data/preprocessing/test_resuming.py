"""A run that is started again: what is kept, what is done again, and who may work on a folder."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from facekit.data.formats.shards import read_shards, verify_shards
from facekit.data.locking import hold_folder
from facekit.data.preprocessing import PreprocessSettings, faces, preprocess
from facekit.data.preprocessing.engines import run_tasks
from facekit.data.preprocessing.failures import may_pass
from facekit.data.preprocessing.stamps import compare_stamps, stamp_record
from facekit.data.records import FaceRecord, iterate_records, write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, ImageError

pytest.importorskip("webdataset")
SETTINGS = PreprocessSettings(size=32, records_per_shard=4)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_synthetic_dataset(folder, 8, seed=5)
    return folder


@pytest.fixture
def dataset(original, tmp_path):
    shutil.copytree(original, tmp_path / "set")
    return tmp_path / "set" / "records.jsonl"


@pytest.fixture
def opened(monkeypatch):
    """The pictures that preprocessing opens, by name."""
    names = []
    open_image = faces.open_image
    monkeypatch.setattr(
        faces, "open_image", lambda path, **options: (names.append(path.name), open_image(path, **options))[1]
    )
    return names


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pictures(dataset):
    return [dataset.parent / record.image for record in iterate_records(dataset)]


def test_a_flipped_byte_in_a_shard_is_found_and_only_that_shard_is_done_again(dataset, tmp_path, opened):
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    first = contents(tmp_path / "out")
    shard = tmp_path / "out" / "shard-000001.tar"
    damaged = bytearray(shard.read_bytes())
    damaged[2000] ^= 1
    shard.write_bytes(damaged)
    opened.clear()
    assert preprocess(str(dataset), tmp_path / "out", SETTINGS).reused == 4
    assert opened == [path.name for path in pictures(dataset)[4:]]
    assert contents(tmp_path / "out") == first


def test_a_picture_that_was_repaired_under_its_name_is_done_again_and_no_other(dataset, tmp_path, opened):
    target = pictures(dataset)[2]
    whole = target.read_bytes()
    target.write_bytes(whole[:100])
    result = preprocess(str(dataset), tmp_path / "out", SETTINGS)
    assert (result.records, result.failures) == (7, {"ImageError": 1})
    target.write_bytes(whole)
    opened.clear()
    again = preprocess(str(dataset), tmp_path / "out", SETTINGS)
    assert (again.records, again.reused, again.failures) == (8, 7, {})
    assert opened == [target.name]
    straight = preprocess(str(dataset), tmp_path / "straight", SETTINGS)
    assert straight.records == 8
    assert contents(tmp_path / "out") == contents(tmp_path / "straight")
    assert (tmp_path / "out" / "failures.jsonl").read_text() == ""


def test_a_picture_that_was_replaced_by_one_of_the_same_size_is_noticed(dataset, tmp_path, opened):
    target = pictures(dataset)[0]
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    content = bytearray(target.read_bytes())
    content[-5] ^= 1
    target.write_bytes(content)
    os.utime(target, ns=(0, 0))
    opened.clear()
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    assert opened == [target.name]


def test_a_picture_that_was_only_touched_is_not_done_again_and_read_once(dataset, tmp_path, opened):
    target = pictures(dataset)[0]
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    os.utime(target, ns=(1, 1))
    opened.clear()
    assert preprocess(str(dataset), tmp_path / "out", SETTINGS).reused == 8
    assert opened == []
    note = json.loads((tmp_path / "out" / "units" / "000000.json").read_text())
    assert note["inputs"][0][0][1] == 1


def test_a_picture_that_has_come_is_noticed(dataset, tmp_path):
    target = pictures(dataset)[7]
    away = target.rename(target.with_name("away"))
    assert preprocess(str(dataset), tmp_path / "out", SETTINGS).records == 7
    away.rename(target)
    assert preprocess(str(dataset), tmp_path / "out", SETTINGS).records == 8


def test_what_failed_by_a_disk_is_tried_again_and_a_broken_picture_only_if_asked(
    dataset, tmp_path, monkeypatch, opened
):
    broken, unread = pictures(dataset)[1].name, pictures(dataset)[5].name
    (pictures(dataset)[1]).write_bytes(b"no picture")
    counted = faces.open_image

    def fail(path, **options):
        picture = counted(path, **options)
        if path.name == unread:
            raise ImageError(f"{path} cannot be read") from OSError(errno.EIO, "Input/output error")
        return picture

    monkeypatch.setattr(faces, "open_image", fail)
    first = preprocess(str(dataset), tmp_path / "out", SETTINGS)
    assert (first.records, first.failures) == (6, {"ImageError": 2})
    listed = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert [(entry["index"], entry["may_pass"]) for entry in listed] == [(1, False), (5, True)]
    monkeypatch.setattr(faces, "open_image", counted)
    opened.clear()
    second = preprocess(str(dataset), tmp_path / "out", SETTINGS)
    assert (opened, second.records) == ([unread], 7)
    opened.clear()
    third = preprocess(str(dataset), tmp_path / "out", SETTINGS, retry_failed=True)
    assert (opened, third.records) == ([broken], 7)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (MemoryError(), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (PermissionError(errno.EACCES, "Permission denied"), True),
        (OSError("image file is truncated"), False),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (ValueError(), False),
    ],
)
def test_errors_of_memory_disks_and_permissions_may_pass(error, passes):
    assert may_pass(error) is passes
    wrapped = ImageError("cannot be read")
    wrapped.__cause__ = error
    assert may_pass(wrapped) is passes


def test_two_runs_on_one_folder_exclude_each_other(dataset, tmp_path):
    holder = (
        "import sys, time; from facekit.data.locking import hold_folder\n"
        "with hold_folder(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    out = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", holder, str(out)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(
            ConfigurationError, match=rf"process {process.pid} on .* is writing .*out; wait for it to end"
        ):
            preprocess(str(dataset), out, SETTINGS)
        process.send_signal(signal.SIGKILL)
    assert preprocess(str(dataset), out, SETTINGS).records == 8
    assert (out / ".lock").read_bytes() == b""


def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ZeroDivisionError), hold_folder(tmp_path):
        raise ZeroDivisionError
    with (
        hold_folder(tmp_path),
        pytest.raises(ConfigurationError, match=f"process {os.getpid()} "),
        hold_folder(tmp_path),
    ):
        pass


def test_workers_die_with_the_process_that_started_them():
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from facekit.data.preprocessing.engines import run_tasks\n"
        "if __name__ == '__main__':\n"
        '    tasks = [\'__import__("os").getpid()\', \'__import__("time").sleep(0.2) or __import__("os").getpid()\','
        " '__import__(\"time\").sleep(120)', '__import__(\"time\").sleep(120)']\n"
        "    for pid in run_tasks(eval, tasks, workers=2): print(pid, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ) as process:
        workers = {int(process.stdout.readline()) for _ in range(2)}
        assert all(_runs(pid) for pid in workers)
        process.send_signal(signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 20
        while any(_runs(pid) for pid in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(_runs(pid) for pid in workers)


def _runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_tasks_in_this_process_need_no_parent():
    assert list(run_tasks(abs, [-1, 2])) == [1, 2]


def test_a_record_whose_frames_are_those_of_one_video_is_hashed_once(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"video" * 100)
    reads = []
    monkeypatch.setattr(hashlib, "blake2b", lambda **_: reads.append(1) or hashlib.sha256())
    for frame in range(5):
        stamp_record(FaceRecord(id=str(frame), video="a.mp4", frames=[frame]), tmp_path)
    assert len(reads) == 1


def test_an_unreadable_file_has_no_stamp_and_a_large_one_is_read_in_three_parts(tmp_path):
    record = FaceRecord(id="a", image="a.jpg")
    assert stamp_record(record, tmp_path) == (None,)
    assert compare_stamps(record, tmp_path, (None,)) == (None,)
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(40 << 20)
    before = stamp_record(record, tmp_path)
    assert compare_stamps(record, tmp_path, (None,)) is None
    for offset, found in ((10 << 20, False), (20 << 20, True), ((40 << 20) - 1, True)):
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"x")
        os.utime(path, ns=(offset, offset))
        assert (compare_stamps(record, tmp_path, before) is None) is found
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\0")


def test_shards_that_were_done_in_part_verify_and_read_in_order(dataset, tmp_path):
    target = pictures(dataset)[6]
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    Image.new("RGB", (300, 300), "grey").save(target)
    result = preprocess(str(dataset), tmp_path / "out", SETTINGS)
    assert (result.records, result.reused) == (8, 7)
    assert verify_shards(tmp_path / "out") == 8
    assert [record.id for record in read_shards(tmp_path / "out")] == [record.id for record in iterate_records(dataset)]


def test_records_with_other_words_are_done_again(dataset, tmp_path):
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    records = list(iterate_records(dataset))
    records[3] = records[3].model_copy(update={"split": "test"})
    write_records(dataset, records)
    assert preprocess(str(dataset), tmp_path / "out", SETTINGS).reused == 4


def test_shards_of_another_dataset_are_not_replaced(dataset, tmp_path):
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    before = contents(tmp_path / "out")
    write_synthetic_dataset(tmp_path / "another", 8, seed=6)
    with pytest.raises(ConfigurationError, match="holds shards of other pictures, which would be replaced"):
        preprocess(str(tmp_path / "another" / "records.jsonl"), tmp_path / "out", SETTINGS)
    assert contents(tmp_path / "out") == before


def test_a_dataset_that_moved_and_has_one_old_picture_under_another_name_is_the_same(dataset, tmp_path):
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    write_synthetic_dataset(tmp_path / "moved", 8, seed=6)
    moved = tmp_path / "moved" / "records.jsonl"
    shutil.copy(pictures(dataset)[5], pictures(moved)[2])
    assert preprocess(str(moved), tmp_path / "out", SETTINGS).records == 8
