import json

import pytest

from benchmarks import rewards
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.training.rewards import score_answer


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return RecordSet.read(write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 4, seed=0, image_size=48))


def test_an_answer_is_the_label_alone_and_rewards_read_it(faces):
    for record in rewards.ask_alone(faces, rewards.TASKS).records:
        turns = record.conversations
        assert [turn.task for turn in turns[::2]] == list(rewards.TASKS)
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            score = score_answer(question.task, answer.content, record.labels, question.content)
            assert score.value >= 0.95, answer  # an age is rounded to years
        assert turns[1].content == record.labels.expression


def test_only_the_first_faces_are_asked_about_the_tasks_that_rewards_teach(faces):
    few = rewards.ask_alone(faces, rewards.TASKS, answered=1, few=("expression", "age"))
    asked = [{turn.task for turn in record.conversations} for record in few.records]
    assert asked == [set(rewards.TASKS)] + 3 * [set(rewards.TASKS) - {"expression", "age"}]


def test_faces_without_a_question_are_left_out(faces):
    assert len(rewards.ask_alone(faces, ("age",), answered=1, few=("age",))) == 1


@pytest.mark.parametrize(
    ("higher_is_better", "after", "expected"),
    [(True, 0.61, "rose"), (True, 0.6, "within"), (True, 0.39, "fell"), (False, 0.39, "rose"), (False, 0.61, "fell")],
)
def test_a_score_has_moved_where_it_is_outside_the_whole_interval(higher_is_better, after, expected):
    before = {"score": 0.5, "interval": [0.4, 0.6], "higher_is_better": higher_is_better}
    assert rewards.verdict(before, {"score": after}) == expected


def test_curves_are_those_of_the_steps_that_had_rewards(tmp_path):
    state = tmp_path / "trainer_state.json"
    log = [{"loss": 1.0}, {"reward": 0.25, "frac_reward_zero_std": 0.5}, {"reward": 0.5, "frac_reward_zero_std": 0.0}]
    state.write_text(json.dumps({"log_history": log}))
    assert rewards.read_curves(state) == {"reward": [0.25, 0.5], "groups_alike": [0.5, 0.0]}


def test_results_of_single_seeds_are_joined(tmp_path):
    paths = [tmp_path / f"{seed}.json" for seed in (4, 7)]
    for path, seed in zip(paths, (4, 7), strict=True):
        document = {"environment": {"threads": 1}, "settings": {"seeds": [seed], "steps": 3}, "seeds": [{"seed": seed}]}
        path.write_text(json.dumps(document))
    rewards.main(["--join", *map(str, paths), "--output", str(tmp_path / "all.json")])
    assert json.loads((tmp_path / "all.json").read_text()) == {
        "environment": {"threads": 1},
        "settings": {"seeds": [4, 7], "steps": 3},
        "seeds": [{"seed": 4}, {"seed": 7}],
    }


def test_results_of_other_settings_are_not_joined():
    documents = [{"environment": {}, "settings": {"seeds": [1], "steps": steps}, "seeds": []} for steps in (3, 4)]
    with pytest.raises(ValueError, match="different settings"):
        rewards.join(documents)
