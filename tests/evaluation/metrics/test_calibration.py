"""Calibration is what binning by hand gives, and small for a model whose probabilities are true."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.evaluation import EvaluationResult, Run, TaskResult, write_report
from facekit.evaluation.metrics.calibration import measure_calibration


def entry(probability, right, **others):
    scores = {"genuine": math.log(probability) - 40, "manipulated": math.log(1 - probability) - 40}
    prediction = "genuine" if probability >= 0.5 else "manipulated"
    other = {"genuine": "manipulated", "manipulated": "genuine"}[prediction]
    return {"prediction": prediction, "truth": prediction if right else other, "scores": scores, **others}


def test_bins_and_error_are_those_of_a_calculation_by_hand():
    entries = [entry(0.95, True), entry(0.97, False), entry(0.65, True), entry(0.39, True), {"prediction": "genuine"}]
    found = measure_calibration(entries)
    assert [(each.low, each.high, each.count) for each in found.bins] == [(0.6, 0.7, 2), (0.9, 1.0, 2)]
    assert [each.confidence for each in found.bins] == pytest.approx([0.63, 0.96])
    assert [each.accuracy for each in found.bins] == [1.0, 0.5]
    assert found.expected_error == pytest.approx((0.37 + 0.46) / 2)
    assert (found.count, found.accuracy, found.confidence) == (4, 0.75, pytest.approx(0.795))


def test_true_probabilities_are_calibrated_and_doubled_certainty_is_not():
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.5, 0.999, 20_000)
    hits = rng.random(20_000) < chances
    true = measure_calibration(entry(chance, hit) for chance, hit in zip(chances, hits, strict=True))
    surer = [entry(0.5 + chance / 2, hit) for chance, hit in zip(chances, hits, strict=True)]
    assert true.expected_error < 0.02
    assert measure_calibration(surer).expected_error == pytest.approx(0.125, abs=0.02)


def test_certainty_itself_has_a_bin_and_nothing_scored_has_no_calibration():
    sure = {"prediction": "a", "truth": "a", "scores": {"a": -1.0, "b": -2000.0}}
    found = measure_calibration([sure])
    assert (found.bins[0].low, found.bins[0].high, found.expected_error) == (0.9, 1.0, 0.0)
    assert measure_calibration([{"prediction": "a", "truth": "a"}]) is None


def test_the_page_shows_calibration_where_there_are_scores_and_only_there(tmp_path):
    records = RecordSet.read(write_synthetic_dataset(tmp_path / "faces", 4, seed=1, image_size=64))
    names = [record.id for record in records.records]
    task = TaskResult("manipulation", "Manipulation", "?", 4, 0, "accuracy", "accuracy", True, {"accuracy": 0.75}, {},
                      None, ())  # fmt: skip
    entries = [
        entry(chance, right, id=name, task="manipulation", answer="it is", groups={})
        for name, chance, right in zip(names, (0.95, 0.97, 0.65, 0.39), (True, False, True, True), strict=True)
    ]
    run = Run(EvaluationResult(4, (task,), 1.0), tuple(json.loads(json.dumps(entries))))
    page = write_report(tmp_path / "out", records, [run]).read_text()
    assert "Calibration" in page
    assert "expected calibration error <strong>0.415</strong>" in page
    assert page.count('class="bin"') == 2
    bare = tuple({name: value for name, value in each.items() if name != "scores"} for each in entries)
    assert "Calibration" not in write_report(tmp_path / "bare", records, [Run(run.result, bare)]).read_text()
