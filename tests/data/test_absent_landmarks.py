"""Records without landmarks are told where a model reads them, by whatever sees them first."""

import pytest
from PIL import Image

import facekit
from facekit.data import RecordSet
from facekit.data.absent_landmarks import tell_absent_landmarks
from facekit.data.answering import answer_entries, open_entries
from facekit.data.records import FaceLabels, FaceRecord, Turn, write_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.evaluation import EXPRESSION, evaluate_model
from facekit.evaluation.models.answering import FaceKitModel
from facekit.training import TrainingSettings, train

PARTS = {"encoder": "tiny?image_size=64&width=32&depth=1", "backbone": "tiny?width=32&depth=1&heads=2"}
TOLD = "none of 2 records has landmarks, which the connector reads"
POINTS = [[0.5, 0.5]] * 68


@pytest.fixture(scope="module", params=["region", "mlp"])
def model(request):
    return *facekit.create(connector=request.param, seed=0, **PARTS), request.param == "region"


@pytest.fixture
def photographs(tmp_path):
    turns = [Turn(role="user", content="Who?"), Turn(role="assistant", content="Me.")]
    for name in ("a.png", "b.png"):
        Image.new("RGB", (80, 60), (200, 150, 120)).save(tmp_path / name)
    records = [
        FaceRecord(id=name, image=f"{name}.png", labels=FaceLabels(expression="fear"), conversations=turns)
        for name in "ab"
    ]
    return write_records(tmp_path / "records.jsonl", records)


def train_once(model, processor, records, folder):
    train(model, processor, records, folder, TrainingSettings(steps=1, batch_size=2))


def evaluate_once(model, processor, records, folder):
    evaluate_model(FaceKitModel(model, processor), RecordSet.read(records), [EXPRESSION])


def ask_once(model, processor, records, folder):
    answer_entries(model, processor, open_entries(records), folder / "answers.jsonl", max_new_tokens=1)


@pytest.mark.parametrize("use", [train_once, evaluate_once, ask_once])
def test_photographs_in_place_of_crops_are_told_where_landmarks_are_read(model, photographs, tmp_path, caplog, use):
    *pair, reads_landmarks = model
    use(*pair, photographs, tmp_path / "out")
    assert caplog.text.count(TOLD) == reads_landmarks
    assert ("'facekit preprocess' finds faces" in caplog.text) == reads_landmarks


@pytest.mark.parametrize("use", [train_once, evaluate_once, ask_once])
def test_crops_with_landmarks_are_nothing_to_tell_of(model, tmp_path, caplog, use):
    use(*model[:2], write_synthetic_dataset(tmp_path, 2, seed=1, image_size=64), tmp_path / "out")
    assert "landmarks" not in caplog.text


def test_one_record_with_landmarks_is_enough_and_text_alone_has_none(model, caplog):
    with_them = FaceRecord(id="a", image="a.png", landmarks=POINTS)
    without, text = (
        FaceRecord(id="b", image="b.png"),
        FaceRecord(id="c", conversations=[Turn(role="user", content="?")]),
    )
    for records in ([with_them, without], [text], []):
        tell_absent_landmarks(model[0], records)
    assert not caplog.text
    tell_absent_landmarks(model[0], iter([text, *[without] * 2000]))
    assert ("none of the first 999 records" in caplog.text) == model[2]
