"""Two hundred answers made to be paid without a look at the face, written without a look at the reward functions."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from facekit.data.labels import ACTION_UNIT_NAMES, ALL_EXPRESSIONS
from facekit.training.rewards import face_reward, verification_reward

ANSWERS = [
    json.loads(line)
    for line in Path(__file__).with_name("cheating_answers.jsonl").read_text(encoding="utf-8").split("\n")
    if line
]
ATTRIBUTES = ("Eyeglasses", "Wearing_Hat", "Smiling")
UNITS = tuple(ACTION_UNIT_NAMES)

TRUTHS = {
    "expression": [{"expression": name} for name in ALL_EXPRESSIONS[:8]],
    "age": [{"age": float(years)} for years in range(1, 100)],
    "action_units": [
        {"action_units": {unit: 3.0 if unit in (first, second) else 0.0 for unit in UNITS}}
        for first, second in itertools.combinations_with_replacement(UNITS, 2)
    ],
    "manipulation": [{"manipulated": True}, {"manipulated": False}],
    "attributes": [
        {"attributes": dict(zip(ATTRIBUTES, present, strict=True))}
        for present in itertools.product((True, False), repeat=len(ATTRIBUTES))
    ],
    "verification": [True, False],
}
HONEST_GUESSES = {
    "expression": ["happiness", "neutral", "fear"],
    "age": ["30 years", "50 years", "about 45 years old"],
    "action_units": ["AU12", "AU6, AU12", "AU1, AU2, AU25", ", ".join(UNITS[:8])],
    "manipulation": ["The picture is real.", "The picture is fake.", "Fake, with 50% confidence."],
    "attributes": ["The person wears eyeglasses.", "The person smiles and wears a hat.", "A hat."],
    "verification": ["The same person.", "Different people."],
}
QUESTIONS = {
    "manipulation": "Is this picture real or fake?",
    "attributes": "Which of these are present: eyeglasses, a hat, smiling?",
    "verification": "Do the two pictures show the same person?",
}


def pay(task, answer):
    """What an answer is paid at each of the task's truths; what is not scored is not paid."""
    truths = TRUTHS[task]
    prompts = [[{"role": "user", "content": QUESTIONS.get(task, "What does the face show?")}]] * len(truths)
    if task == "verification":
        rewards = verification_reward([answer] * len(truths), same=truths, prompts=prompts)
    else:
        rewards = face_reward([answer] * len(truths), [task] * len(truths), truths, prompts=prompts)
    return [reward or 0.0 for reward in rewards]


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("task", TRUTHS)
def test_no_cheating_answer_is_paid_more_than_the_best_honest_guess(task):
    guess = max(mean(pay(task, answer)) for answer in HONEST_GUESSES[task])
    assert 0 < guess < 0.9
    cheats = {row["id"]: mean(pay(task, row["answer"])) for row in ANSWERS if row["task"] == task}
    assert len(cheats) >= 14
    assert {name: value for name, value in cheats.items() if value > guess + 1e-9} == {}


def test_there_are_two_hundred_and_each_is_its_own():
    assert len({row["answer"] for row in ANSWERS}) == len({row["id"] for row in ANSWERS}) == 200
