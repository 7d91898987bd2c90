"""What is whole is said to be, and every fault is found, named and counted."""

import json
import shutil
import sqlite3

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from facekit.data.formats import write_records as write_format
from facekit.data.preprocessing import PreprocessSettings, preprocess
from facekit.data.records import FaceRecord, Turn, iterate_records, write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.data.verification import verify
from facekit.errors import RecordError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    write_synthetic_dataset(folder, 6, seed=2)
    return folder


@pytest.fixture
def dataset(original, tmp_path):
    return shutil.copytree(original, tmp_path / "set")


def problems(path, **options):
    return [problem for each in verify(path, **options).checked for problem in each.problems]


def test_records_that_are_whole_are_said_to_be(dataset):
    result = verify(dataset, open_media=True)
    (report,) = [each for each in result.checked if each.kind == "records"]
    assert (report.count, report.faults, result.faults) == (6, 0, 0)


def test_every_faulty_line_is_named_and_the_others_are_still_looked_at(dataset):
    path = dataset / "records.jsonl"
    records = list(iterate_records(path))
    (dataset / records[1].image).unlink()
    np.save(dataset / "points.npy", np.zeros((3, 2), np.float32))
    records[3] = records[3].model_copy(update={"landmarks": "points.npy"})
    records[5] = records[5].model_copy(update={"id": records[0].id})
    write_records(path, records)
    with path.open("a") as file:
        file.write('{"id": "cut", "image": "fac')
    found = problems(dataset)
    assert len(found) == 4
    assert "line 2, field 'image': no file" in found[0]
    assert f"record '{records[3].id}'" in found[1]
    assert "the shape is (3, 2)" in found[1]
    assert f"two records have the id '{records[0].id}'" in found[2]
    assert "line 7" in found[3]


def test_a_picture_that_cannot_be_decoded_is_found_only_by_opening_it(dataset):
    picture = dataset / next(iterate_records(dataset / "records.jsonl")).image
    picture.write_bytes(picture.read_bytes()[:200])
    assert problems(dataset) == []
    (found,) = problems(dataset, open_media=True)
    assert picture.name in found


def make_shards(dataset, output):
    pytest.importorskip("webdataset")
    settings = PreprocessSettings(size=32, records_per_shard=3)
    preprocess(str(dataset / "records.jsonl"), output, settings)
    return output


def test_shards_that_are_whole_are_said_to_be(dataset, tmp_path):
    result = verify(make_shards(dataset, tmp_path / "shards"), open_media=True)
    assert [(each.kind, each.count, each.faults) for each in result.checked] == [("shards", 6, 0), ("JSON", 0, 0)]


def test_a_flipped_byte_in_a_shard_is_found(dataset, tmp_path):
    shards = make_shards(dataset, tmp_path / "shards")
    shard = shards / "shard-000001.tar"
    content = bytearray(shard.read_bytes())
    content[content.index(b"\xff\xd8\xff") + 300] ^= 1
    shard.write_bytes(content)
    assert problems(shards) == [
        f"{shard} differs from its checksum in the manifest; copy it again, or run preprocess again"
    ]


def test_missing_surplus_and_cut_shards_are_found(dataset, tmp_path):
    shards = make_shards(dataset, tmp_path / "shards")
    shutil.copy(shards / "shard-000000.tar", shards / "shard-000007.tar")
    (shards / "shard-000000.tar").unlink()
    shard = shards / "shard-000001.tar"
    shard.write_bytes(shard.read_bytes()[:2000])
    found = " ".join(problems(shards))
    assert "shard-000001.tar cannot be read as a shard" in found
    assert "shard-000007.tar is not in the manifest" in found
    assert "names shard-000000.tar, which is not there" in found


def test_a_sample_without_what_its_record_names_is_found(dataset, tmp_path):
    webdataset = pytest.importorskip("webdataset")
    record = json.dumps({"id": "a", "image": "media/a.jpg"}).encode()
    with webdataset.TarWriter(str(tmp_path / "a.tar"), encoder=False) as sink:
        sink.write({"__key__": "0", "json": record})
        sink.write({"__key__": "1", "json": record, "jpg": b""})
        sink.write({"__key__": "2", "jpg": b"x"})
        sink.write({"__key__": "3", "json": b'{"id": "b"}', "jpg": b"x"})
    found = problems(tmp_path / "a.tar")
    assert [problem.partition("sample ")[2][:1] for problem in found if "sample " in problem] == ["0", "1", "2", "3"]
    assert any("two records have the id 'a'" in problem for problem in found)


def test_a_run_of_preprocessing_that_did_not_end_is_found(dataset, tmp_path):
    shards = make_shards(dataset, tmp_path / "shards")
    (shards / "manifest.json").unlink()
    assert problems(shards) == [
        f"{shards} has notes of a run and no manifest.json: the run did not end; start it again"
    ]


def test_weights_that_are_cut_off_or_missing_are_found(tmp_path):
    folder = tmp_path / "checkpoint-10"
    folder.mkdir()
    save_file({"a": np.ones((40, 4), np.float32)}, folder / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors", "c": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "trainer_state.json").write_text('{"step": ')
    (folder / "optimizer.pt").write_bytes(b"PK\x03\x04 cut off")
    whole = {each.path.name: each for each in verify(folder).checked}
    assert whole["model-1.safetensors"].faults == 0
    lacking, absent = whole["model.safetensors.index.json"].problems
    assert lacking == f"{folder / 'model-1.safetensors'} lacks 1 of its tensors, such as b"
    assert "index.json names model-2.safetensors, which is not there" in absent
    assert "not JSON" in whole["trainer_state.json"].problems[0]
    assert "is cut off" in whole["optimizer.pt"].problems[0]
    weights = folder / "model-1.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    (report,) = verify(weights).checked
    assert "is cut off or damaged" in report.problems[0]


def test_chats_and_ledgers_are_looked_at(dataset, tmp_path):
    turns = [Turn(role="user", content="How old?"), Turn(role="assistant", content="Three.")]
    Image.new("RGB", (8, 8)).save(dataset / "a.jpg")
    records = [FaceRecord(id=name, image=f"{name}.jpg", conversations=turns) for name in "ab"]
    write_format(records, dataset / "chat.json", "llava")
    (found,) = problems(dataset / "chat.json")
    assert "record 'b': no file" in found
    ledger = tmp_path / "ledger.sqlite"
    database = sqlite3.connect(ledger)
    database.execute("CREATE TABLE calls (id TEXT)")
    database.execute("INSERT INTO calls VALUES ('x')")
    database.commit()
    database.close()
    (report,) = verify(ledger).checked
    assert (report.kind, report.count, report.faults) == ("ledger", 1, 0)
    ledger.write_bytes(b"no database" * 100)
    assert "cannot be read as a ledger" in problems(ledger)[0]


def test_the_command_has_a_status_a_list_and_json(dataset, tmp_path, run_facekit):
    status, out, error = run_facekit("verify", dataset)
    assert status == 0
    assert "records.jsonl: records, 6 records: ok" in out
    assert "0 wrong" in error
    with (dataset / "records.jsonl").open("a") as file:
        file.write("{}\n")
    status, out, _ = run_facekit("verify", dataset, "--json")
    report = json.loads(out)
    assert (status, report["faults"]) == (1, 1)
    (records,) = [each for each in report["checked"] if each["kind"] == "records"]
    assert "line 7" in records["problems"][0]
    (tmp_path / "empty").mkdir()
    for path, words in ((tmp_path / "empty", "holds nothing that can be verified"), ("nowhere", "there is no file")):
        status, _, error = run_facekit("verify", path)
        assert (status, error.count("\n")) == (2, 1)
        assert words in error


def test_many_faults_are_counted_and_the_first_are_shown(tmp_path, run_facekit):
    lines = [json.dumps({"id": str(index), "image": f"{index}.jpg"}) for index in range(50)]
    (tmp_path / "records.jsonl").write_text("\n".join(lines))
    (report,) = verify(tmp_path).checked
    assert (report.faults, len(report.problems)) == (50, 20)
    assert "and 30 more" in run_facekit("verify", tmp_path)[1]


def test_a_path_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(RecordError, match="there is no file or folder"):
        verify(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "key", "kind"),
    [("config.json", "architectures", "model"), ("adapter_config.json", "peft_type", "adapter")],
)
def test_a_model_without_its_weights_is_a_fault(tmp_path, name, key, kind):
    (tmp_path / name).write_text(json.dumps({key: ["LORA"]}))
    assert problems(tmp_path) == [f"{tmp_path} is that of a {kind} and has no weights; copy the whole folder again"]
    save_file({"weight": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    assert problems(tmp_path) == []


def test_settings_alone_need_no_weights(tmp_path):
    (tmp_path / "config.json").write_text('{"seed": 0}')
    assert problems(tmp_path) == []
