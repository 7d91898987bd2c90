"""Every format gives back what was written, and says what it is."""

import io
import json
import resource
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import facekit.data
from facekit.data.formats import FORMATS, base_folder, detect_format, read_records, verify_shards, write_records
from facekit.data.labels import ALL_EXPRESSIONS, FaceLabels
from facekit.data.records import FaceRecord, Turn
from facekit.errors import ConfigurationError, OutputError, RecordError

LANDMARKS = [[round(0.2 + 0.0081 * i, 6), round(0.9 - 0.0103 * i, 6)] for i in range(68)]
OUTPUTS = {
    "records": "out.jsonl", "llava": "out.json", "sharegpt": "data/ours.json", "datasets": "hub", "webdataset": "shards"
}  # fmt: skip


def question(words, answer, task=None):
    return [Turn(role="user", content=words, task=task), Turn(role="assistant", content=answer, task=task)]


def sample_records():
    labels = FaceLabels(
        expression="contempt", action_units={"AU12": 2.5, "AU7": 1.0}, attributes={"Young": True, "Bald": False},
        age=31.25, manipulated=False,
    )  # fmt: skip
    return [
        FaceRecord(
            id="a/1.jpg", image="faces/1.jpg", landmarks=LANDMARKS, labels=labels, split="train",
            groups={"gender": "woman", "age_group": "30-39"}, source={"dataset": "fairface", "cost": 0.01, "ok": None},
            conversations=[Turn(role="system", content="Be brief."), *question("How old? <image>", "31.", "age"),
                           *question("<image>\nWhy «so»?", "Lines.\nAnd eyes. 👁")],
        ),
        FaceRecord(id="2", image="faces/2.png", landmarks="points/2.npy", source="ours", independent_questions=True),
        FaceRecord(id="3", video=["clip/1.jpg"], landmarks=[LANDMARKS], conversations=question("Fake?", "No.")),
        FaceRecord(id="4", video=["clip/1.jpg", "clip/2.jpg"], split="test", groups={"race": "White"}),
    ]  # fmt: skip


def video_records():
    return [
        FaceRecord(id="v1", video="clips/1.mp4", frames=[3, 9], labels=FaceLabels(expression="fear")),
        FaceRecord(id="v2", video="clips/2.avi", conversations=question("Which?", "Fear.", "expression")),
    ]


@pytest.fixture
def folder(tmp_path):
    for name in ("faces/1.jpg", "faces/2.png", "clip/1.jpg", "clip/2.jpg", "clips/1.mp4", "clips/2.avi"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "points").mkdir()
    np.save(tmp_path / "points/2.npy", np.asarray(LANDMARKS))
    return tmp_path


def several_pictures_and_text():
    """Pictures before the first question, between words and in a later turn, and no picture at all."""
    named = {"images": ["faces/1.jpg", "faces/2.png"]}
    asked = {
        "before": ["The same person?", "No."],
        "between": ["Is <image> the same person as <image>?", "No."],
        "later": ["<image>\nA man?", "Yes.", "<image>\nAnd here?", "No."],
    }
    found = [FaceRecord(id=name, conversations=turns_of(said), **named) for name, said in asked.items()]
    shape = [[0.25, 0.5]] * 68
    found[0] = found[0].model_copy(update={"landmarks": [None, shape], "same": False})
    return [*found, FaceRecord(id="text", conversations=turns_of(["Name a colour.", "Red."]))]


def turns_of(said):
    return [Turn(role=("user", "assistant")[place % 2], content=words) for place, words in enumerate(said)]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("make", [sample_records, video_records, several_pictures_and_text, list])
def test_records_come_back_identical(folder, format, make):
    path = folder / ("out.jsonl" if format == "records" else "out.json" if "." in OUTPUTS[format] else "out")
    records = make()
    assert write_records(iter(records), path, format) == path
    assert list(read_records(path, format)) == records
    if records:
        assert list(read_records(path)) == records, "the format is told from the file"
        assert list(read_records(path, check_files=True)) == records


@pytest.mark.parametrize("format", FORMATS)
def test_the_format_is_told_from_what_is_there(folder, format):
    path = folder / OUTPUTS[format]
    media = folder if format != "records" else None
    write_records(sample_records(), path, format, media_folder=media)
    assert detect_format(path) == format
    assert base_folder(path) == path.parent


words = st.text(min_size=1).filter(str.strip)
turns = st.builds(Turn, role=st.sampled_from(["user", "assistant", "system"]), content=words, task=st.none() | words)
labels = st.builds(
    FaceLabels,
    expression=st.none() | st.sampled_from(ALL_EXPRESSIONS),
    age=st.none() | st.floats(0, 130),
    manipulated=st.none() | st.booleans(),
    attributes=st.none() | st.dictionaries(words, st.booleans(), max_size=3),
    action_units=st.none() | st.dictionaries(st.sampled_from(["AU1", "AU24"]), st.floats(0, 5)),
)
pictures = st.builds(
    FaceRecord,
    id=words,
    image=words,
    labels=labels,
    groups=st.dictionaries(words, words, max_size=3),
    conversations=st.lists(turns, max_size=4),
    source=st.none() | words | st.dictionaries(words, st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    split=st.none() | words,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=st.lists(pictures, max_size=3, unique_by=lambda record: record.id))
@pytest.mark.parametrize("format", ["llava", "sharegpt"])
def test_any_words_and_labels_survive_a_chat_file(tmp_path, format, records):
    write_records(records, tmp_path / "out.json", format)
    assert list(read_records(tmp_path / "out.json", format)) == records


def test_llama_factory_finds_its_columns_and_tags(folder):
    write_records(sample_records()[:1], folder / "faces_train.json", "sharegpt")
    write_records(video_records(), folder / "clips.json", "sharegpt")
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info["faces_train"] == {
        "file_name": "faces_train.json",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "images": "image"},
        "tags": {
            "role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
            "system_tag": "system",
        },
    }  # fmt: skip
    assert info["clips"]["columns"] == {"messages": "conversations", "videos": "video"}
    (sample,) = json.loads((folder / "faces_train.json").read_text())
    assert sample["image"] == ["faces/1.jpg"]
    assert [turn["from"] for turn in sample["conversations"]] == ["system", "human", "gpt", "human", "gpt"]
    assert sample["conversations"][1]["value"] == "How old? <image>"
    assert json.loads((folder / "clips.json").read_text())[1]["video"] == ["clips/2.avi"]


def test_a_sharegpt_file_loads_through_arrow_as_llama_factory_loads_it(folder):
    datasets = pytest.importorskip("datasets")
    records = [*sample_records()[:2], sample_records()[3]]
    write_records(records, folder / "out.json", "sharegpt")
    rows = datasets.load_dataset("json", data_files=str(folder / "out.json"), cache_dir=str(folder / "cache"))["train"]
    assert rows["image"][:] == [["faces/1.jpg"], ["faces/2.png"], None]
    assert rows["video"][:] == [None, None, [["clip/1.jpg", "clip/2.jpg"]]]


def test_files_and_frames_in_one_sharegpt_file_are_refused(folder):
    with pytest.raises(RecordError, match="record 'v1': some videos are files and others lists of frames"):
        write_records([*sample_records(), *video_records()], folder / "out.json", "sharegpt")
    assert not (folder / "out.json").exists()


def test_a_llava_file_has_the_form_that_llava_trains_on(folder):
    write_records(sample_records(), folder / "out.json", "llava")
    first, _, third, _ = json.loads((folder / "out.json").read_text())
    assert first["id"] == "a/1.jpg"
    assert first["facekit"]["labels"]["age"] == 31.25
    assert third["video"] == ["clip/1.jpg"]
    assert third["conversations"] == [{"from": "human", "value": "<video>\nFake?"}, {"from": "gpt", "value": "No."}]


@pytest.mark.parametrize("format", ["records", "llava", "sharegpt", "datasets"])
def test_paths_become_relative_to_where_the_file_lies(folder, format):
    path = folder / "deep" / "er" / OUTPUTS[format].split("/")[-1]
    write_records(sample_records(), path, format, media_folder=folder)
    found = list(read_records(path, check_files=True))
    assert found[0].image == "../../faces/1.jpg"
    assert found[1].landmarks == "../../points/2.npy"
    assert found[3].video == ["../../clip/1.jpg", "../../clip/2.jpg"]
    assert [record.rebased(path.parent, folder) for record in found] == sample_records()


def test_shards_hold_the_media_and_give_them_back(folder):
    records = [*sample_records(), *video_records()]
    write_records(records, folder / "shards", "webdataset", media_folder=folder)
    assert verify_shards(folder / "shards") == 6
    target = folder / "unpacked"
    assert list(read_records(folder / "shards", media_folder=target, check_files=True)) == records
    for record in records:
        for copied, original in zip(record.media_paths(target), record.media_paths(folder), strict=True):
            assert copied.read_bytes() == original.read_bytes()
    assert np.array_equal(records[1].landmark_array(target), records[1].landmark_array(folder))


def test_shards_are_the_same_bytes_each_time_and_a_changed_one_is_found(folder):
    for name in ("one", "two"):
        write_records(sample_records(), folder / name, "webdataset", media_folder=folder)
    assert (folder / "one/manifest.json").read_text() == (folder / "two/manifest.json").read_text()
    shard = folder / "one/shard-000000.tar"
    shard.write_bytes(shard.read_bytes().replace(b"31.25", b"13.25"))
    with pytest.raises(RecordError, match=r"shard-000000\.tar differs from its checksum"):
        verify_shards(folder / "one")
    shard.unlink()
    with pytest.raises(RecordError, match=r"names shard-000000\.tar, which is not there"):
        verify_shards(folder / "one")


def test_shards_are_cut_by_number(folder):
    from facekit.data.formats.shards import read_shards, write_shards

    write_shards(sample_records(), folder / "shards", media_folder=folder, per_shard=3)
    assert len(list((folder / "shards").glob("*.tar"))) == 2
    assert list(read_shards(folder / "shards")) == sample_records()
    assert list(read_records(folder / "shards/shard-000001.tar")) == sample_records()[3:]


def test_a_shard_that_writes_outside_its_folder_is_refused(folder):
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "shard-000000.tar", "w") as shard:
        for name, content in (("0.json", b'{"id": "evil", "image": "../faces/1.jpg"}'), ("0.jpg", b"evil")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    with pytest.raises(RecordError, match=r"leads out of .*; the shard is not to be trusted"):
        list(read_records(folder / "shards", media_folder=folder / "unpacked"))
    assert (folder / "faces/1.jpg").read_bytes() == b"faces/1.jpg"


def test_missing_media_are_named_and_leave_no_half_of_a_folder(folder):
    (folder / "clip/2.jpg").unlink()
    with pytest.raises(RecordError, match=r"record '4': .*clip/2\.jpg cannot be read"):
        write_records(sample_records(), folder / "shards", "webdataset", media_folder=folder)
    assert not [path for path in folder.iterdir() if "shards" in path.name]
    write_records(sample_records(), folder / "out.jsonl")
    with pytest.raises(RecordError, match=r"record '4': there is no file .*clip/2\.jpg"):
        list(read_records(folder / "out.jsonl", check_files=True))


@pytest.mark.parametrize("format", ["datasets", "webdataset"])
def test_a_folder_that_holds_something_is_not_replaced(folder, format):
    with pytest.raises(ConfigurationError, match="faces exists already"):
        write_records(sample_records(), folder / "faces", format, media_folder=folder)
    assert (folder / "faces/1.jpg").is_file()


def test_unknown_formats_and_files_are_refused(folder):
    with pytest.raises(ConfigurationError, match="there is no format 'alpaca'; known: datasets, llava"):
        write_records([], folder / "out.json", "alpaca")
    with pytest.raises(ConfigurationError, match="the output's name says no format; add --format"):
        write_records([], folder / "out.json")
    with pytest.raises(RecordError, match="there is no file or folder"):
        read_records(folder / "nowhere.json")
    with pytest.raises(RecordError, match="is neither a folder of the datasets library nor one with WebDataset shards"):
        read_records(folder / "faces")
    (folder / "dataset_info.json").write_text("[]")
    with pytest.raises(RecordError, match="must be a JSON object"):
        write_records([], folder / "out.json", "sharegpt")


def test_a_list_of_files_that_an_editor_marked_is_read(folder):
    entry = {"file_name": "mine.json", "columns": {"messages": "talk"}}
    (folder / "dataset_info.json").write_text(json.dumps({"mine": entry}), encoding="utf-8-sig")
    talk = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Me."}]
    (folder / "mine.json").write_text(json.dumps([{"image": "faces/1.jpg", "talk": talk}]))
    assert [turn.content for record in read_records(folder / "mine.json") for turn in record.conversations] == [
        "Who?", "Me.",
    ]  # fmt: skip


@pytest.mark.parametrize("format", ["records", "llava", "webdataset", "datasets"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(folder, format):
    pytest.importorskip("datasets")
    output = folder / ("out.jsonl" if format == "records" else "out")
    many = [FaceRecord(id=f"{number}", image="faces/1.jpg", source={"note": "x" * 400}) for number in range(200)]
    before = sorted(folder.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
        with pytest.raises(OutputError, match=rf"{output} cannot be written \(File too large\); make room on the disk"):
            write_records(many, output, format, media_folder=folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(folder.iterdir()) == before


def test_path_and_records_in_the_other_order_are_told(folder):
    with pytest.raises(ConfigurationError, match=r"the records come before the path out\.jsonl"):
        write_records("out.jsonl", sample_records())
    with pytest.raises(ConfigurationError, match=r"the path out\.jsonl comes before the records"):
        facekit.data.write_records(sample_records(), "out.jsonl")


def test_llava_lines_and_a_folder_of_other_origin_are_told_apart(folder):
    datasets = pytest.importorskip("datasets")
    line = {"image": "faces/1.jpg", "conversations": [{"from": "human", "value": "<image>\nx"}]}
    (folder / "foreign.jsonl").write_text(json.dumps(line) + "\n" + json.dumps(line) + "\n")
    assert detect_format(folder / "foreign.jsonl") == "llava"
    assert [record.id for record in read_records(folder / "foreign.jsonl")] == ["foreign-1", "foreign-2"]
    datasets.Dataset.from_dict({"id": ["a"]}).save_to_disk(str(folder / "foreign"))
    with pytest.raises(RecordError, match="has no column with pictures, clips or words"):
        list(read_records(folder / "foreign"))


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ('"{"', "the field 'facekit' is not JSON"),
        ("[]", "the field 'facekit' must be an object, not list"),
        ('{"labels": {"age": -3}}', "field 'labels.age'.*-3"),
        ('{"colour": "red"}', "there is no field 'colour'"),
    ],
)
def test_broken_extras_are_named_with_their_entry(folder, extras, words):
    (folder / "out.json").write_text(f'[{{"image": "faces/1.jpg", "conversations": [], "facekit": {extras}}}]')
    with pytest.raises(RecordError, match=rf"out\.json, entry 1: {words}"):
        list(read_records(folder / "out.json"))


def test_frames_of_one_video_are_not_put_into_shards_with_the_video_each(folder):
    records = [FaceRecord(id=str(frame), video="clips/1.mp4", frames=[frame]) for frame in (0, 1)]
    with pytest.raises(RecordError, match=r"record '1' is about other frames .* run facekit preprocess first"):
        write_records(records, folder / "shards", "webdataset", media_folder=folder)


def test_shards_hold_names_that_can_be_unpacked_wherever_the_media_were(folder, tmp_path):
    home = folder / "home"
    home.mkdir()
    records = [
        FaceRecord(id="1", image="../faces/1.jpg", landmarks=LANDMARKS),
        FaceRecord(id="2", image=str(folder / "faces" / "2.png"), landmarks="../points/2.npy"),
        FaceRecord(id="3", video=["../clip/1.jpg", "../clip/2.jpg", "../clip/1.jpg"]),
        FaceRecord(id="4", video="../clips/1.mp4", frames=[3, 9]),
    ]
    write_records(records, home / "shards", "webdataset", media_folder=home)
    unpacked = list(read_records(home / "shards", media_folder=home / "unpacked", check_files=True))
    assert [record.image or record.video for record in unpacked] == [
        "media/000000000.jpg", "media/000000001.png",
        ["media/000000002.0000.jpg", "media/000000002.0001.jpg", "media/000000002.0002.jpg"], "media/000000003.mp4",
    ]  # fmt: skip
    assert unpacked[1].landmarks == "media/000000001.landmarks.npy"
    np.testing.assert_allclose(unpacked[1].landmark_array(home / "unpacked"), LANDMARKS, atol=1e-6)
    contents = [[path.read_bytes() for path in record.media_paths(home / "unpacked")] for record in unpacked]
    assert contents == [[path.read_bytes() for path in record.media_paths(home)] for record in records]


def test_a_file_in_shards_takes_no_name_that_another_sample_is_given(folder, tmp_path):
    home = folder / "home"
    (home / "media").mkdir(parents=True)
    own = home / "media" / "000000001.jpg"
    own.write_bytes((folder / "faces" / "2.png").read_bytes())
    records = [
        FaceRecord(id="1", image="media/000000001.jpg"), FaceRecord(id="2", image="../faces/1.jpg"),
        FaceRecord(id="3", image="media/000000001.jpg"),
    ]  # fmt: skip
    write_records(records, home / "shards", "webdataset", media_folder=home)
    unpacked = list(read_records(home / "shards", media_folder=home / "unpacked", check_files=True))
    assert [record.image for record in unpacked] == [f"media/00000000{number}.jpg" for number in range(3)]
    contents = [(home / "unpacked" / record.image).read_bytes() for record in unpacked]
    assert contents == [own.read_bytes(), (folder / "faces" / "1.jpg").read_bytes(), own.read_bytes()]


@pytest.mark.parametrize("size", [0, 100, 700, 1600])
def test_a_shard_that_is_cut_off_is_one_sentence(folder, tmp_path, size):
    write_records(sample_records(), folder / "shards", "webdataset")
    shard = tmp_path / "shard-000000.tar"
    shard.write_bytes((folder / "shards" / "shard-000000.tar").read_bytes()[:size])
    with pytest.raises(RecordError, match=r"shard-000000\.tar is cut off or damaged \([\w ]+\); copy it again$"):
        list(read_records(shard, media_folder=tmp_path / "media"))


@pytest.mark.parametrize(("names", "error", "words"), [
    ([".", "a.jpg"], RecordError, "leads out of"), (["a\0b.jpg"], RecordError, "leads out of"),
    (["a.jpg", "a.jpg/b.jpg"], OutputError, "cannot be written"), (["d/a.jpg", "d"], OutputError, "cannot be written"),
    ([f"{'a' * 300}.jpg"], OutputError, "cannot be written"),
])  # fmt: skip
def test_names_that_no_file_of_a_shard_can_have_are_refused(tmp_path, names, error, words):
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for number, name in enumerate(names):
            line = json.dumps({"id": str(number), "image": name}).encode()
            for field, content in (("json", line), ("jpg", b"x"), ("bin", b"x")):
                member = tarfile.TarInfo(f"{number}.{field}")
                member.size = len(content)
                shard.addfile(member, io.BytesIO(content))
    with pytest.raises(error, match=words):
        list(read_records(tmp_path / "shard.tar", media_folder=tmp_path / "media"))
    assert not (tmp_path / "media").is_file()
