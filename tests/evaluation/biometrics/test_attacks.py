"""Sets of attacks become presentations with kinds; errors are by kind, non-answers apart."""

from __future__ import annotations

import json

import pytest

from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.errors import RecordError, UnknownPartError
from facekit.evaluation import Unanswered
from facekit.evaluation.biometrics.attack_sets import read_attacks, trials_of_records
from facekit.evaluation.biometrics.attacks import DIFFERENTIAL_QUESTION, QUESTION, detect_attacks, score_attacks
from facekit.evaluation.biometrics.trials import Trial, TrialVerdict


def test_celeba_spoof_names_the_kind_in_the_41st_number(tmp_path):
    numbers = [0] * 44
    entries = {f"Data/test/497{kind}/{'spoof' if kind else 'live'}/1.png": [*numbers[:40], kind, 1, 1, int(kind > 0)]
               for kind in (0, 1, 9, 10)}  # fmt: skip
    path = tmp_path / "metas/intra_test/test_label.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(entries))
    trials = read_attacks("celeba-spoof", tmp_path)
    assert [trial.kind for trial in trials] == ["", "photo", "phone", "3D mask"]
    assert [trial.is_positive for trial in trials] == [False, True, True, True]
    assert trials[1].subjects == ("4971",)
    assert trials[0].pictures == (tmp_path / "Data/test/4970/live/1.png",)


def test_siw_mv2_is_read_as_clips_and_as_frames(tmp_path, draw_picture):
    raw, frames = tmp_path / "raw", tmp_path / "frames"
    for name in ("Live/Live_1.mov", "Spoof/Mask_HalfMask/Mask_Half_3.mov", "Spoof/Paper/Paper_1.MOV"):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(b"")
    assert [trial.kind for trial in read_attacks("siw-mv2", raw)] == ["", "Mask_HalfMask", "Paper"]
    for name in ("live/Live_0/1.png", "live/Live_0/2.png", "spoof/Makeup_Co_7/1.png"):
        draw_picture(frames / name)
    trials = read_attacks("siw-mv2", frames)
    assert [(trial.kind, trial.subjects) for trial in trials] == [
        ("", ("Live_0",)), ("", ("Live_0",)), ("Makeup_Co", ("Makeup_Co_7",)),
    ]  # fmt: skip


def test_records_say_their_manipulation_method(tmp_path):
    records = [
        FaceRecord(id="a", image="a.png", labels=FaceLabels(manipulated=True), source={"method": "Face2Face"}),
        FaceRecord(id="b", image="b.png", labels=FaceLabels(manipulated=False), groups={"gender": "man"}),
        FaceRecord(id="c", image="c.png", labels=FaceLabels(age=3)),
    ]
    first, second = trials_of_records(records, tmp_path)
    assert (first.kind, second.kind, second.groups) == ("Face2Face", "", {"gender": "man"})


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("attacks", "picture\na.png\n", "no column 'kind'"),
        ("attacks", "picture,kind\na.png,morph\n", "needs genuine pictures and attacks"),
        ("attacks", "picture,kind\n,morph\n", "line 2: the field 'picture' is empty"),
        ("attacks", "picture,kind\na.png,morph,print\n", "line 2: 3 cells where 2 are expected"),
        ("siw-mv2", "", "needs the folders 'Live' and 'Spoof'"),
        ("celeba-spoof", "", "test_label.json cannot be read"),
    ],
)
def test_what_is_malformed_is_said(tmp_path, name, text, words):
    (tmp_path / "attacks.csv").write_text(text)
    with pytest.raises(RecordError, match=words):
        read_attacks(name, tmp_path)


def test_an_entry_of_celeba_spoof_with_other_numbers_is_named(tmp_path):
    path = tmp_path / "metas/intra_test/test_label.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"Data/test/1/live/1.png": [0] * 43}))
    with pytest.raises(RecordError, match=r"entry 'Data/test/1/live/1\.png': needs 44 numbers"):
        read_attacks("celeba-spoof", tmp_path)
    with pytest.raises(UnknownPartError, match="celeba-spoof"):
        read_attacks("oulu", tmp_path)


def test_errors_are_by_kind_and_non_answers_apart():
    kinds = ["morph"] * 10 + ["print"] * 10 + [""] * 20
    said = [True] * 5 + [False] * 3 + [None] * 2 + [True] * 10 + [True] * 4 + [False] * 12 + [None] * 4
    trials = [
        Trial(str(number), (), bool(kind), kind, groups={"gender": "man" if number % 2 else "woman"})
        for number, kind in enumerate(kinds)
    ]
    result = score_attacks(trials, [TrialVerdict(each) for each in said], scoring="generation")
    found = {each.kind: (each.count, each.unanswered, each.apcer) for each in result.kinds}
    assert found == {"morph": (8, 2, 0.375), "print": (10, 0, 0.0)}
    assert (result.worst_kind, result.worst_apcer, result.bpcer) == ("morph", 0.375, 0.25)
    assert result.acer == 0.3125
    assert (result.genuine, result.genuine_unanswered) == (16, 4)
    assert result.equal_error_rate is None
    assert result.bpcer_at_apcer == {}
    silent = [TrialVerdict(None if kind == "print" else True) for kind in kinds]
    assert {each.kind: each.apcer for each in score_attacks(trials, silent).kinds} == {"morph": 0.0, "print": None}
    assert result.groups == ()  # eight genuine presentations of each are too few


def test_scores_give_trade_offs_and_groups_with_enough_faces_their_bpcer():
    trials = [Trial(str(i), (), i % 2 == 1, "morph" if i % 2 else "", groups={"age": "x"}) for i in range(40)]
    verdicts = [TrialVerdict(score >= 0, score) for score in (float(i % 2 * 2 - 1 + (i % 5 == 0)) for i in range(40))]
    result = score_attacks(trials, verdicts)
    assert result.bpcer_at_apcer == {"0.05": 0.0, "0.1": 0.0}
    assert result.equal_error_rate == 0.0
    (group,) = result.groups
    assert (group.group, group.count) == ("x", 20)
    assert group.bpcer == result.bpcer == 0.2  # every fifth genuine one scores 0


class Suspicious:
    name = "suspicious"

    def __init__(self):
        self.texts = set()

    def answer(self, questions):
        for index, question in enumerate(questions):
            self.texts.add(question.text)
            grey = question.open_pictures()[0].getpixel((0, 0))[0]
            yield index, Unanswered("refused") if grey == 0 else "Yes, a morph." if grey > 100 else "No"


@pytest.fixture
def attacks(tmp_path, draw_picture):
    lines = ["picture,kind,trusted"]
    for number in range(12):
        draw_picture(tmp_path / f"{number}.png", 20 * number)
        lines.append(f"{number}.png,{'morph' if number > 5 else 'bona fide'},{(number + 1) % 12}.png")
    path = tmp_path / "attacks.csv"
    path.write_text("\n".join(lines))
    return path


def test_a_trusted_picture_makes_the_question_differential(attacks, tmp_path):
    model = Suspicious()
    result = detect_attacks(model, "attacks", attacks, output_dir=tmp_path / "out")
    assert model.texts == {DIFFERENTIAL_QUESTION}
    assert (result.worst_apcer, result.bpcer, result.genuine_unanswered) == (0.0, 0.0, 1)
    assert json.loads((tmp_path / "out/attacks.json").read_text())["presentations"] == 12
    text = attacks.read_text()
    attacks.write_text("\n".join(line.rpartition(",")[0] for line in text.splitlines()))
    detect_attacks(model, "attacks", attacks)
    assert QUESTION in model.texts
    attacks.write_text(text.replace(",3.png", ","))
    with pytest.raises(RecordError, match="with a trusted picture and without"):
        detect_attacks(model, "attacks", attacks)


def test_a_model_that_runs_here_scores_attacks_by_likelihood(attacks, small_model):
    result = detect_attacks(small_model, "attacks", attacks)
    assert result.scoring == "likelihood"
    assert set(result.bpcer_at_apcer) == {"0.05", "0.1"}
