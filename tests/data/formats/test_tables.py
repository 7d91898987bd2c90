"""Parquet, Arrow and folders of the datasets library become records, whoever wrote them."""

import io
import json

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from facekit.data.convert import convert
from facekit.data.formats import detect_format, read_records, write_records
from facekit.data.records import FaceRecord, Turn
from facekit.errors import RecordError
from tests.data.test_records import LANDMARKS


def picture(colour=(200, 0, 0)):
    content = io.BytesIO()
    Image.new("RGB", (6, 4), colour).save(content, "PNG")
    return content.getvalue()


def write_parquet(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_named_columns_are_a_records_fields_and_the_others_its_source(tmp_path):
    path = write_parquet(
        tmp_path / "faces.parquet",
        File_Name=["a.png", "b/c.mp4"], ID=["one", "two"], Expression=["happy", None], Age=[31.0, None],
        gender=["woman", "man"], AU12=[3, None], Smiling=[True, False], split=["train", "val"],
        camera=["left", "right"], score=[0.5, 2.0],
    )  # fmt: skip
    first, second = read_records(path)
    assert (first.id, first.image, first.split) == ("one", "a.png", "train")
    assert (first.labels.expression, first.labels.age) == ("happiness", 31.0)
    assert first.labels.action_units == {"AU12": 3.0}
    assert first.labels.attributes == {"Smiling": True}
    assert first.groups == {"gender": "woman", "age_group": "30-39"}
    assert first.source == {"dataset": "faces", "camera": "left", "score": 0.5}
    assert (second.id, second.video, second.split) == ("two", "b/c.mp4", "validation")
    assert second.labels.attributes == {"Smiling": False}


def test_words_and_landmarks_of_a_table_are_the_records(tmp_path, caplog):
    path = write_parquet(
        tmp_path / "faces.parquet",
        image=["a.png"],
        conversations=[[{"from": "human", "value": "<image>\nWho?"}, {"from": "gpt", "value": "A woman."}]],
        landmarks=[LANDMARKS],
        embedding=[[0.1, 0.2]],
    )
    (record,) = read_records(path)
    assert record.id == "faces-0"
    assert [(turn.role, turn.content) for turn in record.conversations] == [("user", "Who?"), ("assistant", "A woman.")]
    assert record.landmarks == LANDMARKS
    assert "the column 'embedding' holds neither words nor numbers and is left out" in caplog.text
    path = write_parquet(tmp_path / "qa.parquet", images=[["a.png", "b.png"]], question=["Same?"], answer=["Yes."])
    (record,) = read_records(path)
    assert record.images == ["a.png", "b.png"]
    assert [turn.content for turn in record.conversations] == ["Same?", "Yes."]


def test_of_two_pictures_a_column_says_whether_they_show_one_person(tmp_path):
    pairs = [["a.png", "b.png"], ["a.png", "c.png"], ["b.png", "c.png"]]
    path = write_parquet(tmp_path / "pairs.parquet", images=pairs, Same=[True, False, None])
    assert [record.same for record in read_records(path)] == [True, False, None]
    path = write_parquet(tmp_path / "words.parquet", images=pairs[:1], same=["the same"])
    (record,) = read_records(path)
    assert (record.same, record.source["same"]) == (None, "the same")
    path = write_parquet(tmp_path / "faces.parquet", image=["a.png"], same=[1])
    (record,) = read_records(path)
    assert (record.same, record.source["same"]) == (None, 1)


def save_faces(folder, count=2):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["angry", "happy"]),
            "site": datasets.Value("string"),
        }
    )
    rows = {
        "image": [{"bytes": picture((index, 0, 0)), "path": f"{index}.png"} for index in range(count)],
        "label": [1, 0][:count], "site": ["x"] * count,
    }  # fmt: skip
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.mark.parametrize("way", ["parquet", "save_to_disk", "dictionary", "hub"])
def test_pictures_inside_a_table_are_unpacked_to_the_media_folder(tmp_path, way):
    path = tmp_path / "set"
    faces = save_faces(tmp_path)
    split = None
    if way == "parquet":
        path = tmp_path / "train.parquet"
        faces.to_parquet(path)
        split = "train"
    elif way == "save_to_disk":
        faces.save_to_disk(str(path))
    elif way == "dictionary":
        datasets.DatasetDict({"test": faces}).save_to_disk(str(path))
        split = "test"
    else:
        (path / "data").mkdir(parents=True)
        faces.to_parquet(path / "data" / "validation-00000-of-00001.parquet")
        split = "validation"
    assert detect_format(path) == "tables"
    with pytest.raises(RecordError, match="has its pictures inside; name a folder for them with --media"):
        list(read_records(path))
    result = convert(str(path), tmp_path / "out" / "records.jsonl", media_folder=tmp_path / "out")
    found = list(read_records(result.path, check_files=True))
    assert [record.labels.expression for record in found] == ["happiness", "anger"]
    assert [record.image for record in found] == ["media/000000000.0000.png", "media/000000001.0000.png"]
    assert [(tmp_path / "out" / record.image).read_bytes() for record in found] == [picture((i, 0, 0)) for i in (0, 1)]
    assert {record.split for record in found} == {split}
    assert found[0].source["site"] == "x"


def test_fairface_as_the_hub_has_it_gives_groups(tmp_path):
    ages, races = ["0-2", "50-59", "more than 70"], ["East Asian", "Latino_Hispanic"]
    features = datasets.Features({
        "image": datasets.Image(), "age": datasets.ClassLabel(names=ages),
        "gender": datasets.ClassLabel(names=["Male", "Female"]), "race": datasets.ClassLabel(names=races),
        "service_test": datasets.Value("bool"),
    })  # fmt: skip
    rows = {
        "image": [{"bytes": picture((i, 0, 0)), "path": None} for i in range(2)], "age": [1, 2], "gender": [0, 1],
        "race": [0, 1], "service_test": [True, False],
    }  # fmt: skip
    (tmp_path / "0.25").mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "0.25" / "train-00000-of-00001.parquet")
    result = convert(str(tmp_path / "0.25"), tmp_path / "out" / "records.jsonl", media_folder=tmp_path / "out")
    first, second = read_records(result.path, check_files=True)
    assert first.groups == {"age_group": "50-59", "gender": "man", "race": "East Asian"}
    assert second.groups == {"age_group": "more than 70", "gender": "woman", "race": "Latino_Hispanic"}
    assert (first.labels.age, first.split) == (None, "train")


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_an_imagefolder_is_read_by_its_metadata(tmp_path, metadata):
    folder = tmp_path / "set" / "train"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(picture())
    if metadata.endswith("csv"):
        (folder / metadata).write_text("file_name,expression\n1.png,sad\n")
    elif metadata.endswith("jsonl"):
        (folder / metadata).write_text(json.dumps({"file_name": "1.png", "expression": "sad"}) + "\n")
    else:
        write_parquet(folder / metadata, file_name=["1.png"], expression=["sad"])
    (record,) = read_records(tmp_path / "set", check_files=True)
    assert (record.image, record.labels.expression, record.split) == ("set/train/1.png", "sadness", "train")


def test_what_facekit_wrote_comes_back_from_parquet_as_it_was(tmp_path):
    turns = [Turn(role="user", content="q?", task="age"), Turn(role="assistant", content="a.")]
    records = [
        FaceRecord(id="a", image="a.png", landmarks=LANDMARKS, labels={"age": 3.0}, conversations=turns, split="test"),
        FaceRecord(id="b", video=["1.png"], source={"dataset": "x"}),
        FaceRecord(id="c", images=["a.png", "b.png"]),
    ]
    write_records(records, tmp_path / "saved", "datasets")
    assert detect_format(tmp_path / "saved") == "datasets"
    datasets.load_from_disk(str(tmp_path / "saved")).to_parquet(tmp_path / "faces.parquet")
    assert list(read_records(tmp_path / "faces.parquet")) == records


def test_repeated_ids_get_their_number(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", image=["a.png", "b.png"], id=["one", "one"])
    assert [record.id for record in read_records(path)] == ["one", "one-2"]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"pixels": ["a"]}, "no column with pictures, clips or words .*; it has pixels: rename them"),
        ({"image": ["a.png"], "age": [200]}, r"x\.parquet, row 1: 'age' must be a number from 0 to 130, not '200'"),
        ({"image": ["a.png"], "landmarks": [[[1.0]]]}, r"x\.parquet, row 1: .*landmarks"),
        ({"image": [7]}, "row 1: the medium is neither a path nor a file's content, but 7"),
        ({"image": ["../../etc/x.png"]}, "leads out of"),
    ],
)
def test_what_is_no_record_is_told_with_file_and_row(tmp_path, columns, told):
    path = write_parquet(tmp_path / "x.parquet", **columns)
    with pytest.raises(RecordError, match=told):
        list(read_records(path))


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_a_damaged_file_is_one_sentence(tmp_path, name):
    (tmp_path / name).write_bytes(b"no table at all")
    with pytest.raises(RecordError, match=rf"{name} cannot be read as a table \(.*\); write or copy it again"):
        list(read_records(tmp_path / name))


def test_a_folder_that_lacks_a_file_of_its_own_is_told(tmp_path):
    save_faces(tmp_path).save_to_disk(str(tmp_path / "set"))
    next((tmp_path / "set").glob("*.arrow")).unlink()
    with pytest.raises(RecordError, match=r"names data-00000-of-00001\.arrow, which is not there"):
        list(read_records(tmp_path / "set", media_folder=tmp_path))


def test_a_folder_of_pictures_alone_is_pointed_to_the_dataset_for_it(tmp_path):
    (tmp_path / "1.png").write_bytes(picture())
    with pytest.raises(RecordError, match="for a folder of pictures write folder:"):
        detect_format(tmp_path)


def test_licence_and_consent_are_columns_too(tmp_path):
    path = write_parquet(tmp_path / "x.parquet", image=["a.png"], LICENSE=["mit"], consent=["research"])
    (record,) = read_records(path)
    assert (record.license, record.consent, record.source) == ("mit", "research", {"dataset": "x"})
