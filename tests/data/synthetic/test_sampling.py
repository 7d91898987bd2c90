"""Sampling: balanced labels, expressions built from their units, the same number always the same face."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from facekit.data.labels import ACTION_UNITS, ACTIVE_INTENSITY, EXPRESSIONS, SYNTHETIC_ATTRIBUTES
from facekit.data.synthetic.faces import groups_of, labels_of
from facekit.data.synthetic.geometry import landmarks_of
from facekit.data.synthetic.sampling import COMBINATIONS, OLDEST, YOUNGEST, sample_face, stream

COUNT = 600


@pytest.fixture(scope="module")
def faces():
    return [sample_face(seed) for seed in range(COUNT)]


@pytest.fixture(scope="module")
def labels(faces):
    return [labels_of(face) for face in faces]


def test_expressions_are_even(labels):
    counts = Counter(label.expression for label in labels)
    assert set(counts) == set(EXPRESSIONS)
    assert min(counts.values()) > 0.1 * COUNT
    assert max(counts.values()) < 0.19 * COUNT


def test_every_unit_is_present_often_enough_and_absent_often_enough(labels):
    rates = {code: np.mean([code in label.active_units() for label in labels]) for code in ACTION_UNITS}
    assert min(rates.values()) >= 0.13
    assert max(rates.values()) <= 0.6


def test_units_are_absent_or_clearly_present(labels):
    for label in labels:
        assert set(label.action_units) == set(ACTION_UNITS)
        assert all(level == 0 or 2 * ACTIVE_INTENSITY <= level <= 5 for level in label.action_units.values())


def test_units_are_no_function_of_the_expression_and_the_expression_no_guess(labels):
    sets = {name: {tuple(label.active_units()) for label in labels if label.expression == name} for name in EXPRESSIONS}
    assert all(len(combinations) >= 4 for combinations in sets.values())
    for name, combinations in sets.items():
        assert all(set(COMBINATIONS[name].always) <= set(units) for units in combinations)
        others = set.union(*(sets[other] for other in EXPRESSIONS if other != name))
        assert combinations.isdisjoint(others), f"{name} shares a combination with another expression"


def test_attributes_are_neither_rare_nor_universal(labels):
    rates = {name: np.mean([label.attributes[name] for label in labels]) for name in SYNTHETIC_ATTRIBUTES}
    assert set(labels[0].attributes) == set(SYNTHETIC_ATTRIBUTES)
    assert min(rates.values()) > 0.17, rates
    assert max(rates.values()) < 0.72, rates


def test_exactly_one_hair_colour_is_true(labels):
    for label in labels:
        assert sum(label.attributes[f"{colour}_Hair"] for colour in ("Black", "Brown", "Blond", "Gray")) == 1


def test_ages_and_forgeries_are_spread(labels):
    ages = np.array([label.age for label in labels])
    assert ages.min() >= YOUNGEST
    assert ages.max() <= OLDEST
    assert np.all(np.histogram(ages, 8, (YOUNGEST, OLDEST))[0] > COUNT / 16)
    assert 0.43 < np.mean([label.manipulated for label in labels]) < 0.57


def test_groups_are_all_there(faces):
    groups = [groups_of(face) for face in faces]
    assert {group["gender"] for group in groups} == {"woman", "man"}
    assert {group["age_group"] for group in groups} == {"child", "teenager", "adult", "senior"}
    tones = Counter(group["skin_tone"] for group in groups)
    assert set(tones) == {"light", "medium", "dark"}
    assert min(tones.values()) > COUNT / 5


def test_children_have_no_beard_and_no_lines(faces):
    for face in faces:
        if face.age < 16:
            assert face.adornment.beard == face.adornment.moustache == 0
            assert face.signs.forehead == face.signs.nasolabial == 0


def test_landmarks_lie_in_the_picture(faces):
    every = np.stack([landmarks_of(face) for face in faces])
    assert every.min() >= 0.04 - 1e-9
    assert every.max() <= 0.96 + 1e-9
    assert np.linalg.norm(every[:, 36] - every[:, 45], axis=-1).min() > 0.2


def test_a_number_is_the_same_face_whatever_was_drawn_before():
    first = sample_face(12345)
    state, numpy_state = random.getstate(), np.random.get_state()[1].copy()
    sample_face(7)
    assert sample_face(12345) == first
    assert random.getstate() == state
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert sample_face(12346) != first


def test_forging_changes_nothing_else():
    genuine, forged = sample_face(5, manipulated=False), sample_face(5, manipulated=True)
    assert genuine.forgery is None
    assert forged.forgery is not None
    assert replace(forged, forgery=None) == genuine


def test_purposes_and_seeds_have_streams_of_their_own():
    drawn = {tuple(stream(seed, purpose).random(2)) for seed in (0, 1, 2**60) for purpose in ("a", "b")}
    assert len(drawn) == 6


@pytest.mark.parametrize(
    ("seed", "expression", "age", "hair", "nose"),
    [
        (0, "happiness", 31.375, "blond", (0.53835, 0.55421)),
        (1, "fear", 65.947, "gray", (0.53054, 0.4745)),
        (2, "happiness", 46.722, "black", (0.55577, 0.57778)),
        (3, "fear", 36.835, "black", (0.51903, 0.69053)),
    ],
)
def test_known_numbers_are_known_faces_on_every_machine(seed, expression, age, hair, nose):
    face = sample_face(seed)
    assert (face.expression, face.hair_colour) == (expression, hair)
    assert face.age == pytest.approx(age, abs=1e-3)
    np.testing.assert_allclose(landmarks_of(face)[30], nose, atol=1e-5)
