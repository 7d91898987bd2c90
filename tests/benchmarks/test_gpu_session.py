"""The session on a GPU machine: what fails or hangs costs itself only, and the time is kept."""

from __future__ import annotations

import importlib.util
import json
import os
import time

import pytest

from benchmarks.gpu_session import LOG_NAME, SESSION_SECONDS, Step, dry_steps, main, run_session, session_steps

WRITE = "import sys, json; json.dump([1], open(sys.argv[1], 'w')); print('written')"
HANG = (
    "import subprocess, sys, time; open(sys.argv[1], 'w').write('[2]'); print('begun', flush=True); "
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    "open(sys.argv[1] + '.pid', 'w').write(str(child.pid)); time.sleep(60)"
)


def test_steps_that_fail_or_hang_lose_nothing_of_the_others(tmp_path, capsys):
    steps = (
        Step("first", ("-c", WRITE), 30),
        Step("broken", ("-c", "raise SystemExit('no such kernel')"), 30),
        Step("hanging", ("-c", HANG), 3),
        Step("last", ("-c", WRITE + "; import os; print(os.environ['SAID'])"), 30, {"SAID": "interpreted"}),
    )
    outcomes = run_session(steps, tmp_path, 100)
    assert [each.outcome for each in outcomes] == ["passed", "failed", "ended", "passed"]
    assert [each.status for each in outcomes] == [0, 1, None, 0]
    assert [each.files for each in outcomes] == [("first.json",), (), ("hanging.json",), ("last.json",)]
    assert outcomes[1].last_lines[-1] == "no such kernel"
    written = json.loads((tmp_path / "gpu_session.json").read_text())
    assert [each["outcome"] for each in written["steps"]] == ["passed", "failed", "ended", "passed"]
    log = (tmp_path / LOG_NAME).read_text()
    assert log.index("== first") < log.index("no such kernel") < log.index("begun") < log.index("interpreted")
    assert "no such kernel" in capsys.readouterr().out


def test_what_a_step_started_ends_with_it(tmp_path):
    run_session((Step("hanging", ("-c", HANG), 3),), tmp_path, 100)
    child = int((tmp_path / "hanging.json.pid").read_text())
    for _ in range(500):  # an orphan is collected by whoever adopts it
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if open(f"/proc/{child}/stat").read().rpartition(")")[2].split()[0] == "Z":  # noqa: SIM115, PTH123
            return
        time.sleep(0.01)
    pytest.fail(f"process {child} goes on")


def test_steps_get_no_more_than_what_is_left_of_the_session(tmp_path):
    steps = (Step("slow", ("-c", "import time; time.sleep(60)"), 50), Step("late", ("-c", WRITE), 30))
    slow, late = run_session(steps, tmp_path, 8)
    assert (slow.outcome, late.outcome) == ("ended", "left out")
    assert slow.limit <= 3
    assert late.last_lines == ("the session's time is over",)


def test_earlier_results_are_not_taken_for_those_of_a_step_that_fails(tmp_path):
    (tmp_path / "broken.json").write_text("[0]")
    (outcome,) = run_session((Step("broken", ("-c", "raise SystemExit(3)"), 30),), tmp_path, 60)
    assert (outcome.status, outcome.files) == (3, ())


def test_the_limits_of_all_steps_fit_the_session_of_twelve_minutes():
    assert SESSION_SECONDS == 720
    assert sum(step.limit for step in session_steps()) <= SESSION_SECONDS - 5
    assert [step.name for step in dry_steps()] == [step.name for step in session_steps()]
    for step in (*session_steps(), *dry_steps()):
        if step.command[0] == "-m":
            assert importlib.util.find_spec(step.command[1]) is not None
            assert step.command[-1] == "--output"


def test_a_step_that_did_not_pass_is_told_by_the_exit_status(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.gpu_session.dry_steps", lambda: (Step("broken", ("-c", "raise SystemExit(1)"), 9),))
    with pytest.raises(SystemExit) as ended:
        main(["--dry", "--output", str(tmp_path)])
    assert ended.value.code == 1
