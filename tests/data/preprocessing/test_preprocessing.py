"""Whole datasets into shards: what is written, what is reused, what is lost when it is stopped (nothing)."""

import json
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from facekit.catalog import isolated_registry
from facekit.cli.main import app
from facekit.data.formats.shards import read_shards, verify_shards
from facekit.data.preprocessing import PreprocessSettings, pipeline, preprocess
from facekit.data.preprocessing.engines import Crashed, run_tasks
from facekit.data.records import FaceRecord, iterate_records, write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError, OutputError, RecordError, UnknownPartError
from facekit.faces.landmarker import Landmarker

pytest.importorskip("webdataset")


class NoFaces(Landmarker):
    """Finds nothing."""

    @classmethod
    def from_spec(cls, argument=None):
        return cls()

    def find_faces(self, image):
        return []


FACES = 11
SETTINGS = PreprocessSettings(size=64, records_per_shard=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_synthetic_dataset(folder, FACES, seed=3)
    return folder / "records.jsonl"


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_every_record_becomes_a_crop_with_its_labels_and_landmarks(dataset, tmp_path):
    states = []
    result = preprocess(str(dataset), tmp_path / "out", SETTINGS, on_progress=states.append)
    assert (result.records, result.shards, result.reused, result.failures) == (FACES, 4, 0, {})
    assert [(state.done, state.total) for state in states] == [(3, FACES), (6, FACES), (9, FACES), (11, FACES)]
    assert {(state.stage, state.unit) for state in states} == {("preprocess", "records")}
    assert states[0].seconds_left > states[-1].seconds_left == 0
    assert verify_shards(tmp_path / "out") == FACES
    before = list(iterate_records(dataset))
    after = list(read_shards(tmp_path / "out", extract_to=tmp_path / "unpacked"))
    assert [record.id for record in after] == [record.id for record in before]
    for old, new in zip(before, after, strict=True):
        assert (new.labels, new.groups) == (old.labels, old.groups)
        assert new.source["original"] == old.image
        left, top, right, _ = map(int, new.source["crop"].split(","))
        with Image.open(dataset.parent / old.image) as picture:
            pixels = old.landmark_array(dataset.parent) * np.array(picture.size)
        expected = (pixels - [left, top]) / (right - left)
        np.testing.assert_allclose(new.landmark_array(tmp_path), expected, atol=2e-5)
        with Image.open(tmp_path / "unpacked" / new.image) as crop:
            assert crop.size == (64, 64)


def test_a_member_of_a_shard_costs_one_header_and_has_no_time_of_its_own(dataset, tmp_path):
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as shard:
        members = shard.getmembers()
    blocks = [1 + -(-member.size // tarfile.BLOCKSIZE) for member in members]
    assert [member.offset // tarfile.BLOCKSIZE for member in members] == [sum(blocks[:index]) for index in range(6)]
    assert {member.mtime for member in members} == {0}


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_the_output_does_not_depend_on_engine_or_workers(dataset, tmp_path, engine):
    if engine == "ray":
        pytest.importorskip("ray")
    preprocess(str(dataset), tmp_path / "one", SETTINGS)
    preprocess(str(dataset), tmp_path / "many", SETTINGS, workers=2, engine=engine)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_a_second_run_does_nothing_and_other_settings_do_all_again(dataset, tmp_path):
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    first = contents(tmp_path / "out")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    again = preprocess(str(dataset), tmp_path / "out", SETTINGS)
    assert (again.reused, again.records) == (FACES, FACES)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    (tmp_path / "out" / "shard-000001.tar").write_bytes(b"cut off")
    assert preprocess(str(dataset), tmp_path / "out", SETTINGS).reused == FACES - 3
    assert contents(tmp_path / "out") == first
    assert preprocess(str(dataset), tmp_path / "out", SETTINGS.model_copy(update={"size": 32})).reused == 0


def test_shards_of_records_that_are_gone_are_removed(dataset, tmp_path):
    preprocess(str(dataset), tmp_path / "out", SETTINGS)
    fewer = dataset.parent / "fewer.jsonl"
    write_records(fewer, list(iterate_records(dataset))[:4])
    assert preprocess(str(fewer), tmp_path / "out", SETTINGS).shards == 2
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["shard-000000.tar", "shard-000001.tar"]
    assert verify_shards(tmp_path / "out") == 4


def test_a_killed_run_goes_on_where_it_was(dataset, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    settings = PreprocessSettings(size=64, records_per_shard=1)
    preprocess(str(dataset), straight, settings)
    slow = (
        "import sys, time; from facekit.data.preprocessing import *; "
        "preprocess(sys.argv[1], sys.argv[2], PreprocessSettings(size=64, records_per_shard=1), "
        "on_progress=lambda state: (print(state.done, flush=True), time.sleep(0.3)))"
    )
    with subprocess.Popen([sys.executable, "-c", slow, str(dataset), str(killed)], stdout=subprocess.PIPE) as process:
        while process.stdout.readline().strip() != b"4":
            assert process.poll() is None
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not (killed / "manifest.json").exists()
    assert preprocess(str(dataset), killed, settings).reused in (4, 5)
    assert contents(killed) == contents(straight)


def test_what_cannot_be_used_is_listed_with_its_reason_and_harms_nothing_else(dataset, tmp_path):
    good = next(iterate_records(dataset))
    folder = dataset.parent
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    Image.new("RGB", (90, 90), "grey").save(folder / "blank.png")
    records = [
        FaceRecord(id="broken", image="broken.jpg"),
        good,
        FaceRecord(id="gone", image="nowhere.jpg"),
        FaceRecord(id="blank", image="blank.png"),
    ]
    write_records(folder / "mixed.jsonl", records)
    result = preprocess(str(folder / "mixed.jsonl"), tmp_path / "out", SETTINGS)
    assert result.records == 1
    assert result.failures == {"ImageError": 2, "FaceNotFoundError": 1}
    failures = [json.loads(line) for line in (tmp_path / "out" / "failures.jsonl").read_text().splitlines()]
    assert [failure["id"] for failure in failures] == ["broken", "gone", "blank"]
    assert "nowhere.jpg" in failures[1]["reason"]
    whole = SETTINGS.model_copy(update={"on_no_face": "whole-image"})
    kept = preprocess(str(folder / "mixed.jsonl"), tmp_path / "whole", whole)
    assert (kept.records, kept.failures) == (2, {"ImageError": 2})
    assert [record.landmarks is None for record in read_shards(tmp_path / "whole")] == [False, True]


def test_frames_of_a_clip_are_found_by_a_real_landmarker_and_cropped_alike(tmp_path):
    pytest.importorskip("ai_edge_litert")
    skimage = pytest.importorskip("skimage")
    picture = Image.fromarray(skimage.data.astronaut())
    for place in range(3):
        picture.rotate(2 * place).crop((100, 0, 400, 300)).save(tmp_path / f"{place}.png")
    Image.new("RGB", (300, 300)).save(tmp_path / "dark.png")
    names = ["0.png", "1.png", "dark.png", "2.png"]
    write_records(tmp_path / "clip.jsonl", [FaceRecord(id="clip", video=names)])
    result = preprocess(str(tmp_path / "clip.jsonl"), tmp_path / "out", SETTINGS)
    assert result.records == 1
    (record,) = read_shards(tmp_path / "out", extract_to=tmp_path / "unpacked")
    assert len(record.video) == 4
    points = record.landmark_array(tmp_path / "unpacked")
    assert points.shape == (4, 68, 2)
    assert np.isnan(points[2]).all()
    assert np.abs(points[[0, 1, 3]] - 0.5).max() < 0.5


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_whose_process_dies_comes_back_and_the_others_are_done(workers):
    tasks = [f"{number} * 2" for number in range(6)]
    if workers > 1:
        tasks.insert(3, "__import__('os')._exit(1)")
    results, crashed = [], []
    waiting = list(tasks)
    for result in run_tasks(eval, waiting, workers=workers):
        (crashed if isinstance(result, Crashed) else results).append(result)
    left = [result.task for result in crashed]
    assert ("__import__('os')._exit(1)" in left) is (workers > 1)
    assert sorted(results + [eval(task) for task in left if "exit" not in task]) == [0, 2, 4, 6, 8, 10]


def fill_the_disk(task):
    raise OutputError("the shard cannot be written", "No space left on device", "make room on the disk")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_ends_the_run_with_its_sentence_from_whatever_process(workers):
    with pytest.raises(OutputError, match=r"cannot be written \(No space left on device\); make room on the disk"):
        list(run_tasks(fill_the_disk, range(5), workers=workers))


def test_only_the_record_at_fault_is_lost_when_a_process_dies(dataset, tmp_path, monkeypatch):
    culprit = list(iterate_records(dataset))[1].id

    def die(function, records):
        return Crashed(records) if records[0][1].id == culprit else function(records)

    monkeypatch.setattr(pipeline, "run_alone", die)
    monkeypatch.setattr(pipeline, "run_tasks", lambda function, tasks, **_: map(Crashed, tasks))
    result = preprocess(str(dataset), tmp_path / "out", SETTINGS)
    assert (result.records, result.failures) == (FACES - 1, {"Crash": 1})
    assert culprit in (tmp_path / "out" / "failures.jsonl").read_text()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"origin": "nowhere.jsonl"}, RecordError, "nowhere.jsonl"),
        ({"settings": PreprocessSettings(landmarker="dlbi")}, UnknownPartError, "dlib"),
        ({"engine": "spark"}, ConfigurationError, "local, ray"),
        ({"workers": 0}, ConfigurationError, "at least one worker"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(dataset, tmp_path, changes, error, words):
    arguments = {"origin": str(dataset), "output_dir": tmp_path / "out", "settings": SETTINGS, **changes}
    with pytest.raises(error, match=words):
        preprocess(**arguments)
    assert not list(tmp_path.glob("out/*.tar"))


def test_a_folder_with_other_things_is_left_alone(dataset, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigurationError, match=r"thesis\.tex"):
        preprocess(str(dataset), tmp_path, SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_command_says_what_it_made(dataset, tmp_path):
    command = ["preprocess", str(dataset), str(tmp_path / "out"), "--workers", "1", "--size", "48"]
    answer = CliRunner().invoke(app, command)
    assert answer.exit_code == 0, answer.output
    assert f"{FACES} faces in 1 shard: {tmp_path / 'out'}\n" in answer.output
    assert (tmp_path / "out" / "shard-000000.tar").is_file()


def run_command(dataset, output, *options):
    return CliRunner().invoke(
        app, ["preprocess", str(dataset), str(output), "--workers", "1", "--size", "48", *options]
    )


@pytest.mark.parametrize(
    ("options", "status"),
    [((), 1), (("--max-failures", "1"), 0), (("--max-failures", "9%"), 0), (("--max-failures", "8%"), 1)],
)
def test_the_exit_status_says_whether_more_failed_than_may(dataset, tmp_path, options, status):
    (dataset.parent / "broken.jpg").write_bytes(b"no picture")
    mixed = dataset.parent / "one-broken.jsonl"
    write_records(mixed, [FaceRecord(id="broken", image="broken.jpg"), *iterate_records(dataset)])
    answer = run_command(mixed, tmp_path / "out", *options)
    assert answer.exit_code == status, answer.output
    assert f"{FACES + 1} records: {FACES} kept, 1 failed" in answer.output


def test_nothing_that_comes_out_is_status_two(dataset, tmp_path):
    write_records(dataset.parent / "gone.jsonl", [FaceRecord(id="gone", image="nowhere.jpg")])
    answer = run_command(dataset.parent / "gone.jsonl", tmp_path / "out", "--max-failures", "100%")
    assert answer.exit_code == 2
    assert "1 record: 0 kept, 1 failed" in answer.output


@pytest.mark.parametrize("limit", ["many", "-1", "101%", "%"])
def test_a_limit_that_is_no_number_or_share_is_refused(dataset, tmp_path, limit, run_facekit):
    status, _, error = run_facekit("preprocess", dataset, tmp_path / "out", "--max-failures", limit)
    assert status == 2
    assert f"not '{limit}'" in error
    assert not (tmp_path / "out").exists()


def test_an_empty_input_is_an_error_that_says_what_there_was_instead(dataset, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(RecordError, match=r"empty\.jsonl has no record$"):
        preprocess(str(tmp_path / "empty.jsonl"), tmp_path / "out", SETTINGS)
    with pytest.raises(RecordError, match=r"is of the split 'test'; there is train$"):
        preprocess(str(dataset), tmp_path / "out", SETTINGS, split="test")
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "labels.csv").write_text("file,age\na.jpg,3\nb.jpg,4\n")
    with pytest.raises(RecordError, match="has no record; of what is there: missing 2"):
        preprocess(f"csv:{tmp_path / 'table'}", tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out").exists()


def test_the_manifest_has_the_whole_account_of_a_folder(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    Image.new("RGB", (90, 90), "grey").save(source / "blank.png")
    (source / "notes.txt").write_text("words")
    (source / "broken.jfif").write_bytes(b"")
    (source / "link.png").symlink_to("blank.png")
    whole = SETTINGS.model_copy(update={"on_no_face": "whole-image", "given_landmarks": False, "landmarker": "centre"})
    with isolated_registry() as registry:
        registry.register("landmarker", "centre", NoFaces)
        result = preprocess(f"folder:{source}", tmp_path / "out", whole)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["input"] == {
        "records": 2, "kept": 1, "failed": {"ImageError": 1},
        "source": {"kept": 2, "linked": 1, "no picture or video: .txt": 1},
    }  # fmt: skip
    assert result.summary.found == 4
