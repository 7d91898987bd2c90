"""Several record files as one record set: exact shares, every record in its turn, paths and ids that stay right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facekit.data.identity import describe_records
from facekit.data.mixing import DataSource, join_sources, mix_records
from facekit.data.mixture import Mixture, divide, take_in_turn
from facekit.data.records import FaceRecord, Turn, write_records
from facekit.errors import ConfigurationError, RecordError


@given(st.integers(0, 10**6), st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8))
def test_a_number_is_divided_without_remainder_and_no_part_is_off_by_one(total, weights):
    parts = divide(total, weights)
    assert sum(parts) == total
    assert all(abs(part - total * weight / sum(weights)) < 1 for part, weight in zip(parts, weights, strict=True))


def test_equal_remainders_go_to_the_first():
    assert divide(10, [4, 2, 1, 1]) == (5, 3, 1, 1)
    assert divide(2, [1, 1, 1]) == (1, 1, 0)


@given(st.integers(1, 12), st.integers(1, 40), st.integers(0, 5))
def test_over_the_epochs_every_record_is_taken_equally_often(size, count, seed):
    members = np.arange(100, 100 + size)
    taken = Counter()
    for epoch in range(6):
        indices, repetitions = take_in_turn(members, count, epoch, (seed,))
        assert len(indices) == len(repetitions) == count
        occurred = Counter()
        for index, repetition in zip(indices.tolist(), repetitions.tolist(), strict=True):
            assert repetition == occurred[index], "an occurrence knows how many came before it"
            occurred[index] += 1
        taken.update(occurred)
        assert max(taken[index] for index in members) - min(taken[index] for index in members) <= 1


def test_what_an_epoch_takes_depends_on_seed_and_epoch_only():
    members = np.arange(20)
    first = take_in_turn(members, 8, 1, (3,))[0]
    assert take_in_turn(members, 8, 1, (3,))[0].tolist() == first.tolist()
    assert take_in_turn(members, 8, 1, (4,))[0].tolist() != first.tolist()
    assert not set(first.tolist()) & set(take_in_turn(members, 8, 0, (3,))[0].tolist())


def record(name, **fields):
    turns = [Turn(role="user", content="q?"), Turn(role="assistant", content="a.")]
    return FaceRecord(id=name, conversations=turns, **fields)


@pytest.fixture
def files(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write_records(tmp_path / "one" / "faces.jsonl", [record("a", image="a.png"), record("b", image="b.png")])
    write_records(tmp_path / "two" / "pairs.jsonl", [record("a", images=["x.png", "y.png"])])
    write_records(tmp_path / "text.jsonl", [record("t")])
    return [tmp_path / "one" / "faces.jsonl", tmp_path / "two" / "pairs.jsonl", tmp_path / "text.jsonl"]


def test_paths_and_ids_of_all_files_stay_right(files, tmp_path):
    mixed = mix_records([DataSource(path) for path in files])
    assert [each.id for each in mixed.records] == ["a", "b", "pairs.jsonl/a", "t"]
    assert mixed.folder == tmp_path / "one"
    paths = [path.resolve() for path in mixed.records[2].media_paths(mixed.folder)]
    assert paths == [(tmp_path / "two" / name).resolve() for name in ("x.png", "y.png")]
    assert mixed.mixture == Mixture(("faces.jsonl", "pairs.jsonl", "text.jsonl"), (0, 0, 1, 2))
    assert [share.examples for share in mixed.mixture.shares()] == [2, 1, 1]


def test_broken_lines_are_counted_through_all_files(files):
    with files[0].open("a") as lines:
        lines.write("no record\n")
    with files[1].open("a") as lines:
        lines.write('{"id": "z"}\n')
    mixed = mix_records([DataSource(path) for path in files])
    assert [entry.index for entry in mixed.broken] == [2, 4]
    assert list(mixed.entry_indices) == [0, 1, 3, 5]


def test_a_part_of_the_records_keeps_its_sources(files):
    mixed = mix_records([DataSource(path, weight) for path, weight in zip(files, (2, 1, 1), strict=True)])
    assert mixed.select([3, 0, 1]).mixture.sources == (2, 0, 0)
    with pytest.raises(RecordError, match=r"'pairs\.jsonl' has no record that can be used"):
        _ = mixed.select([3, 0, 1]).mixture.quotas


def test_weights_are_part_of_what_makes_a_run_the_same(files):
    one, other, none = (
        describe_records(mix_records([DataSource(path, weight) for path, weight in zip(files, weights, strict=True)]))
        for weights in ((2, 1, 1), (1, 2, 1), (None, None, None))
    )
    assert len({one, other, none}) == 3
    assert one.startswith(none), "without weights it is the records that count"


def test_what_cannot_be_mixed_is_told(files, tmp_path):
    with pytest.raises(ConfigurationError, match=r"'pairs\.jsonl' has no weight and others have"):
        mix_records([DataSource(files[0], 2), DataSource(files[1])])
    with pytest.raises(ConfigurationError, match="name at least one file"):
        join_sources([])
    with pytest.raises(ConfigurationError, match="a number above 0, not 0"):
        DataSource(files[0], 0)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "shard-000000.tar").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="shards; unpack it first"):
        mix_records([DataSource(files[0]), DataSource(tmp_path / "shards")])


@pytest.mark.parametrize(("given", "kind"), [([FaceRecord(id="a", image="a.png")], "FaceRecord"), (["a.jsonl"], "str")])
def test_a_list_of_something_else_than_sources_is_told(given, kind):
    with pytest.raises(
        ConfigurationError, match=rf"several sets are a list of DataSource, not of {kind}; .*RecordSet\("
    ):
        join_sources(given)
