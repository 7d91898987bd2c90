"""Pair lists in the layouts of their authors become trials with people, folds and groups."""

from __future__ import annotations

from collections import Counter

import pytest

from facekit.data.records import FaceRecord, write_records
from facekit.errors import RecordError, UnknownPartError
from facekit.evaluation.biometrics.pair_lists import PAIR_LISTS, read_pairs


def test_lfw_has_its_own_folds_and_names(tmp_path):
    lines = ["2\t2"]
    for fold in "AB":
        lines += [
            f"{fold}nna_Smith\t1\t2",
            f"{fold}nna_Smith\t3\t14",
            f"{fold}nna_Smith\t1\tOtto_Lang\t1",
            "X\t1\tY\t2",
        ]
    (tmp_path / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    (tmp_path / "lfw-deepfunneled" / "Anna_Smith").mkdir(parents=True)
    trials = read_pairs("lfw", tmp_path)
    assert [trial.fold for trial in trials] == [0] * 4 + [1] * 4
    assert [trial.is_positive for trial in trials] == [True, True, False, False] * 2
    assert trials[1].pictures[1] == tmp_path / "lfw-deepfunneled/Anna_Smith/Anna_Smith_0014.jpg"
    assert trials[2].subjects == ("Anna_Smith", "Otto_Lang")


@pytest.mark.parametrize("name", ["calfw", "cplfw"])
def test_calfw_and_cplfw_have_two_lines_a_pair(tmp_path, name):
    lines = []
    for fold in (*range(1, 11), *([0] * 10)):
        second = "Abel_Aguilar_0002.jpg" if fold else "Otto_Lang_0001.jpg"
        lines += [f"Abel_Aguilar_0001.jpg {fold}", f"{second} {fold}"]
    (tmp_path / f"pairs_{name.upper()}.txt").write_text("\n".join(lines))
    (tmp_path / "aligned images").mkdir()
    trials = read_pairs(name, tmp_path)
    assert [trial.is_positive for trial in trials] == [True] * 10 + [False] * 10
    assert [trial.fold for trial in trials] == [*range(10), *range(10)]
    assert trials[0].pictures[0] == tmp_path / "aligned images/Abel_Aguilar_0001.jpg"
    assert trials[-1].subjects == ("Abel_Aguilar", "Otto_Lang")


def test_cfp_pairs_frontal_with_profile_or_frontal_pictures(tmp_path):
    protocol = tmp_path / "Protocol"
    for split in ("FF", "FP"):
        for fold in ("01", "02"):
            folder = protocol / "Split" / split / fold
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text("1,2\n")
            (folder / "diff.txt").write_text("1,3\n")
    for side, kind in (("F", "frontal"), ("P", "profile")):
        people = ("001", "001", "002")
        lines = [f"{number} ../Data/Images/{person}/{kind}/0{number}.jpg" for number, person in enumerate(people, 1)]
        (protocol / f"Pair_list_{side}.txt").write_text("\n".join(lines))
    profile, frontal = read_pairs("cfp-fp", tmp_path), read_pairs("cfp-ff", tmp_path)
    assert [trial.fold for trial in profile] == [0, 0, 1, 1]
    assert [trial.is_positive for trial in profile] == [True, False] * 2
    assert profile[0].pictures[1] == protocol / "../Data/Images/001/profile/02.jpg"
    assert frontal[0].pictures[1].parent.name == "frontal"
    assert profile[1].subjects == ("001", "002")


def test_agedb_and_what_is_exported_like_it_name_files_alone(tmp_path):
    lines = [f"{number % 2} agedb_30_112x112/{number}.jpg agedb_30_112x112/{number + 1}.jpg" for number in range(40)]
    path = tmp_path / "agedb_30_ann.txt"
    path.write_text("\n".join(lines))
    trials = read_pairs("agedb-30", tmp_path)
    assert trials == read_pairs("agedb-30", path)
    assert Counter((trial.fold, trial.is_positive) for trial in trials) == {
        (fold, kind): 2 for fold in range(10) for kind in (True, False)
    }
    assert trials[0].pictures[0] == tmp_path / "agedb_30_112x112/0.jpg"
    assert trials[0].subjects == ()


def test_rfw_has_a_race_for_every_pair_and_folds_within_each(tmp_path, draw_picture):
    for race in ("African", "Asian"):
        lines = [f"m.0{number}\t1\t2" if number < 10 else f"m.0{number}\t1\tm.1\t3" for number in range(20)]
        path = tmp_path / "txts" / race / f"{race}_pairs.txt"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(lines))
    draw_picture(tmp_path / "data/African/m.00/m.00_0001.png")
    trials = read_pairs("rfw", tmp_path)
    assert Counter(trial.groups["race"] for trial in trials) == {"African": 20, "Asian": 20}
    assert len({trial.id for trial in trials}) == 40
    assert Counter(trial.fold for trial in trials) == dict.fromkeys(range(10), 4)
    assert trials[0].pictures[0].name == "m.00_0001.png"
    assert trials[0].pictures[1] == tmp_path / "data/African/m.00/m.00_0002.jpg"


def test_a_table_of_ones_own_has_people_folds_and_groups(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "First,second,same,person_first,person_second,fold,gender\na.png,b.png,yes,p,p,3,woman\na.png,c.png,0,p,q,4,\n"
    )
    first, second = read_pairs("pairs", path)
    assert (first.is_positive, first.subjects, first.fold, first.groups) == (True, ("p", "p"), 3, {"gender": "woman"})
    assert (second.is_positive, second.groups) == (False, {})
    assert read_pairs("pairs", tmp_path)[0].pictures == (tmp_path / "a.png", tmp_path / "b.png")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_as_spreadsheets_write_it_has_its_groups_alone(tmp_path, delimiter):
    rows = ("id,First,second,same,gender,split,consent", "7,a.png,b.png,1,woman,test,research", "8,a.png,c.png,0,,,")
    (tmp_path / "pairs.csv").write_bytes("\r\n".join(rows).replace(",", delimiter).encode("utf-8-sig"))
    first, second = read_pairs("pairs", tmp_path)
    assert (first.pictures[1], first.groups) == (tmp_path / "b.png", {"gender": "woman"})
    assert (second.is_positive, second.groups) == (False, {})


def test_a_list_that_begins_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "agedb_30_ann.txt").write_text("1 a.jpg b.jpg\n0 a.jpg c.jpg\n", encoding="utf-8-sig")
    assert [trial.is_positive for trial in read_pairs("agedb-30", tmp_path)] == [True, False]


def test_records_of_two_pictures_are_pairs_with_their_own_crops(tmp_path, draw_picture):
    for name in "abc":
        draw_picture(tmp_path / f"{name}.png")
    people = {"dataset": "mine", "person_first": "p", "person_second": "q"}
    records = [
        FaceRecord(id="one", images=["a.png", "b.png"], same=True, groups={"gender": "woman"}),
        FaceRecord(id="two", images=["a.png", "c.png"], same=False, source=people),
        FaceRecord(id="unknown", images=["b.png", "c.png"]),
        FaceRecord(id="face", image="a.png"),
    ]
    path = write_records(tmp_path / "records.jsonl", records)
    first, second = read_pairs("records", path)
    assert (first.id, first.is_positive, first.groups, first.subjects) == ("one", True, {"gender": "woman"}, ())
    assert (second.is_positive, second.subjects) == (False, ("p", "q"))
    assert second.pictures == (tmp_path / "a.png", tmp_path / "c.png")
    assert (second.record, second.folder) == (records[1], tmp_path)
    assert [trial.id for trial in read_pairs("records", tmp_path)] == ["one", "two"]
    write_records(path, records[2:])
    with pytest.raises(RecordError, match=r"no record of .* has 'same'"):
        read_pairs("records", path)


@pytest.mark.parametrize(
    ("name", "file", "text", "words"),
    [
        ("lfw", "pairs.txt", "10 300\nAnna 1\n", "line 2: needs NAME N N"),
        ("calfw", "pairs_CALFW.txt", "a_0001.jpg 1\nb_0001.jpg 2\n", "line 1: needs 'FILE FOLD' twice"),
        ("calfw", "pairs_CALFW.txt", "a_0001.jpg 1\n", "a pair takes two"),
        ("agedb-30", "agedb_30_ann.txt", "a.jpg b.jpg 1\n", "line 1: needs 'LABEL FILE FILE'"),
        ("pairs", "pairs.csv", "first,second\na,b\n", "has no column 'same'"),
        ("pairs", "pairs.csv", "first,second,same\na,b,maybe\n", "line 2, column 'same': needs 1 or 0, not 'maybe'"),
        ("pairs", "pairs.csv", "first,second,same,fold\na,b,1,x\n", "column 'fold': needs a whole number"),
        ("pairs", "pairs.csv", "first,second,same\na,,1\n", "line 2: the field 'second' is empty"),
        ("pairs", "pairs.csv", "first,second,same\na,b\n", "line 2: 2 cells where 3 are expected"),
        ("pairs", "other.csv", "", r"pairs\.csv cannot be opened \(No such file or directory\); check the path"),
        ("lfw", "other.txt", "", "has no pairs.txt or"),
        ("cfp-fp", "other.txt", "", "has no Protocol/Pair_list_F.txt"),
        ("rfw", "other.txt", "", "has no txts/RACE/RACE_pairs.txt"),
        ("lfw", "pairs.txt", "\n", "is empty"),
    ],
)
def test_what_is_malformed_or_missing_is_said_with_file_and_line(tmp_path, name, file, text, words):
    (tmp_path / file).write_text(text)
    with pytest.raises(RecordError, match=words):
        read_pairs(name, tmp_path)


def test_an_unknown_set_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(UnknownPartError, match="agedb-30"):
        read_pairs("megaface", tmp_path)
    assert set(PAIR_LISTS) == {"lfw", "calfw", "cplfw", "cfp-ff", "cfp-fp", "agedb-30", "rfw", "pairs", "records"}
