"""Two models on the same faces: differences that are there are found, and those that are not are not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import binomtest

from facekit.data.dataset import RecordSet
from facekit.data.labels import FaceLabels
from facekit.data.records import FaceRecord
from facekit.evaluation import ACTION_UNITS, AGE, MANIPULATION, compare_predictions, compare_runs
from facekit.evaluation.metrics import comparison


def faces(truths, **source):
    return [
        FaceRecord(id=str(i), image="a.png", labels=FaceLabels(manipulated=truth), source=source or None)
        for i, truth in enumerate(truths)
    ]


def test_a_better_model_is_found_by_both_tests():
    rng = np.random.default_rng(0)
    truths = (rng.random(300) < 0.5).tolist()
    first, second = ([truth == (rng.random() < rate) for truth in truths] for rate in (0.9, 0.75))
    (found,) = compare_predictions(MANIPULATION, faces(truths), truths, {"a": first, "b": second})
    right = np.array([[truth == one, truth == other] for truth, one, other in zip(truths, first, second, strict=True)])
    assert found.difference == pytest.approx(right[:, 0].mean() - right[:, 1].mean())
    assert found.low <= 0.15 <= found.high
    only = (right[:, 0] & ~right[:, 1]).sum(), (right[:, 1] & ~right[:, 0]).sum()
    assert found.mcnemar == pytest.approx(binomtest(int(only[0]), int(sum(only))).pvalue)
    assert found.p_value < 0.01
    assert found.mcnemar < 0.01


def test_equal_models_are_told_apart_in_one_of_twenty_tries():
    told = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        ages = rng.uniform(10, 80, 60)
        guesses = {name: (ages + rng.normal(0, 5, 60)).tolist() for name in "ab"}
        (found,) = compare_predictions(AGE, faces([True] * 60), ages.tolist(), guesses, resamples=50, permutations=199)
        assert found.mcnemar is None
        told += found.p_value <= 0.05
    assert told <= 10


def test_the_same_answers_differ_by_nothing():
    truths = [{"AU1": bool(i % 2), "AU4": True} for i in range(30)]
    named = [{"AU1"}] * 30
    (found,) = compare_predictions(ACTION_UNITS, faces([True] * 30), truths, {"a": named, "b": list(named)})
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_every_pair_is_compared_from_the_files_of_their_runs(tmp_path):
    records = RecordSet(tuple(faces([bool(i % 2) for i in range(40)])), tmp_path)
    runs = {}
    for name, wrong in (("good", 2), ("fair", 10), ("poor", 30)):
        lines = []
        for i, record in enumerate(records.records):
            said = record.labels.manipulated != (i < wrong)
            entry = {"id": record.id, "task": "manipulation", "answer": "fake" if said else "real"}
            lines.append(json.dumps(entry))
        runs[name] = tmp_path / f"{name}.jsonl"
        runs[name].write_text("\n".join(lines) + "\n")
    found = compare_runs(records, runs)
    assert [(each.first, each.second) for each in found] == [("good", "fair"), ("good", "poor"), ("fair", "poor")]
    assert [each.difference for each in found] == pytest.approx([0.2, 0.7, 0.5])
    assert found[0].mcnemar == pytest.approx(2 * 0.5**8)


def units_faces(folder):
    labels = [FaceLabels(action_units={"AU1": 3.0 * (i % 2), "AU12": 2.0}) for i in range(12)]
    records = tuple(FaceRecord(id=str(i), image="a.png", labels=each) for i, each in enumerate(labels))
    return RecordSet(records, folder)


def write_lines(path, entries):
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_runs_that_were_asked_label_by_label_are_compared_so(tmp_path):
    records = units_faces(tmp_path)
    runs = {}
    for name, said in (("right", {"AU1": None, "AU12": "yes"}), ("wrong", {"AU1": "no", "AU12": "no"})):
        entries = [
            {"id": record.id, "task": "action_unit_questions", "item": code,
             "answer": answer or ("yes" if record.labels.action_units[code] else "no")}
            for record in records.records
            for code, answer in said.items()
        ]  # fmt: skip
        runs[name] = write_lines(tmp_path / f"{name}.jsonl", entries)
    (found,) = compare_runs(records, runs)
    assert (found.task, found.difference) == ("action_unit_questions", 1.0)


def test_what_a_language_model_read_counts_as_in_the_metrics(tmp_path):
    records = units_faces(tmp_path)
    vague, extracted = ({"answer": "The face is busy."}, {"rule": "extracted", "prediction": "AU1, AU12"})
    runs = {}
    for name, read in (("read", extracted), ("unread", {"rule": "names no label", "prediction": None})):
        entries = [{"id": record.id, "task": "action_units", **vague, **read} for record in records.records]
        runs[name] = write_lines(tmp_path / f"{name}.jsonl", entries)
    (found,) = compare_runs(records, runs)
    assert found.difference == pytest.approx((2 / 3 + 1) / 2)


def test_exchanges_are_the_same_whatever_fits_into_memory(monkeypatch):
    rng = np.random.default_rng(3)
    truths = (rng.random(50) < 0.5).tolist()
    said = {name: (rng.random(50) < 0.5).tolist() for name in "ab"}
    (whole,) = compare_predictions(MANIPULATION, faces(truths), truths, said)
    monkeypatch.setattr(comparison, "_LARGEST_BLOCK", 700)
    (found,) = compare_predictions(MANIPULATION, faces(truths), truths, said)
    assert found.p_value == whole.p_value
