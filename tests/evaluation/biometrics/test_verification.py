"""Verification is scored over folds and people, non-answers apart, by group at one threshold."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from facekit.errors import ConfigurationError, RecordError
from facekit.evaluation import Unanswered
from facekit.evaluation.biometrics.pair_lists import read_pairs
from facekit.evaluation.biometrics.trials import Trial, TrialVerdict, weigh_subjects
from facekit.evaluation.biometrics.verification import score_verification, verify_pairs
from facekit.evaluation.metrics.roc import RocCurve


def draw(seed=0, count=400, people=60):
    rng = np.random.default_rng(seed)
    trials, verdicts = [], []
    for number in range(count):
        is_same = number % 2 == 0
        first, second = rng.choice(people, 2, replace=False)
        subjects = (f"p{first}", f"p{first if is_same else second}")
        score = float(rng.normal() + 2 * is_same)
        group = {"race": "a" if first < people // 2 else "b"}
        trials.append(Trial(str(number), (), is_same, subjects=subjects, fold=number * 10 // count, groups=group))
        verdicts.append(TrialVerdict(score >= 0, score))
    return trials, verdicts


def test_rates_are_those_of_the_curve_with_intervals_around_them():
    trials, verdicts = draw()
    result = score_verification(trials, verdicts, resamples=200)
    curve = RocCurve.of([trial.is_positive for trial in trials], [verdict.score for verdict in verdicts])
    assert result.equal_error_rate.value == curve.equal_error_rate()[0]
    assert set(result.true_accept_rates) == {"0.1", "0.01", "0.001"}
    for rate, found in result.true_accept_rates.items():
        assert found.value == curve.positives_at(float(rate))[0]
        assert found.low <= found.value <= found.high
    assert result.accuracy.low < result.accuracy.value < result.accuracy.high
    assert result.strict_accuracy == result.accuracy.value


def test_intervals_are_over_people_and_so_wider_where_people_differ():
    trials, verdicts = draw(people=12)
    effects = dict(zip((f"p{number}" for number in range(12)), np.random.default_rng(1).normal(0, 2, 12), strict=True))
    moved = [
        replace(verdict, score=verdict.score + effects[trial.subjects[0]])
        for trial, verdict in zip(trials, verdicts, strict=True)
    ]
    nobody = [replace(trial, subjects=()) for trial in trials]
    rates = [score_verification(each, moved, resamples=400).equal_error_rate for each in (trials, nobody)]
    assert rates[0].value == rates[1].value
    assert rates[0].high - rates[0].low > 1.5 * (rates[1].high - rates[1].low)


def test_a_pair_of_two_people_weighs_the_product_of_both_and_a_pair_of_one_what_that_one_weighs():
    trials = [Trial("0", (), True, subjects=("a", "a")), Trial("1", (), False, subjects=("a", "b")),
              Trial("2", (), True, subjects=("b",)), Trial("3", (), True)]  # fmt: skip
    weights = weigh_subjects(trials, resamples=50, seed=0)
    assert (weights[:, 1] == weights[:, 0] * weights[:, 2]).all()
    assert ((weights[:, 0] + weights[:, 2] + weights[:, 3]) == 3).all()


def test_pairs_without_an_answer_are_apart_and_count_as_wrong_in_the_strict_accuracy_alone():
    trials, _ = draw()
    verdicts = [TrialVerdict(trial.is_positive) for trial in trials[:300]] + [TrialVerdict(None)] * 100
    result = score_verification(trials, verdicts, scoring="generation", resamples=50)
    assert (result.unanswered, result.accuracy.value, result.strict_accuracy) == (100, 1.0, 0.75)
    assert result.equal_error_rate is None
    assert result.true_accept_rates == {}
    assert sum(group.unanswered for group in result.groups) == 100
    nothing = score_verification(trials, [TrialVerdict(None)] * 400)
    assert (nothing.unanswered, nothing.accuracy, nothing.strict_accuracy) == (400, None, 0.0)


def test_groups_are_compared_at_one_threshold_and_the_one_that_is_mistaken_shows():
    trials, verdicts = draw(count=2000)
    raised = [
        replace(verdict, score=verdict.score + 2 * (trial.groups["race"] == "b" and not trial.is_positive))
        for trial, verdict in zip(trials, verdicts, strict=True)
    ]
    groups = {each.group: each for each in score_verification(trials, raised, resamples=50).groups}
    impostors = [(trial, verdict.score) for trial, verdict in zip(trials, raised, strict=True) if not trial.is_positive]
    threshold = score_verification(trials, raised, resamples=1).threshold
    for name, found in groups.items():
        scores = np.array([score for trial, score in impostors if trial.groups["race"] == name])
        assert found.false_match_rate.value == (scores >= threshold).mean()
    assert groups["b"].false_match_rate.value > groups["a"].false_match_rate.value
    assert groups["b"].false_match_rate.low <= groups["b"].false_match_rate.value <= groups["b"].false_match_rate.high


class Comparing:
    """Compares the pictures' greys; refuses pairs whose first picture is black."""

    name = "greys"

    def __init__(self):
        self.asked = []

    def answer(self, questions):
        for index, question in enumerate(questions):
            self.asked.append(question.id)
            first, second = (picture.getpixel((0, 0))[0] for picture in question.open_pictures())
            yield index, Unanswered("refused") if first == 0 else "Yes" if abs(first - second) < 8 else "No"


@pytest.fixture
def pairs(tmp_path, draw_picture):
    lines = ["first,second,same,person_first,person_second"]
    for number in range(20):
        second = number if number % 2 == 0 else 19 - number
        draw_picture(tmp_path / f"{number}.png", 12 * number)
        lines.append(f"{number}.png,{second}.png,{int(number == second)},p{number},p{second}")
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines))
    return path


def test_a_set_is_asked_once_and_a_second_run_goes_on(pairs, tmp_path):
    model, output = Comparing(), tmp_path / "out"
    result = verify_pairs(model, "pairs", pairs, output_dir=output)
    assert (result.pairs, result.unanswered, result.accuracy.value) == (20, 1, 1.0)
    assert result.scoring == "generation"
    assert json.loads((output / "verification.json").read_text())["accuracy"]["value"] == 1.0
    assert len(model.asked) == 20
    verify_pairs(model, "pairs", pairs, output_dir=output)
    assert len(model.asked) == 20


def test_a_limit_takes_pairs_from_all_over_the_list(pairs):
    model = Comparing()
    assert verify_pairs(model, "pairs", pairs, limit=5).pairs == 5
    lines = sorted(int(each) for each in model.asked)
    assert (lines[0], lines[-1]) == (2, 21)


def test_a_missing_picture_and_an_unknown_scoring_are_said(pairs):
    (pairs.parent / "3.png").unlink()
    with pytest.raises(RecordError, match=r"3\.png is missing"):
        verify_pairs(Comparing(), "pairs", pairs)
    with pytest.raises(ConfigurationError, match="'guess'"):
        verify_pairs(Comparing(), "pairs", pairs, scoring="guess")


def test_a_model_that_runs_here_scores_pairs_by_the_likelihood_of_yes(pairs, small_model):
    result = verify_pairs(small_model, "pairs", pairs, limit=6)
    assert result.scoring == "likelihood"
    assert result.unanswered == 0
    trials = read_pairs("pairs", pairs)
    assert 0 <= result.equal_error_rate.value <= 1
    assert len(trials) == 20
