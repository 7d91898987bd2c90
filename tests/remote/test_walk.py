"""Everything from pictures to a trained model goes by addresses of another file system."""

import errno
import io
import json
import shutil
import tarfile

import pytest
from PIL import Image
from small_runs import small_model

from facekit.data.confinement import VARIABLE
from facekit.data.convert import convert
from facekit.data.dataset import RecordSet
from facekit.data.formats.shards import verify_shards
from facekit.data.mixing import DataSource, mix_records
from facekit.data.preprocessing import PreprocessSettings, preprocess
from facekit.data.preprocessing import faces as preparing
from facekit.data.records import FaceRecord, iterate_records, write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.data.verification.records import check_record_lines
from facekit.datagen.workflow import generate
from facekit.errors import ConfigurationError, FaceKitError, OutputError, RecordError, RemoteFileError
from facekit.faces import Landmarker
from facekit.remote.addresses import mirror_root, mirrored
from facekit.training import TrainingSettings, train

SETTINGS = TrainingSettings(steps=2, batch_size=4, log_every=1, threads=1, workers=0)


class NoFaces(Landmarker):
    """Finds nobody."""

    @classmethod
    def from_spec(cls, argument=None):
        return cls()

    def find_faces(self, image):
        return []


@pytest.fixture
def landmarker(registry):
    """One that is not asked, because the faces have their landmarks."""
    registry.register("landmarker", "nobody", NoFaces)
    preparing.shared_landmarker.cache_clear()
    yield "nobody"
    preparing.shared_landmarker.cache_clear()


@pytest.fixture
def faces(memory, tmp_path):
    """Eight faces in memory://faces, with a mirror that has none of them."""
    path = write_synthetic_dataset(tmp_path / "drawn", 8, seed=1, image_size=64)
    memory.put(str(path.parent), "/faces", recursive=True)
    shutil.rmtree(path.parent)
    return f"memory://faces/{path.name}"


def names(memory, folder):
    return sorted(name.removeprefix(f"{folder}/") for name in memory.find(folder))


def test_faces_are_cropped_described_packed_and_learned_from_on_another_file_system(
    memory, faces, landmarker, tmp_path
):
    settings = PreprocessSettings(landmarker=landmarker, size=48, records_per_shard=3)
    cropped = preprocess(faces, "memory://crops", settings)
    assert (cropped.records, cropped.shards, cropped.failed) == (8, 3, 0)
    assert names(memory, "/crops") == [
        "failures.jsonl", "manifest.json", *(f"shard-00000{number}.tar" for number in range(3)),
        *(f"units/00000{number}.json" for number in range(3)),
    ]  # fmt: skip
    shutil.rmtree(mirror_root())  # another machine goes on
    again = preprocess(faces, "memory://crops", settings)
    assert (again.reused, again.records) == (8, 8)

    generated = generate("memory://crops", "memory://described", "fairfacegpt")
    assert generated.written.records == 8
    assert "records.jsonl" in names(memory, "/described")
    described = list(iterate_records(generated.records))
    assert {record.image.rpartition("/")[0] for record in described} == {"source/media"}
    assert all(record.conversations for record in described)

    shutil.rmtree(mirror_root())
    packed = convert("memory://described/records.jsonl", "memory://packed", "webdataset")
    assert packed.counts.records == 8
    shutil.rmtree(mirror_root())
    model, processor = small_model("region")
    result = train(model, processor, "memory://packed", tmp_path / "run", SETTINGS)
    assert (result.steps, result.skipped) == (2, {})
    shutil.rmtree(mirror_root())
    result = train(*small_model("region"), "memory://described/records.jsonl", tmp_path / "other", SETTINGS)
    assert (result.steps, result.skipped) == (2, {})


def test_the_output_of_a_conversion_on_the_same_file_system_names_the_media_where_they_are(memory, faces):
    convert(faces, "memory://faces/llava.json", "llava")
    assert memory.exists("/faces/llava.json")
    shutil.rmtree(mirror_root())
    again = RecordSet.read("memory://faces/llava.json")
    assert len(again) == 8
    assert all(record.image.startswith("images/") for record in again.records)


@pytest.mark.parametrize("there", [True, False], ids=["to another file system", "from another file system"])
def test_media_are_copied_along_between_file_systems(memory, faces, tmp_path, there):
    local = tmp_path / "here" / "records.jsonl"
    first = convert(faces, local)
    assert first.counts.records == 8
    records = RecordSet.read(local).records
    assert all((local.parent / record.image).is_file() for record in records)
    if there:
        outside = FaceRecord(id="outside", image="../elsewhere.png")
        shutil.copy(local.parent / records[0].image, tmp_path / "elsewhere.png")
        write_records(local, [*records, outside])
        convert(str(local), "memory://copy/records.jsonl", card=True)
        found = names(memory, "/copy")
        assert {"README.md", "records.jsonl", "media/000000008.png"} <= set(found)
        assert len(found) == 11
        shutil.rmtree(mirror_root())
        assert len(RecordSet.read("memory://copy/records.jsonl")) == 9


@pytest.mark.parametrize("format", ["records", "webdataset"])
def test_sets_of_two_file_systems_are_merged(memory, faces, tmp_path, format):
    local = write_synthetic_dataset(tmp_path / "here", 3, seed=2, image_size=64)
    output = tmp_path / ("all.jsonl" if format == "records" else "all")
    result = convert([faces, str(local)], output, format)
    assert [(part.name, part.taken) for part in result.merged] == [("faces", 8), ("here", 3)]
    assert result.counts.records == 11
    if format == "records":
        shutil.rmtree(mirror_root())
        assert [record.image.split("/")[0] for record in RecordSet.read(output).records] == ["faces"] * 8 + ["here"] * 3
    else:
        assert verify_shards(output) == 11


def test_what_is_there_is_replaced_only_when_that_is_asked_for(memory, faces):
    memory.pipe("/out/records.jsonl", b"precious\n")
    with pytest.raises(ConfigurationError, match="exists; name another output"):
        convert(faces, "memory://out/records.jsonl")
    assert memory.cat("/out/records.jsonl") == b"precious\n"
    convert(faces, "memory://out/records.jsonl", overwrite=True)
    assert len(memory.cat("/out/records.jsonl").splitlines()) == 8
    with pytest.raises(ConfigurationError, match="is what is read"):
        convert(faces, faces, overwrite=True)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "memory://secret.png", "s3://bucket/secret.png"])
def test_a_remote_set_opens_nothing_outside_its_folder(memory, name, monkeypatch):
    memory.pipe("/secret.png", b"secret")
    memory.pipe("/set/records.jsonl", json.dumps({"id": "a", "image": name}).encode() + b"\n")
    with pytest.raises(RecordError, match=r"leads out of .*; if you trust whoever wrote it"):
        RecordSet.read("memory://set/records.jsonl")
    assert not mirrored("memory://secret.png").exists()
    if name == "../secret.png":
        monkeypatch.setenv(VARIABLE, "1")
        assert len(RecordSet.read("memory://set/records.jsonl")) == 1


def test_a_set_here_opens_remote_files_only_where_that_is_allowed(memory, tmp_path, monkeypatch):
    memory.pipe("/faces/1.png", b"picture")
    path = tmp_path / "records.jsonl"  # the mirror lies in its folder, and is not part of it
    path.write_text('{"id": "a", "image": "memory://faces/1.png"}\n')
    with pytest.raises(RecordError, match="leads out of"):
        RecordSet.read(path)
    monkeypatch.setenv(VARIABLE, "1")
    records = RecordSet.read(path)
    assert records.records[0].media_paths(tmp_path) == [mirrored("memory://faces/1.png")]


def test_a_picture_that_is_not_there_is_a_fault_of_its_record(memory, faces, landmarker, tmp_path):
    memory.rm("/faces/" + next(name for name in names(memory, "/faces") if name.endswith(".png")))
    with pytest.raises(RecordError, match="no file"):
        RecordSet.read(faces)
    result = preprocess(faces, tmp_path / "out", PreprocessSettings(landmarker=landmarker, size=32))
    assert (result.records, result.failures) == (7, {"ImageError": 1})


def test_what_is_not_there_at_all_is_told_by_every_verb(memory, tmp_path):
    for call in (
        lambda: convert("memory://none/records.jsonl", tmp_path / "out.jsonl"),
        lambda: preprocess("memory://none/records.jsonl", tmp_path / "out"),
        lambda: generate("memory://none/records.jsonl", tmp_path / "made"),
        lambda: RecordSet.read("memory://none/records.jsonl"),
        lambda: mix_records([DataSource("memory://none/records.jsonl")]),
        lambda: train(*small_model("region"), "memory://none", tmp_path / "run", SETTINGS),
    ):
        with pytest.raises(RemoteFileError, match="there is no file or folder memory://none"):
            call()


BROKEN = {
    "misnamed.jsonl": b'{"id": "a", "image": "a.png", "labels": {"agge": 3}}\n',
    "wide.jsonl": '{"id": "a"}\n'.encode("utf-16"),
    "cut.jsonl": b'{"id": "a", "image": "a.png"',
    "empty.jsonl": b"",
    "face.png": b"no picture",
}


@pytest.mark.parametrize("name", BROKEN)
def test_messages_have_the_address_that_was_given_and_no_place_of_the_mirror(memory, run_facekit, tmp_path, name):
    memory.pipe(f"/set/{name}", BROKEN[name])
    address = f"memory://set/{name}"
    for command in (
        ("convert", address, tmp_path / "out.jsonl"),
        ("datagen", address, "--output", tmp_path / "made"),
        ("verify", address),
        ("train", address, "--output", tmp_path / "run", "--preset", "facekit-tiny", "--steps", 1),
    ):
        status, out, error = run_facekit(*command)
        assert (status, mirror_root() in out + error) in ((2, False), (1, False)), out + error
        assert address in out + error
    with pytest.raises(FaceKitError, match=address) as caught:
        RecordSet.read(address)
    assert mirror_root() not in str(caught.value)


def test_a_cache_that_cannot_be_written_to_is_named_beside_the_address(memory, monkeypatch):
    memory.pipe("/set/records.jsonl", b"")

    def refuse(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("facekit.remote.mirror.tempfile.mkstemp", refuse)
    with pytest.raises(OutputError) as caught:
        RecordSet.read("memory://set/records.jsonl")
    told = f"the copy of memory://set/records.jsonl in {mirror_root()} cannot be written (No space left on device)"
    assert str(caught.value).startswith(told)


def test_shards_without_a_manifest_are_streamed_too(memory, tmp_path):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        line = (
            b'{"id": "a", "conversations": [{"role": "user", "content": "q?"}, {"role": "assistant", "content": "a"}]}'
        )
        member = tarfile.TarInfo("000000000.json")
        member.size = len(line)
        archive.addfile(member, io.BytesIO(line))
    memory.pipe("/packed/faces.tar", content.getvalue())
    convert("memory://packed", tmp_path / "out.jsonl")
    assert [record.id for record in iterate_records(tmp_path / "out.jsonl")] == ["a"]


def picture_set(folder, names, *, outside=None):
    """A records file here whose pictures have the bytes of their names and numbers."""
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"{folder.parent.name} {name}".encode())
    records = [FaceRecord(id="outside", image=outside)] if outside else []
    records += [FaceRecord(id=name, image=name) for name in names]
    return str(write_records(folder / "records.jsonl", records))


def test_sets_of_any_names_are_copied_to_folders_of_their_own_inside_the_output(memory, tmp_path, monkeypatch):
    sets = [picture_set(tmp_path / place / name, ["p.png"]) for place, name in
            (("1", "a-2"), ("2", "a"), ("3", "a"), ("4", "b"))]  # fmt: skip
    (tmp_path / "4" / "b" / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "4" / "b" / "inner")
    result = convert([*sets[:3], "../records.jsonl"], "memory://deep/out/all.jsonl")
    assert [part.name for part in result.merged] == ["a-2", "a", "a-3", "b"]
    found = {path.removeprefix("/deep/"): memory.cat(path) for path in memory.find("/deep") if path.endswith(".png")}
    assert found == {
        f"out/{name}/p.png": f"{place} p.png".encode() for place, name in
        (("1", "a-2"), ("2", "a"), ("3", "a-3"), ("4", "b"))
    }  # fmt: skip


def test_a_copy_from_outside_never_has_the_name_of_one_from_inside(memory, tmp_path):
    (tmp_path / "x.png").write_bytes(b"from outside")
    origin = picture_set(tmp_path / "set", ["media/000000000.png"], outside="../x.png")
    convert(origin, "memory://copy/records.jsonl")
    copied = [memory.cat(f"/copy/{record.image}") for record in RecordSet.read("memory://copy/records.jsonl").records]
    assert copied == [b"from outside", f"{tmp_path.name} media/000000000.png".encode()]


def test_copies_replace_files_of_others_only_when_that_is_asked_for(memory, tmp_path):
    memory.pipe("/set/a.png", b"theirs")
    memory.pipe("/set/records.jsonl", b'{"id": "a", "image": "a.png"}\n')
    mine = tmp_path / "a.png"
    mine.write_bytes(b"mine, precious")
    with pytest.raises(ConfigurationError, match=r"a\.png is there with other contents"):
        convert("memory://set/records.jsonl", tmp_path / "out.jsonl")
    assert mine.read_bytes() == b"mine, precious"
    assert not (tmp_path / "out.jsonl").exists()
    convert("memory://set/records.jsonl", tmp_path / "out.jsonl", overwrite=True)
    assert mine.read_bytes() == b"theirs"


def test_verify_opens_pictures_and_clips_that_are_addresses(memory, tmp_path, monkeypatch):
    frames = [Image.new("RGB", (8, 8), (40 * index, 0, 0)) for index in range(4)]
    for name, options in (("a.png", {}), ("wave.webp", {"save_all": True, "append_images": frames[1:]})):
        stream = io.BytesIO()
        frames[0].save(stream, name.rpartition(".")[2], **options)
        memory.pipe(f"/set/{name}", stream.getvalue())
    lines = [{"id": "picture", "image": "memory://set/a.png"}, {"id": "clip", "video": "memory://set/wave.webp"}]
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setenv(VARIABLE, "1")
    report = check_record_lines(tmp_path / "records.jsonl", open_media=True)
    assert (report.count, report.problems) == (2, [])


def test_a_remote_file_with_the_name_of_a_copy_is_replaced_only_when_that_is_asked_for(memory, tmp_path):
    origin = picture_set(tmp_path / "set", ["a.png", "b.png"])
    memory.pipe("/out/a.png", b"of a colleague")
    with pytest.raises(ConfigurationError, match=r"memory://out/a\.png is there with other contents than .*a\.png"):
        convert(origin, "memory://out/records.jsonl")
    assert names(memory, "/out") == ["a.png"]
    assert memory.cat("/out/a.png") == b"of a colleague"
    convert(origin, "memory://out/records.jsonl", overwrite=True)
    assert memory.cat("/out/a.png") == (tmp_path / "set" / "a.png").read_bytes()


def test_a_copy_that_is_there_already_is_not_uploaded_again(memory, tmp_path):
    origin = picture_set(tmp_path / "set", ["a.png", "b.png"])
    convert(origin, "memory://out/one.jsonl")
    before = memory.modified("/out/a.png")
    (tmp_path / "set" / "b.png").write_bytes(b"another")
    memory.rm("/out/b.png")  # what the mirror has of it does not count
    convert(origin, "memory://out/two.jsonl")
    assert memory.modified("/out/a.png") == before
    assert memory.cat("/out/b.png") == b"another"


def test_what_lies_beside_a_remote_output_is_kept_as_beside_one_here(memory, tmp_path):
    origin = picture_set(tmp_path / "set", ["a.png"])
    memory.pipe("/out/README.md", b"# Of a colleague")
    with pytest.raises(ConfigurationError, match=r"README\.md exists and is no card of facekit's"):
        convert(origin, "memory://out/records.jsonl", card=True)
    assert names(memory, "/out") == ["README.md"]
    memory.pipe("/out/dataset_info.json", b'{"theirs": {"file_name": "theirs.json"}}')
    convert(origin, "memory://out/mine.json", "sharegpt")
    assert set(json.loads(memory.cat("/out/dataset_info.json"))) == {"theirs", "mine"}
    memory.pipe("/out/dataset_info.json", b'{"newer": {}}')
    convert(origin, "memory://out/records.jsonl")
    assert memory.cat("/out/dataset_info.json") == b'{"newer": {}}'
