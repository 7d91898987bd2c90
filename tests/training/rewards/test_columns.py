"""Reward functions with the columns that TRL passes."""

from __future__ import annotations

import pytest

from facekit.data.labels import FaceLabels
from facekit.errors import ConfigurationError
from facekit.training.rewards import REWARDS, face_reward, format_reward, verification_reward


def said(words):
    return [{"role": "assistant", "content": words}]


def test_each_completion_is_scored_by_its_own_task_and_labels():
    in_parts = [{"type": "text", "text": "Yes."}]
    asked = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it fake?"}]}]
    rewards = face_reward(
        completions=[said("fear"), said("about 40 years"), "AU6, AU12", said(in_parts), "red"],
        task=["expression", "age", "action_units", "manipulation", "hair"],
        labels=[
            {"expression": "fear"}, {"age": 35.0}, '{"action_units": {"AU6": 2, "AU12": 3, "AU1": 0}}',
            FaceLabels(manipulated=True), {},
        ],
        prompts=["", "", "", asked, ""],
        trainer_state=object(), completion_ids=[[1]] * 5,
    )  # fmt: skip
    assert rewards == [1.0, 0.5, 1.0, 1.0, None]


def test_keys_that_a_table_added_to_every_row_are_not_annotated():
    labels = {"expression": None, "age": None, "action_units": {"AU1": None, "AU12": 3.0}, "attributes": {"Male": None}}
    rows = {"completions": ["AU12", "male", "fear"], "labels": [labels] * 3}
    assert face_reward(task=["action_units", "attributes", "expression"], **rows) == [1.0, None, None]


def test_the_share_of_refused_answers_is_logged():
    logged = {}
    face_reward(["fear", "<think>fear"], ["expression"] * 2, [{"expression": "fear"}] * 2,
                log_metric=lambda name, value: logged.update({name: value}))  # fmt: skip
    assert logged == {"refused": 0.5}


def test_verification_reads_its_own_column():
    assert verification_reward(["Yes.", "No.", "Yes."], same=[True, True, None]) == [1.0, 0.0, None]
    asked = [[{"role": "user", "content": "Is it the same person?"}]]
    assert verification_reward([said("Different people.")], same=[False], prompts=asked) == [1.0]


def test_answers_that_were_cut_off_are_paid_nothing():
    form = "<think>the corners of the mouth are up and the cheeks are raised</think><answer>happiness</answer>"
    said, truth = ["happiness", "happiness", "It is fine."], {"expression": "happiness"}
    columns = {"task": ["expression", "expression", "captions"], "labels": [truth] * 3}
    assert face_reward(said, **columns) == [1.0, 1.0, None]
    assert face_reward(said, **columns, cut=[False, True, True]) == [1.0, 0.0, None]
    assert verification_reward(["Yes.", "Yes."], same=[True, True], cut=[True, False]) == [0.0, 1.0]
    assert format_reward([form, form], cut=[True, False]) == [0.0, 1.0]
    with pytest.raises(ConfigurationError, match="1 values of 'cut'"):
        format_reward([form, form], cut=[True])


def test_format_needs_no_columns():
    good = "<think>The raised brows and the wide open lids speak of alarm</think><answer>fear</answer>"
    assert format_reward([said(good), said("fear")], task=["expression"] * 2) == [1.0, 0.0]


def test_columns_of_another_length_or_kind_are_refused():
    with pytest.raises(ConfigurationError, match="there are 2 completions, but 1 values of 'task'"):
        face_reward(["a", "b"], ["expression"], [{}, {}])
    with pytest.raises(ConfigurationError, match="'labels' holds no labels of a record"):
        face_reward(["a"], ["expression"], [{"mood": "fear"}])


def test_names_in_recipes():
    assert set(REWARDS) == {"face", "verification", "format"}
