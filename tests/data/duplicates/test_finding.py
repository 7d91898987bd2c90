"""Which records are copies of which, which are dropped, and what leaks between splits; pictures say their hashes."""

import itertools
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from facekit.data import convert as converting
from facekit.data.convert import convert
from facekit.data.duplicates import finding, hashing
from facekit.data.duplicates.finding import Place, find_duplicates
from facekit.data.duplicates.report import check_report_place, describe_leaks, write_report
from facekit.data.records import FaceLabels, FaceRecord, Turn, iterate_records, write_records
from facekit.errors import ConfigurationError, MissingExtraError, RecordError


def told_hash(picture):
    """The hash that a picture's first pixel names: red is how many of the lowest bits are set, green which family."""
    red, green, _ = picture.getpixel((0, 0))
    return (green << 56) | ((1 << red) - 1)


def draw(folder, name, bits, family=1):
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (4, 4), (bits, family, 0)).save(folder / name)


def write_set(folder, name, *faces):
    """A set of one picture each: bits, split."""
    records = []
    for index, (bits, split) in enumerate(faces):
        draw(folder / name, f"{index}.png", bits)
        records.append(FaceRecord(id=f"{name}{index}", image=f"{index}.png", split=split))
    return str(write_records(folder / name / f"{name}.jsonl", records))


def find(*origins, **options):
    return find_duplicates(origins, hasher=told_hash, workers=2, **options)


def described(found):
    return [(copy.dropped.id, copy.kept.id, copy.distance) for copy in found.copies]


def test_a_copy_is_dropped_for_the_nearest_record_that_is_kept(tmp_path):
    found = find(write_set(tmp_path, "a", (0, None), (6, None), (4, None), (4, None)))
    assert described(found) == [("a2", "a1", 2), ("a3", "a1", 2)]
    assert (found.records, found.compared) == ((4,), 4)
    assert found.dropped_rows(0) == {2, 3}


def test_a_copy_of_a_copy_stays_where_it_is_no_copy_of_what_is_kept(tmp_path):
    found = find(write_set(tmp_path, "a", (0, None), (4, None), (8, None)))
    assert described(found) == [("a1", "a0", 4)]


def test_the_distance_decides(tmp_path):
    origin = write_set(tmp_path, "a", (0, None), (3, None))
    assert described(find(origin, distance=3)) == [("a1", "a0", 3)]
    assert described(find(origin, distance=2)) == []
    with pytest.raises(ConfigurationError, match="a distance is from"):
        find(origin, distance=99)


def test_across_sets_the_first_set_is_kept_and_counts_say_where_copies_are(tmp_path):
    found = find(write_set(tmp_path, "a", (0, None), (0, None)), write_set(tmp_path, "b", (1, None), (40, None)))
    assert described(found) == [("a1", "a0", 0), ("b0", "a0", 1)]
    assert found.between == {(0, 0): 1, (0, 1): 1}
    assert not found.leaks
    assert describe_leaks(found) is None


def test_a_picture_in_training_and_in_test_is_a_leak_and_stays_in_test(tmp_path):
    found = find(
        write_set(tmp_path, "a", (0, "train"), (20, None), (40, "validation"), (40, "train")),
        write_set(tmp_path, "b", (0, "test"), (20, "validation"), (40, "test"), (60, "test")),
    )
    assert described(found) == [("a0", "b0", 0), ("a1", "b1", 0), ("a2", "b2", 0), ("a3", "b2", 0)]
    assert len(found.leaks) == 4
    assert describe_leaks(found) == (
        "4 leaks between splits: 2 between test and train, 1 between train and validation, 1 between test and "
        "validation; the first: 'b0' (test) and 'a0' (train)"
    )


def test_a_training_record_with_one_picture_of_test_leaks_and_is_dropped_in_a_conversion(tmp_path, told):
    for name, bits in (("1", 0), ("2", 30)):
        draw(tmp_path, f"{name}.png", bits)
    records = [
        FaceRecord(id="pair", images=["1.png", "2.png"], split="train"),
        FaceRecord(id="held", image="2.png", split="test"),
    ]
    origin = str(write_records(tmp_path / "records.jsonl", records))
    found = find(origin)
    assert (described(found), [(leak.dropped.id, leak.kept.id) for leak in found.leaks]) == ([], [("pair", "held")])
    content = json.loads(write_report(found, tmp_path / "report.json")[0].read_text())
    assert [leak["record"]["id"] for leak in content["leaking"]] == ["pair"]
    convert(origin, tmp_path / "out.jsonl", drop_duplicates=True)
    assert [record.id for record in iterate_records(tmp_path / "out.jsonl", check_files=False)] == ["held"]


def test_a_copy_that_is_nearer_to_another_of_training_is_a_leak_all_the_same(tmp_path):
    found = find(write_set(tmp_path, "a", (0, "test"), (5, "train"), (4, "train")))
    assert described(found) == [("a2", "a1", 1)]
    assert [(leak.dropped.id, leak.kept.id, leak.distance) for leak in found.leaks] == [("a2", "a0", 4)]


def test_what_is_near_a_dropped_record_of_test_leaks(tmp_path):
    found = find(write_set(tmp_path, "a", (0, "test"), (4, "test"), (8, "train")))
    assert described(found) == [("a1", "a0", 4)]
    assert [(leak.dropped.id, leak.kept.id) for leak in found.leaks] == [("a2", "a1")]


def test_several_pictures_are_a_copy_where_each_has_one(tmp_path):
    for name, bits in (("1", 0), ("2", 30), ("3", 60)):
        draw(tmp_path, f"{name}.png", bits)
    records = [
        FaceRecord(id="pair", images=["1.png", "2.png"]),
        FaceRecord(id="turned", images=["2.png", "1.png"]),
        FaceRecord(id="part", image="2.png"),
        FaceRecord(id="other", images=["1.png", "3.png"]),
        FaceRecord(id="text", conversations=[{"role": "user", "content": "q?"}]),
    ]
    found = find(str(write_records(tmp_path / "records.jsonl", records)))
    assert described(found) == [("turned", "pair", 0), ("part", "pair", 0)]
    assert found.compared == 4


def asks(*questions):
    return [turn for each in questions for turn in (Turn(role="user", content=each),
                                                    Turn(role="assistant", content="Yes."))]  # fmt: skip


def test_records_of_one_picture_that_ask_or_label_something_else_are_no_copies(tmp_path, told, run_facekit):
    draw(tmp_path, "1.png", 0)
    draw(tmp_path, "near.png", 1)
    records = [
        FaceRecord(id="age", image="1.png", conversations=asks("How old?"), labels=FaceLabels(age=3)),
        FaceRecord(id="mood", image="1.png", conversations=asks("Which mood?")),
        FaceRecord(id="again", image="near.png", conversations=asks("which  MOOD?")),
        FaceRecord(id="both", image="1.png", conversations=asks("How old?", "Which mood?")),
        FaceRecord(id="picture", image="1.png"),
        FaceRecord(id="labelled", image="1.png", labels=FaceLabels(expression="anger")),
        FaceRecord(id="differs", image="1.png", labels=FaceLabels(age=4)),
    ]
    origin = str(write_records(tmp_path / "records.jsonl", records))
    found = find(origin)
    assert described(found) == [("again", "mood", 1), ("picture", "age", 0), ("differs", "age", 0)]
    assert found.kept_beside == 3
    beside = "3 records have pictures of others and are kept, because they ask or label something else"
    assert beside in write_report(found, tmp_path / "report.json")[1].read_text()
    assert json.loads((tmp_path / "report.json").read_text())["kept_beside"] == 3
    status, out, _ = run_facekit("convert", origin, tmp_path / "out.jsonl", "--drop-duplicates")
    assert (status, beside in out) == (0, True)
    ids = [record.id for record in iterate_records(tmp_path / "out.jsonl", check_files=False)]
    assert ids == ["age", "mood", "both", "labelled"]


def test_thousands_of_questions_about_one_picture_are_compared_at_once(tmp_path):
    count = 20_000
    places = [Place(0, row, str(row), None, "") for row in range(2 * count)]
    taught = [(number,) for number in range(count)] * 2
    found, _, kept_beside = finding._compare(
        places, np.zeros(2 * count, np.uint64), np.arange(2 * count), taught, finding.DISTANCE
    )
    assert (len(found), kept_beside) == (count, count - 1)
    assert found[-1].kept.row == count - 1


def test_what_cannot_be_opened_is_counted_and_named(tmp_path):
    origin = write_set(tmp_path, "a", (0, None), (0, None))
    (tmp_path / "a" / "1.png").write_bytes(b"no picture")
    found = find(origin)
    assert (found.compared, found.unreadable.count) == (1, 1)
    assert found.unreadable.examples[0].startswith("a1: ")
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(RecordError, match=r"empty\.jsonl has no record"):
        find(str(tmp_path / "empty.jsonl"))


@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 12), min_size=1, max_size=2),
            st.sampled_from([None, "test", "validation"]),
            st.sets(st.integers(0, 2)),
        ),
        max_size=10,
    ),
    st.integers(0, 3),
)
def test_what_is_kept_has_no_two_copies_and_what_is_dropped_has_one_that_is_kept(faces, distance):
    places = [Place(0, row, str(row), split, "") for row, (_, split, _) in enumerate(faces)]
    sets = [[(1 << bits) - 1 for bits in each] for each, _, _ in faces]
    taught = [tuple(sorted(things)) for _, _, things in faces]
    hashes = np.array([value for each in sets for value in each], np.uint64)
    owners = np.array([row for row, each in enumerate(sets) for _ in each], np.int64)
    found, leaks, kept_beside = finding._compare(places, hashes, owners, taught, distance)
    copies = {copy.dropped.row: copy for copy in found}

    def apart(one, other):
        return max(min((mine ^ theirs).bit_count() for theirs in sets[other]) for mine in sets[one])

    kept = [row for row in range(len(faces)) if row not in copies]
    rank = [({"test": 0, "validation": 1}.get(split, 2), row) for row, (_, split, _) in enumerate(faces)]
    for one, other in itertools.combinations(sorted(kept, key=rank.__getitem__), 2):
        assert apart(other, one) > distance or not set(taught[other]) <= set(taught[one])
    near_before = [
        row for row in kept
        if any(rank[one] < rank[row] and apart(row, one) <= distance for one in kept)
    ]  # fmt: skip
    assert kept_beside == len(near_before)
    for row, copy in copies.items():
        assert copy.kept.row in kept
        assert set(taught[row]) <= set(taught[copy.kept.row])
        assert apart(row, copy.kept.row) == copy.distance <= distance
        assert rank[copy.kept.row] < rank[row]

    def nearest(one, other):
        return min((mine ^ theirs).bit_count() for mine in sets[one] for theirs in sets[other])

    for row in range(len(faces)):
        held = [
            other for other in range(len(faces)) if rank[other][0] < rank[row][0] and nearest(row, other) <= distance
        ]
        told = [leak for leak in leaks if leak.dropped.row == row]
        assert len(told) == bool(held)
        if held:
            assert told[0].kept.row in held
            assert told[0].distance == nearest(row, told[0].kept.row) == min(nearest(row, other) for other in held)


def test_the_report_has_every_copy_and_a_page_with_pictures(tmp_path):
    found = find(write_set(tmp_path, "a", (0, "train"), (1, "test")), write_set(tmp_path, "b", (0, "train")))
    path, page = write_report(found, tmp_path / "report.json")
    content = json.loads(path.read_text())
    assert content["sets"] == [{"name": "a", "records": 2}, {"name": "b", "records": 1}]
    assert content["leaks"] == 2
    assert [(copy["dropped"]["id"], copy["kept"]["id"], copy["leak"]) for copy in content["copies"]] == [
        ("a0", "a1", True), ("b0", "a1", True),
    ]  # fmt: skip
    text = page.read_text()
    assert "2 records with a picture near one of a split that is held out" in text
    assert text.count('<img src="data:image/jpeg;base64,') == 4


def test_names_in_the_report_are_text(tmp_path):
    draw(tmp_path, "1.png", 0)
    records = [FaceRecord(id=f"<script>{index}</script>", image="1.png") for index in range(2)]
    found = find(str(write_records(tmp_path / "records.jsonl", records)))
    assert "<script>1" not in write_report(found, tmp_path / "report.json")[1].read_text()


@pytest.fixture
def told(monkeypatch):
    """Everything goes by ``told_hash``."""
    find = finding.find_duplicates
    monkeypatch.setattr(converting, "find_duplicates", lambda *given, **named: find(*given, **named, hasher=told_hash))
    monkeypatch.setattr(finding, "find_duplicates", lambda *given, **named: find(*given, **named, hasher=told_hash))


def test_a_conversion_leaves_copies_out_before_it_takes_shares(tmp_path, told):
    one = write_set(tmp_path, "a", *((bits, None) for bits in (0, 1, 10, 20, 30)))
    other = write_set(tmp_path, "b", (30, None), (40, None), (50, None))
    result = convert([one, other], tmp_path / "out" / "all.jsonl", drop_duplicates=True, weights=(2, 1))
    assert [(part.taken, part.dropped.examples) for part in result.merged] == [(4, ["a1"]), (2, ["b0"])]
    ids = [record.id for record in iterate_records(result.path)]
    assert ids == ["a0", "a2", "a3", "a4", "b1", "b2"]
    assert (tmp_path / "out" / "all-duplicates.json").is_file()
    assert (tmp_path / "out" / "all-duplicates.html").is_file()


def test_commands_say_what_leaks(tmp_path, told, run_facekit):
    origin = write_set(tmp_path, "a", (0, "train"), (1, "test"), (30, "train"))
    report = tmp_path / "report.json"
    status, out, err = run_facekit("duplicates", origin, "--output", report, "--workers", 1)
    assert status == 1
    assert "1 near copy among 3 records\n  1 within a\n" in out
    assert "1 leak between splits: 1 between test and train" in out
    assert str(report.with_suffix(".html")) in err
    status, out, _ = run_facekit("convert", origin, tmp_path / "out.jsonl", "--drop-duplicates")
    assert status == 0
    assert "1 near copy dropped: out-duplicates.html" in out
    assert "leak between splits" in out
    assert [record.id for record in iterate_records(tmp_path / "out.jsonl", check_files=False)] == ["a1", "a2"]
    status, out, _ = run_facekit("duplicates", tmp_path / "out.jsonl", "--output", report)
    assert (status, out) == (0, "0 near copies among 2 records\n")


@pytest.mark.parametrize("name", ["test.jsonl", "Test-faces.jsonl", "val.jsonl", "test/records.jsonl"])
def test_files_named_after_splits_say_what_leaks_where_records_do_not(tmp_path, told, run_facekit, name):
    train, other = (write_set(tmp_path, each, (number, None)) for number, each in enumerate("ab"))
    train = Path(train).rename(tmp_path / "a" / "train.jsonl")
    (tmp_path / "b" / name).parent.mkdir(exist_ok=True)
    held_out = tmp_path / "b" / name
    shutil.copy(tmp_path / "b" / "0.png", held_out.parent / "0.png") if held_out.parent.name == "test" else None
    Path(other).rename(held_out)
    status, out, _ = run_facekit("duplicates", train, held_out, "--output", tmp_path / "report.json")
    assert status == 1
    assert "1 leak between splits: 1 between " in out


def test_sets_of_which_none_says_what_is_held_out_are_told(tmp_path, told, run_facekit):
    origins = [write_set(tmp_path, each, (number, None)) for number, each in enumerate("ab")]
    status, out, err = run_facekit("duplicates", *origins, "--output", tmp_path / "report.json")
    assert (status, out) == (0, "1 near copy among 2 records\n  1 b, of a\n")
    assert "what is training and what is test, so leaks between them are not looked for" in err


@pytest.mark.parametrize("split", ["Test", "val", "testing"])
def test_splits_are_known_by_other_names(tmp_path, split):
    found = find(write_set(tmp_path, "a", (0, "training"), (0, split)))
    assert [(copy.dropped.id, copy.kept.id) for copy in found.leaks] == [("a0", "a1")]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(MissingExtraError, match=r"need ImageHash; pip install 'facekit-mllm\[duplicates\]'"):
        find_duplicates([write_set(tmp_path, "a", (0, None))])


def test_copies_of_another_size_and_compression_are_near_and_other_pictures_are_not(tmp_path):
    pytest.importorskip("imagehash")
    from facekit.data.synthetic import write_synthetic_dataset

    path = write_synthetic_dataset(tmp_path / "faces", 6, seed=3, image_size=128)
    pictures = [Image.open(path.parent / record.image).convert("RGB") for record in iterate_records(path)]
    for picture in pictures:
        picture.resize((96, 96)).save(tmp_path / "small.jpg", quality=60)
        copy = hashing.picture_hash(Image.open(tmp_path / "small.jpg"))
        assert (hashing.picture_hash(picture) ^ copy).bit_count() <= finding.DISTANCE
    hashes = [hashing.picture_hash(picture) for picture in pictures]
    assert min((one ^ other).bit_count() for one, other in itertools.combinations(hashes, 2)) > finding.DISTANCE


def test_rows_are_counted_alike_where_broken_pictures_are_left_out(tmp_path, told):
    (tmp_path / "set" / "joy").mkdir(parents=True)
    for index, bits in enumerate((0, 0, 10, 20)):
        draw(tmp_path / "set" / "joy", f"{index + 1}.png", bits)
    (tmp_path / "set" / "joy" / "0.png").write_bytes(b"broken")
    result = convert(f"folder:{tmp_path / 'set'}", tmp_path / "out.jsonl", check_images=True, drop_duplicates=True)
    names = [record.image.rpartition("/")[2] for record in iterate_records(result.path)]
    assert names == ["1.png", "3.png", "4.png"]


def test_a_report_replaces_nothing_that_is_read(tmp_path, told, run_facekit):
    origin = write_set(tmp_path, "a", (0, None), (1, None))
    before = Path(origin).read_bytes()
    shutil.copy(origin, Path(origin).with_name("out-duplicates.json"))
    for arguments in (
        ["duplicates", origin, "--output", origin],
        ["convert", str(Path(origin).with_name("out-duplicates.json")), str(Path(origin).with_name("out.jsonl")),
         "--drop-duplicates"],
    ):  # fmt: skip
        status, output, errors = run_facekit(*arguments)
        assert status == 2
        assert "is what is read, and would be written over" in " ".join((output + errors).split())
    assert Path(origin).read_bytes() == before == Path(origin).with_name("out-duplicates.json").read_bytes()
    with pytest.raises(ConfigurationError, match=r"is where the page goes; name the report itself, such as x\.json"):
        check_report_place(tmp_path / "x.html", [])


def test_a_report_replaces_an_earlier_one_and_nothing_else(tmp_path, told, run_facekit):
    origin = write_set(tmp_path, "a", (0, None), (1, None))
    report = tmp_path / "report.json"
    for name in ("report.json", "report.html"):
        (tmp_path / name).write_text('{"accuracy": 0.9}')
        status, output, errors = run_facekit("duplicates", origin, "--output", report)
        assert status == 2
        assert f"{name} exists and is no report on near-duplicates; move it" in " ".join((output + errors).split())
        assert (tmp_path / name).read_text() == '{"accuracy": 0.9}'
        (tmp_path / name).unlink()
    for _ in range(2):
        assert run_facekit("duplicates", origin, "--output", report)[0] == 0


def test_a_set_of_which_no_picture_opens_is_an_error_and_not_free_of_copies(tmp_path):
    records = [FaceRecord(id=name, image=f"{name}.png") for name in "abc"]
    write_records(tmp_path / "faces.jsonl", records)
    with pytest.raises(RecordError, match=r"none of 3 records has a picture that opens, such as a: .*a\.png"):
        find_duplicates([str(tmp_path / "faces.jsonl")])
