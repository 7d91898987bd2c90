"""Settings of a run held against the model that they are for."""

from __future__ import annotations

import pytest
from small_runs import small_model
from small_vlms import save_small_vlm

import facekit
from facekit.errors import ConfigurationError
from facekit.training import TrainingSettings
from facekit.training.loop.arguments import check_landmarks

UNUSED = "changes landmarks, of which the model uses none; leave it out, or choose a connector that does"


@pytest.mark.parametrize("values", [{"landmark_noise": 0.01}, {"landmark_dropout": 0.5}])
def test_settings_of_landmarks_are_refused_where_the_connector_uses_none(values):
    settings = TrainingSettings(steps=1, **values)
    check_landmarks(small_model("region")[0], settings)
    check_landmarks(small_model("mlp")[0], TrainingSettings(steps=1))
    with pytest.raises(ConfigurationError, match=f"{next(iter(values))} {UNUSED}"):
        check_landmarks(small_model("mlp")[0], settings)


def test_a_base_in_its_own_class_uses_landmarks_with_region_attention_alone(tmp_path):
    save_small_vlm("qwen2-vl", tmp_path)
    model, _ = facekit.load(tmp_path)
    with pytest.raises(ConfigurationError, match=UNUSED):
        check_landmarks(model, TrainingSettings(steps=1, landmark_noise=0.01))
