"""The log of answers: one process writes it at a time, and what it cannot do is one sentence."""

import pytest

from facekit.data.identity import RunIdentity
from facekit.errors import ConfigurationError
from facekit.evaluation.models.answer_log import AnswerLog, LoggedAnswer

RUN = RunIdentity({"model": "m"})


def test_a_second_run_is_kept_out_and_takes_nothing_away(tmp_path):
    path = tmp_path / "answers.jsonl"
    with AnswerLog(path, RUN) as log:
        log.append("q1", LoggedAnswer("Yes."))
        for resume in (True, False):
            with pytest.raises(ConfigurationError, match=r"another process is writing .*answers\.jsonl; wait for it"):
                AnswerLog(path, RUN, resume=resume)
        log.append("q2", LoggedAnswer("No."))
    with AnswerLog(path, RUN) as log:
        assert {question: answer.text for question, answer in log.answers.items()} == {"q1": "Yes.", "q2": "No."}


def test_a_log_of_another_run_is_refused_and_stays_as_it_is(tmp_path):
    path = tmp_path / "answers.jsonl"
    with AnswerLog(path, RUN) as log:
        log.append("q1", LoggedAnswer("Yes."))
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="answers of another run"):
            AnswerLog(path, RunIdentity({"model": "n"}))
    assert path.read_bytes() == before


def test_a_run_that_begins_anew_keeps_the_answers_before_it_aside(tmp_path, caplog):
    path, aside = tmp_path / "answers.jsonl", tmp_path / "answers.before.jsonl"
    for answers in (3, 1, 0, 4, 1):  # a run that is stopped soon takes no more answers away than it gave
        with AnswerLog(path, RUN, resume=False) as log:
            assert not log.answers
            for number in range(answers):
                log.append(f"q{number}", LoggedAnswer("Yes."))
        if answers == 0:
            assert aside.read_text().count("Yes.") == 3
    assert aside.read_text().count("Yes.") == 4
    assert path.read_text().count("Yes.") == 1
    assert "the answers that it had are in answers.before.jsonl" in caplog.text


def test_a_first_run_has_nothing_to_keep_aside(tmp_path, caplog):
    with AnswerLog(tmp_path / "answers.jsonl", RUN, resume=False):
        pass
    with AnswerLog(tmp_path / "answers.jsonl", RUN, resume=False):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["answers.jsonl"]
    assert not caplog.text
