"""What TRL's trainers are given, as far as it can be seen without TRL: reference models, and the way there."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from facekit.data.dataset import RecordSet
from facekit.errors import ConfigurationError, MissingExtraError, TrainingError
from facekit.training import LossValidation, TrainingSettings, train
from facekit.training.preferences.trainers import PreferenceRows, WithoutAdapters, finite_losses, reference_of
from facekit.training.trainable.adapters import adapters_in_place
from facekit.training.trainable.parts import trainable_parts

LORA = TrainingSettings(steps=1, parts=("language_model.lora",))


@pytest.fixture
def inputs(small, records):
    _, processor = small
    face = records.folder / records.records[0].image
    points = records.records[0].landmark_array(records.folder)
    return processor(images=face, text="<image> Which expression?", landmarks=[points])


def learn_something(model):
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)


def test_the_reference_of_new_adapters_is_the_model_without_them(small, inputs):
    model, _ = small
    with torch.no_grad():
        before = model(**inputs).logits
    with adapters_in_place(model, LORA), trainable_parts(model, LORA.parts):
        reference = reference_of(model)
        assert isinstance(reference, WithoutAdapters)
        assert list(reference.parameters()) == []
        learn_something(model)
        trained = model(**inputs).logits
        assert not torch.allclose(trained, before)
        torch.testing.assert_close(reference(**inputs).logits, before)
        hidden = reference.base_model(**inputs).last_hidden_state
        torch.testing.assert_close(reference.get_output_embeddings()(hidden), before)
        assert not hidden.requires_grad
        torch.testing.assert_close(model(**inputs).logits, trained)
        assert any(parameter.requires_grad for name, parameter in model.named_parameters() if "lora_" in name)


def test_otherwise_it_is_a_copy(small, inputs):
    model, _ = small
    settings = TrainingSettings(steps=1, parts=("connector", "language_model"))
    with trainable_parts(model, settings.parts):
        reference = reference_of(model)
        before = reference(**inputs).logits
        torch.nn.init.normal_(model.get_output_embeddings().weight)
        torch.testing.assert_close(reference(**inputs).logits, before)
        assert not any(parameter.requires_grad for parameter in reference.parameters())
        assert not reference.training


def test_adapters_that_have_learned_are_part_of_the_reference(small, inputs):
    model, _ = small
    with adapters_in_place(model, LORA), trainable_parts(model, LORA.parts):
        learn_something(model)
        reference = reference_of(model)
        assert not isinstance(reference, WithoutAdapters)
        torch.testing.assert_close(reference(**inputs).logits, model(**inputs).logits)


def test_a_loss_that_is_not_finite_ends_the_run():
    trainer = SimpleNamespace(compute_loss=lambda: torch.tensor(float("nan")), state=SimpleNamespace(global_step=4))
    with pytest.raises(TrainingError, match="the loss is nan in step 5; lower learning_rate"), finite_losses(trainer):
        trainer.compute_loss()


def rewarded(records, **values):
    """How many answers an epoch of two groups a step learns from."""
    chosen = TrainingSettings(epochs=1, batch_size=4, accumulation=2, grpo={"generations": 4, **values})
    return PreferenceRows.of(records, chosen, None, None).examples


def test_an_epoch_learns_from_whole_steps_each_as_often_as_asked(records):
    odd = records.select([0])
    questions = rewarded(odd, rewards={"format": 1.0}) // 4
    assert questions >= 2
    assert questions % 2 == 0
    assert rewarded(odd, rewards={"format": 1.0}, iterations=3) == 3 * 4 * questions


def test_a_step_that_asks_more_than_there_is_would_learn_nothing(records):
    asked = records.records[0].model_copy(update={"conversations": records.records[0].conversations[:2]})
    one = RecordSet([asked], records.folder)
    with pytest.raises(ConfigurationError, match=r"a step has 8 answers .* to 2 questions, but there are 1 that"):
        rewarded(one, rewards={"format": 1.0})
    assert rewarded(one, rewards={"format": 1.0}, generations=8) == 8


def test_a_validation_loss_is_refused_where_there_is_none(small, records, tmp_path):
    watched = LossValidation(records, tmp_path / "losses.json")
    with pytest.raises(ConfigurationError, match="which grpo and dpo do not learn; leave it out"):
        train(*small, records, tmp_path / "run", TrainingSettings(steps=1, grpo={}), callbacks=[watched])


@pytest.mark.skipif(importlib.util.find_spec("trl") is not None, reason="TRL is installed")
@pytest.mark.parametrize("kind", ["grpo", "dpo"])
def test_without_trl_one_sentence_says_what_to_install(small, records, tmp_path, kind):
    settings = TrainingSettings(steps=1, batch_size=8, **{kind: {}})
    with pytest.raises(MissingExtraError, match=r"needs TRL; pip install 'facekit-mllm\[rl\]'"):
        train(*small, records, tmp_path, settings)
    assert not list(tmp_path.glob("**/checkpoint-*"))
