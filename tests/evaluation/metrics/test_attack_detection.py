"""Attack detection errors are those that ISO/IEC 30107-3 defines, by a worked example."""

from __future__ import annotations

import numpy as np
import pytest

from facekit.evaluation.metrics.attack_detection import attack_errors, bpcer_at, equal_error_rate

# Ten prints of which two pass, five masks of which two pass, eight genuine presentations of which one is called an
# attack: APCER(print) = 1 - 8/10, APCER(mask) = 1 - 3/5, BPCER = 1/8, ACER = (0.4 + 0.125) / 2.
KINDS = ["print"] * 10 + ["mask"] * 5 + [""] * 8
CALLED = [True] * 8 + [False] * 2 + [True] * 3 + [False] * 2 + [True] + [False] * 7


def test_the_worked_example_has_the_errors_that_the_standard_defines():
    errors = attack_errors(KINDS, CALLED)
    assert errors.apcer == pytest.approx({"mask": 0.4, "print": 0.2})
    assert errors.bpcer == 0.125
    assert (errors.worst_kind, errors.worst_apcer) == ("mask", pytest.approx(0.4))
    assert errors.acer == pytest.approx(0.2625)


def test_bpcer_is_at_the_threshold_that_no_kind_exceeds():
    kinds = ["print"] * 20 + ["mask"] * 10 + [""] * 10
    scores = [*range(20, 40), *range(25, 35), *range(17, 27)]
    # 5 % of twenty prints may pass: one, so the threshold is 21; of ten masks none: 25. Both hold at 21.
    assert bpcer_at(kinds, scores, 0.05) == (0.6, 21.0)
    # 10 %: two prints, 22; one mask, 26.
    assert bpcer_at(kinds, scores, 0.1) == (0.5, 22.0)


def test_at_the_found_threshold_every_kind_is_within_its_bound_and_a_higher_one_would_break_it():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        kinds = np.array(["", "a", "b", "c"], dtype=object)[rng.integers(4, size=200)]
        scores = np.round(rng.normal(size=200) + (kinds != ""), 2)
        for allowed in (0.05, 0.1):
            bpcer, threshold = bpcer_at(kinds.tolist(), scores.tolist(), allowed)
            passing = {kind: (scores[kinds == kind] < threshold).mean() for kind in "abc"}
            assert max(passing.values()) <= allowed
            assert bpcer == (scores[kinds == ""] >= threshold).mean()
            above = scores[scores > threshold].min()
            assert max((scores[kinds == kind] < above).mean() for kind in "abc") > allowed


def test_the_equal_error_rate_counts_all_kinds_as_attacks():
    assert equal_error_rate(["a", "b", "", ""], [3.0, 1.0, 2.0, 0.0]) == pytest.approx(0.5)
    assert equal_error_rate(["a", "b", "", ""], [3.0, 2.0, 1.0, 0.0]) == 0.0


def test_without_genuine_presentations_bpcer_is_undefined():
    assert np.isnan(attack_errors(["a"], [True]).bpcer)
