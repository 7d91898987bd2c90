"""Several sets become one: exact shares, unique ids, sources kept, repeated pictures named."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.data import merging
from facekit.data.convert import convert
from facekit.data.records import FaceRecord, iterate_records, read_records, write_records
from facekit.errors import ConfigurationError, RecordError


def write_set(folder, name, count, **fields):
    (folder / name).mkdir()
    records = [FaceRecord(id=f"{index}", image=f"{index}.png", **fields) for index in range(count)]
    for record in records:
        (folder / name / record.image).write_bytes(b"picture")
    return write_records(folder / name / f"{name}.jsonl", records)


def test_all_records_are_taken_with_paths_ids_and_sources_that_stay_right(tmp_path):
    sets = [write_set(tmp_path, "a", 2), write_set(tmp_path, "b", 3, source={"dataset": "own"})]
    result = convert([str(path) for path in sets], tmp_path / "out" / "all.jsonl", card=True)
    found = read_records(result.path)
    assert [record.id for record in found] == ["0", "1", "b/0", "b/1", "2"]
    assert [record.source for record in found] == [{"dataset": "a"}] * 2 + [{"dataset": "own"}] * 3
    assert [record.image for record in found[1:3]] == ["../a/1.png", "../b/0.png"]
    assert [(part.name, part.records, part.taken, part.renamed.count) for part in result.merged] == [
        ("a", 2, 2, 0), ("b", 3, 3, 2),
    ]  # fmt: skip
    assert str(result.merged[1]) == "b: 3 of 3 records; 2 renamed, their ids were taken: 0, 1"
    assert "b: 3 of 3 records; 2 renamed" in result.card.read_text()


def test_shares_are_exact_and_the_set_that_is_short_gives_all(tmp_path):
    sets = [str(write_set(tmp_path, name, count)) for name, count in (("a", 100), ("b", 20), ("c", 50))]
    result = convert(sets, tmp_path / "all.jsonl", weights=(4, 2, 1), seed=3)
    assert [part.taken for part in result.merged] == [40, 20, 10]
    first = [record.id for record in iterate_records(result.path)]
    assert len(set(first)) == 70
    again = convert(sets, tmp_path / "again.jsonl", weights=(4, 2, 1), seed=3)
    assert again.path.read_bytes() == result.path.read_bytes()
    other = convert(sets, tmp_path / "other.jsonl", weights=(4, 2, 1), seed=4)
    assert other.path.read_bytes() != result.path.read_bytes()
    numbers = [int(record.image.split("/")[1].split(".")[0]) for record in iterate_records(result.path)][:40]
    assert numbers == sorted(numbers) != list(range(40))


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.1, 9.0)), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_no_share_is_off_by_a_record_or_more(tmp_path_factory, parts, seed):
    records = {f"s{index}": [FaceRecord(id=f"{n}", image="a.png") for n in range(size)] for index, (size, _) in
               enumerate(parts)}  # fmt: skip
    folder = tmp_path_factory.mktemp("sets")

    def open_records(origin, **options):
        return iter(records[origin.partition(":")[0]]), folder, None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "open_records", open_records)
        weights = [weight for _, weight in parts]
        merger = merging.Merger([f"{name}:x" for name in records], weights, seed=seed)
        taken = Counter(record.id for record in merger.records(folder, copy=False))
    total = sum(part.taken for part in merger.sets)
    assert max(taken.values(), default=1) == 1
    for part, (size, weight) in zip(merger.sets, parts, strict=True):
        assert part.taken <= size
        assert abs(part.taken - total * weight / sum(weights)) < 1
    assert any((total + 1) * weight > size * sum(weights) for size, weight in parts), "more would keep the shares"


def test_a_picture_that_an_earlier_set_has_is_named(tmp_path):
    first = write_set(tmp_path, "a", 2)
    second = write_records(tmp_path / "a" / "more.jsonl", [FaceRecord(id="x", image="../a/1.png")])
    frames = [FaceRecord(id=f"f{index}", video="v.mp4", frames=[index]) for index in (1, 2)]
    third = write_records(tmp_path / "clips.jsonl", frames)
    result = convert([str(first), str(second), str(third)], tmp_path / "all.jsonl")
    assert [part.repeated.count for part in result.merged] == [0, 1, 0]
    assert "1 repeat a picture: x" in str(result.merged[1])


def test_sets_of_one_name_and_names_that_are_taken_stay_apart(tmp_path):
    write_set(tmp_path, "a", 1)
    other = write_records(
        tmp_path / "a.jsonl", [FaceRecord(id="0", image="a/0.png"), FaceRecord(id="a-2/0", image="z")]
    )
    merged = convert([str(tmp_path / "a" / "a.jsonl"), str(other)], tmp_path / "all.jsonl")
    assert [part.name for part in merged.merged] == ["a", "a-2"]
    ids = [record.id for record in iterate_records(merged.path, check_files=False)]
    assert len(set(ids)) == 3
    assert ids[:2] == ["0", "a-2/0"]


def test_what_does_not_fit_is_told(tmp_path):
    one = str(write_set(tmp_path, "a", 2))
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ConfigurationError, match="there are 1 sets and the weights 1, 2"):
        convert(one, tmp_path / "x.jsonl", weights=(1, 2))
    with pytest.raises(ConfigurationError, match="a number above 0"):
        convert([one, one], tmp_path / "x.jsonl", weights=(1, 0))
    with pytest.raises(RecordError, match=r"empty\.jsonl has no record"):
        convert([one, str(tmp_path / "empty.jsonl")], tmp_path / "x.jsonl")
    with pytest.raises(ConfigurationError, match="is what is read"):
        convert([str(tmp_path / "empty.jsonl"), one], one, overwrite=True)
    with pytest.raises(ConfigurationError, match="media folder is that of one set"):
        convert([one, one], tmp_path / "x.jsonl", media_folder=tmp_path)
    assert not (tmp_path / "x.jsonl").exists()


def test_the_command_merges_and_says_what_it_took(tmp_path, run_facekit):
    sets = [write_set(tmp_path, "a", 4), write_set(tmp_path, "b", 4)]
    status, out, _ = run_facekit("convert", *sets, tmp_path / "all.jsonl", "--weights", "2:1")
    assert status == 0
    assert "a: 4 of 4 records" in out
    assert "b: 2 of 4 records" in out
    assert len([json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]) == 6
    status, _, err = run_facekit("convert", *sets, tmp_path / "other.jsonl", "--weights", "two")
    assert status == 2
    assert "--weights are numbers, such as 4:2:1, not 'two'" in err
    status, _, err = run_facekit("convert", sets[0])
    assert status == 2
    assert "the last argument is the output" in err
