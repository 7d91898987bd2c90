"""Pairs of answers from a file and from rated data generation."""

from __future__ import annotations

import json

import pytest

from facekit.data import FaceRecord, RecordSet
from facekit.errors import ConfigurationError, RecordError
from facekit.training import TrainingSettings
from facekit.training.loop.identity import identify_run
from facekit.training.preferences.pairs import Pair, paired_rows, pairs_from_generation, read_pairs, write_pairs
from facekit.training.recipes.preference_settings import PairSettings

QUESTION = "Which expression?"


def kept(answer, rating=None, record="a"):
    line = {"id": record, "aspect": "expression", "question": QUESTION, "answer": answer}
    return line if rating is None else {**line, "rating": {"overall": rating}}


def dropped(answer, reason, record="a"):
    return {"id": record, "aspect": "expression", "outcome": "dropped", "reason": reason, "answer": answer}


@pytest.fixture
def generate(tmp_path):
    """A function that writes the output folder of a run of data generation."""

    def write(name, answers=(), failures=()):
        folder = tmp_path / name
        folder.mkdir()
        for file, lines in (("answers.jsonl", answers), ("failures.jsonl", failures)):
            (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return folder

    return write


def test_what_one_run_kept_is_chosen_over_what_another_dropped(generate):
    folders = [
        generate("one", [kept("Fear."), kept("Joy.", record="b")]),
        generate("two", [], [dropped("Joy!", "contradicts the label: it is fear"),
                             dropped("Joyful", "near-duplicate: of the answer about c", "b")]),
    ]  # fmt: skip
    assert pairs_from_generation(folders) == [Pair("a", QUESTION, "Fear.", "Joy!")]


def test_the_best_rated_is_chosen_over_the_worst_where_they_are_apart(generate):
    folders = [
        generate("one", [kept("Good.", 8)]),
        generate("two", [kept("Best.", 9)]),
        generate("three", [kept("Poor.", 6)]),
    ]
    assert pairs_from_generation(folders) == [Pair("a", QUESTION, "Best.", "Poor.")]
    assert pairs_from_generation(folders, margin=3) == [Pair("a", QUESTION, "Best.", "Poor.")]
    with pytest.raises(RecordError, match="no two answers to a question"):
        pairs_from_generation(folders, margin=4)


def test_a_question_is_that_of_the_run_whose_answer_is_chosen(generate):
    folders = [
        generate("one", [kept("Fear.", 4)]),
        generate("two", [{**kept("Yes.", 9), "question": "Is it joy?"}], [dropped("No.", "rated low: 2")]),
    ]
    assert pairs_from_generation(folders) == [Pair("a", "Is it joy?", "Yes.", "No.")]


def test_a_dropped_answer_is_worse_than_any_kept_one(generate):
    folders = [generate("one", [kept("Good.", 8)]), generate("two", [kept("Poor.", 6)]),
               generate("three", [], [dropped("Bad.", "rated low: 3 of 10, at least 6 is kept")])]  # fmt: skip
    assert pairs_from_generation(folders) == [Pair("a", QUESTION, "Good.", "Bad.")]


def test_a_single_run_has_no_pairs(generate):
    with pytest.raises(RecordError, match="pairs come from several runs about the same records"):
        pairs_from_generation([generate("one", [kept("Good.", 8)])])


def test_a_file_of_pairs_is_read_as_it_was_written(tmp_path):
    pairs = [Pair("a", QUESTION, "Fear.", "Joy."), Pair("b", "Ält?", "30", "90")]
    assert read_pairs(write_pairs(tmp_path / "pairs.jsonl", pairs)) == pairs


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"record": "a", "question": "?", "chosen": "x"}',
            "line 1: a pair has words for record, question, chosen, rejected",
        ),
        ('{"record": "a", "question": "?", "chosen": "x", "rejected": " x"}', "line 1: .*are the same answer"),
        ("[1]", "line 1 is no table"),
        ("{", "line 1 is no JSON"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, line, message):
    (tmp_path / "pairs.jsonl").write_text(line)
    with pytest.raises(RecordError, match=message):
        read_pairs(tmp_path / "pairs.jsonl")


def test_rows_are_of_the_records_that_are_there(records, tmp_path):
    first = records.records[0].id
    path = write_pairs(tmp_path / "pairs.jsonl", [Pair(first, QUESTION, "Fear.", "Joy."), Pair("gone", "?", "x", "y")])
    (row,) = paired_rows(records, PairSettings(pairs=path))
    assert row == {
        "prompt": [{"role": "user", "content": QUESTION}], "images": ["record:0"],
        "chosen": [{"role": "assistant", "content": "Fear."}], "rejected": [{"role": "assistant", "content": "Joy."}],
    }  # fmt: skip
    write_pairs(path, [Pair("gone", "?", "x", "y")])
    with pytest.raises(RecordError, match="none of 1 pair is about one of 6 records"):
        paired_rows(records, PairSettings(pairs=path))
    with pytest.raises(ConfigurationError, match=r"dpo needs pairs: add dpo\.pairs=FILE"):
        paired_rows(records, PairSettings())


def test_pairs_that_cannot_be_learned_from_are_left_out_and_named(records, tmp_path, caplog):
    first = records.records[0].id
    pairs = [Pair(first, QUESTION, "Fear.", "Joy."), Pair(first, QUESTION, "Fear.", "Long " * 9)]
    chosen = PairSettings(pairs=write_pairs(tmp_path / "pairs.jsonl", pairs))
    told = []

    def find_fault(record):
        told.append([turn.content for turn in record.conversations])
        return "it is long" if "Long" in record.conversations[-1].content else None

    (row,) = paired_rows(records, chosen, find_fault)
    assert row["rejected"][0]["content"] == "Joy."
    assert told[:2] == [[QUESTION, "Fear."], [QUESTION, "Joy."]]
    assert f"1 of 2 pairs cannot be learned from: about '{first}': it is long; they are left out" in caplog.text
    with pytest.raises(RecordError, match=r"2 of 2 pairs cannot be learned from: .*: no; about .*: no"):
        paired_rows(records, chosen, lambda record: "no")


def test_a_run_knows_its_pairs(records, tmp_path, small):
    path = write_pairs(tmp_path / "pairs.jsonl", [Pair(records.records[0].id, QUESTION, "Fear.", "Joy.")])
    chosen = TrainingSettings(steps=1, dpo={"pairs": path})
    before = identify_run(chosen, records, small[0])
    assert identify_run(chosen, records, small[0]).differences(before) == []
    write_pairs(path, [Pair(records.records[0].id, QUESTION, "Joy.", "Fear.")])
    (told,) = identify_run(chosen, records, small[0]).differences(before)
    assert told.startswith("pairs was '1 with the hash")


def test_answers_with_separators_of_lines_and_files_with_a_byte_order_mark_are_read(tmp_path):
    pairs = [Pair("a", QUESTION, "Fear.\u2028And more.", "Joy.\x85No.\x0c")]
    path = write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(path) == pairs
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_pairs(path) == pairs
    path.write_text("[" * 100_000)
    with pytest.raises(RecordError, match="line 1 is no JSON"):
        read_pairs(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "a", "question": "?", "answer": "x", "key": "0"}, "line 1: what 'facekit datagen' writes has words"),
        ({**kept("x"), "answer": None}, "line 1: what 'facekit datagen' writes has words"),
        ({**kept("x"), "rating": 5}, "line 1: a rating has a number as 'overall', not 5"),
        (kept("x", "good"), "line 1: a rating has a number as 'overall', not 'good'"),
        (kept("x", float("nan")), "line 1: a rating has a number"),
    ],
)
def test_answers_that_are_not_those_of_data_generation_are_told_with_their_line(generate, line, message):
    with pytest.raises(RecordError, match=message):
        pairs_from_generation([generate("one", [line])])


def test_an_id_of_its_own_counts_before_that_of_a_face_and_frames_have_no_face_in_common(tmp_path, caplog):
    named = {"clip": "whole.png", "clip#1": "first.png", "clip#2": "second.png", "lone#1": "a.png", "lone#2": "a.png",
             "cut#1": "c.png", "cut#2": "d.png"}  # fmt: skip
    records = RecordSet(tuple(FaceRecord(id=name, image=image) for name, image in named.items()), tmp_path)
    pairs = [Pair(name, QUESTION, "Fear.", "Joy.") for name in ("clip", "lone", "cut", "gone")]
    rows = paired_rows(records, PairSettings(pairs=write_pairs(tmp_path / "pairs.jsonl", pairs)))
    assert [row["images"] for row in rows] == [["record:0"], ["record:4"]]
    assert "left out 2 of 4 pairs, which are about none of 7 records" in caplog.text
