"""Settings are checked when they are made, with the name and the value at fault."""

from __future__ import annotations

import pytest

from facekit.errors import ConfigurationError
from facekit.training.recipes.settings import TRAINABLE, TrainingSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "either steps or epochs"),
        ({"steps": 1, "epochs": 1}, "either steps or epochs"),
        ({"steps": 0}, "'steps'.*got 0"),
        ({"steps": 1, "learning_rate": -1}, "'learning_rate'.*got -1"),
        ({"steps": 1, "parts": ()}, "at least one of encoder, connector, language_model"),
        ({"steps": 1, "parts": ("head",)}, "'parts.0'.*got 'head'"),
        ({"steps": 1, "parts": ("encoder", "encoder")}, "each once"),
        ({"steps": 1, "encoder_learning_rate": 1e-4}, "'encoder' is not among the trained parts"),
        ({"steps": 1, "parts": ("encoder",), "cache_features": True}, "needs a frozen encoder"),
        ({"steps": 1, "precision": "float8"}, "'precision'.*got 'float8'"),
        ({"steps": 1, "batchsize": 3}, "'batchsize'"),
        ({"steps": 1, "learning_rates": {"encoder": 1e-4}}, "'encoder', which is not among the trained parts"),
        ({"steps": 1, "learning_rates": {"conector": 1e-4}}, r"'learning_rates\.conector"),
        ({"steps": 1, "learning_rates": {"llm": 2.0}}, r"'learning_rates\.language_model'.*got 2\.0"),
        ({"steps": 1, "parts": ("llm", "llm.lora")}, "language model and its adapters"),
        ({"steps": 1, "loss_average": "sample", "logits": "all"}, "need logits='labelled'"),
        ({"steps": 1, "loss_average": "sample", "fused_loss": True}, "needs loss_average='token'"),
        ({"steps": 1, "row_tokens": 10, "max_tokens": 20}, "at least max_tokens"),
        ({"steps": 1, "skip_limit": 1.5}, "'skip_limit'.*got 1.5"),
        ({"steps": 1, "grpo": {}, "dpo": {}}, "choose one for a stage"),
        ({"steps": 1, "grpo": {}, "row_tokens": 64}, "row_tokens goes with training on the records' own answers"),
        ({"steps": 1, "grpo": {"rewards": {"face": 1.0, "fame": 1.0}}}, "fame"),
        ({"steps": 1, "grpo": {"rewards": {}}}, "'grpo.rewards'"),
        ({"steps": 1, "grpo": {"rewards": {"face": float("nan")}}}, r"'grpo\.rewards\.face'.*got nan"),
        ({"steps": 1, "grpo": {"rewards": {"face": -1.0}}}, r"'grpo\.rewards\.face'.*got -1\.0"),
        ({"steps": 1, "grpo": {"rewards": {"face": 0.0, "format": 0}}}, "one reward has a weight above 0"),
        ({"steps": 1, "grpo": {"temperature": float("inf")}}, r"'grpo\.temperature'.*got inf"),
        ({"steps": 1, "grpo": {"beta": float("inf")}}, r"'grpo\.beta'.*got inf"),
        ({"steps": 1, "dpo": {"beta": float("inf")}}, r"'dpo\.beta'.*got inf"),
        ({"steps": 1, "dpo": {"margin": float("inf")}}, r"'dpo\.margin'.*got inf"),
        (
            {"steps": 1, "dpo": {}, "parts": ["llm.lora"], "lora": {"dropout": 0.1}},
            r"without dropout; set lora\.dropout",
        ),
        ({"steps": 1, "threads": 10**6}, "'threads'.*got 1000000"),
        ({"epochs": float("inf")}, "'epochs'.*got inf"),
        ({"steps": 1, "betas": (1.0, 0.9)}, r"'betas\.0'.*got 1\.0"),
        ({"steps": 1, "betas": (0.9, -0.1)}, r"'betas\.1'.*got -0\.1"),
        ({"steps": 1, "dpo": {"pairs": "a", "generated": ["b"]}}, "not both"),
    ],
)
def test_bad_settings_are_named(values, message):
    with pytest.raises(ConfigurationError, match=message):
        TrainingSettings(**values)


@pytest.mark.parametrize(
    "ignored",
    [{"torch_compile": True}, {"landmark_noise": 0.01}, {"landmark_dropout": 0.5}, {"turns_per_example": 2},
     {"loss_average": "sample"}, {"logits": "all"}, {"check_media": False}],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["grpo", "dpo"])
def test_what_rewards_and_pairs_would_pass_over_is_refused(kind, ignored):
    (name,) = ignored
    TrainingSettings(steps=1, **ignored)
    with pytest.raises(ConfigurationError, match=f"{name}(=false)? goes with training on the records' own answers"):
        TrainingSettings(steps=1, **ignored, **{kind: {}})


def test_a_weight_of_nothing_leaves_a_reward_out():
    chosen = TrainingSettings(steps=1, grpo={"rewards": {"face": 0.0, "format": 0.5}})
    assert chosen.grpo.rewards == {"format": 0.5}


def test_differences_are_only_of_what_changes_the_learning():
    settings = TrainingSettings(steps=5)
    assert settings.differences(settings.model_dump(mode="json")) == []
    other = TrainingSettings(steps=6, log_every=9, threads=1, keep_checkpoints=7)
    assert other.differences(settings.model_dump(mode="json")) == ["steps was 5 and is 6"]


START = {
    "steps": 5, "parts": ("encoder", "connector", "language_model.lora"), "learning_rates": {"connector": 2e-3},
    "row_tokens": 600, "max_tokens": 500,
}  # fmt: skip
DECIDE_WHAT_IS_LEARNED = {
    "steps": 6, "epochs": 2.0, "batch_size": 8, "accumulation": 2, "learning_rate": 2e-3, "encoder_learning_rate": 1e-5,
    "learning_rates": {"connector": 3e-3}, "weight_decay": 0.1, "betas": (0.9, 0.95), "warmup": 0.1,
    "gradient_clipping": 0.0, "optimizer": "muon", "schedule": "linear",
    "schedule_options": {"power": 2}, "parts": ("connector",), "lora": {"rank": 8}, "precision": "bfloat16",
    "loss_average": "sample", "shuffle_turns": False, "independent_turns": True, "row_tokens": 700,
    "group_batches": True, "turns_per_example": 1, "landmark_noise": 0.01, "landmark_dropout": 0.1, "max_tokens": 400,
    "check_media": False,
    "cache_features": True, "feature_cache_dtype": "float16", "seed": 1,
    "grpo": {"generations": 4}, "dpo": {"beta": 0.2},
}  # fmt: skip
DECIDE_COST_ONLY = {
    "save_every": 3, "keep_checkpoints": 5, "log_every": 2, "threads": 1, "workers": 2, "report_to": ("wandb",),
    "cache_pictures": False,
    "skip_limit": 0.5,
    "gradient_checkpointing": True, "torch_compile": True, "device": "cpu", "logits": "all", "fused_loss": True,
    "feature_cache": "tokens",
    "feature_cache_bytes": 1000,
}  # fmt: skip
NEED_ALSO = {
    "epochs": {"steps": None}, "cache_features": {"parts": ("connector",)}, "feature_cache": {"parts": ("connector",)},
    "feature_cache_dtype": {"parts": ("connector",), "feature_cache": "tokens"},
    "grpo": {"row_tokens": None}, "dpo": {"row_tokens": None},
}  # fmt: skip


def test_every_setting_is_known_to_decide_what_is_learned_or_not():
    assert {*DECIDE_WHAT_IS_LEARNED, *DECIDE_COST_ONLY} == set(TrainingSettings.model_fields)
    assert not {*DECIDE_WHAT_IS_LEARNED} & {*DECIDE_COST_ONLY}


@pytest.mark.parametrize("name", [*DECIDE_WHAT_IS_LEARNED, *DECIDE_COST_ONLY])
def test_a_run_is_another_with_another_value_of_what_decides_what_is_learned(name):
    also = {**START, **NEED_ALSO.get(name, {})}
    changed = {**also, name: {**DECIDE_WHAT_IS_LEARNED, **DECIDE_COST_ONLY}[name]}
    base = {**also, "steps": 5} if name == "epochs" else also
    before, after = TrainingSettings(**base), TrainingSettings(**changed)
    told = after.differences(before.model_dump(mode="json"))
    named = [each.partition(" was ")[0] for each in told]
    expected = {"epochs": ["steps", "epochs"]}.get(name, [name]) if name in DECIDE_WHAT_IS_LEARNED else []
    assert named == expected


def test_settings_cannot_change_under_a_run():
    settings = TrainingSettings(steps=5)
    with pytest.raises(ValueError, match="frozen"):
        settings.steps = 6


def test_the_finest_name_decides_a_rate():
    settings = TrainingSettings(
        steps=1, parts=("encoder", "connector", "llm.lora"), learning_rate=1e-3, encoder_learning_rate=1e-6,
        learning_rates={"connector.region": 1e-4, "llm": 1e-5},
    )  # fmt: skip
    rates = {part: settings.rate_of(part) for part in TRAINABLE}
    assert rates == {
        "encoder": 1e-6, "connector": 1e-3, "connector.projector": 1e-3, "connector.region": 1e-4,
        "language_model": 1e-5, "language_model.lora": 1e-5,
    }  # fmt: skip
