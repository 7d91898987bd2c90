import json

import numpy as np
import pytest

from benchmarks import fairness_simulation
from benchmarks.fairness_simulation import DESIGNS, PICTURES, SUBJECTS, lay_groups


def test_every_design_and_measure_is_written_with_alarms_power_and_coverage(tmp_path):
    output = tmp_path / "simulation.json"
    fairness_simulation.main(
        ["--repetitions", "6", "--permutations", "39", "--resamples", "40", "--output", str(output)]
    )
    rows = json.loads(output.read_text())["results"]
    assert {(row["design"], row["measure"]) for row in rows} >= {
        (design, measure) for design in DESIGNS for measure in ("accuracy", "odds", "errors")
    }
    for row in rows:
        assert 0 <= row["false_alarms"] <= 1
        assert 0 <= row["power"] <= 1
    accuracy = [row for row in rows if row["measure"] == "accuracy"]
    assert np.mean([row["power"] for row in accuracy]) > np.mean([row["false_alarms"] for row in accuracy])


@pytest.mark.parametrize(("design", "least", "most"), [("constant", 0, 0), ("ordered", 1, 1), ("random", 0.8, 1),
                                                       ("ageing", 0.3, 0.7)])  # fmt: skip
def test_the_designs_differ_in_how_many_subjects_have_both_groups(design, least, most):
    subjects, codes = lay_groups(design, np.random.default_rng(0))
    share = np.bincount(subjects, codes) / PICTURES
    both = np.mean((share > 0) & (share < 1))
    assert len(share) == SUBJECTS
    assert least <= both <= most
