"""``facekit judge`` from the command line, against judges over real HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import chat_server
import numpy as np
import pytest
from typer.testing import CliRunner

from facekit.answers.ratings import CRITERIA
from facekit.cli.main import app
from facekit.data.records import read_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.errors import ConfigurationError

KEY = "sk-judge-0123456789abcdef"


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_synthetic_dataset(tmp_path_factory.mktemp("faces"), 40, seed=11, image_size=64)


@pytest.fixture(scope="module")
def predictions(records, tmp_path_factory):
    """Explanations of which every second names the true expression."""
    path = tmp_path_factory.mktemp("answers") / "predictions.jsonl"
    lines = [
        {"id": record.id, "task": "expression",
         "answer": f"The mouth says so: {record.labels.expression if place % 2 else 'who knows'}."}
        for place, record in enumerate(read_records(records))
    ]  # fmt: skip
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def rate(body):
    """Nine for an explanation that names an expression, else three; the strict judge gives one less."""
    value = (3 if "who knows" in body["messages"][1]["content"][0]["text"] else 9) - (body["model"] == "strict")
    return json.dumps({**dict.fromkeys(CRITERIA, value), "reason": "so"})


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "220"}).invoke(app, [str(argument) for argument in arguments])


def test_two_judges_give_means_by_task_and_group_and_their_agreement(records, predictions, tmp_path):
    with chat_server.ChatServer(chat_server.Faults(too_many=0.2, server_error=0.2), rate) as server:
        arguments = ["judge", records, "--predictions", predictions, "--output", tmp_path, "--attempts", 20,
                     "--backoff", 0.01]  # fmt: skip
        for model in ("mild", "strict"):
            arguments += ["--judge", f"openai:{model}?base_url={server.base_url}"]
        outcome = invoke(*arguments)
    assert outcome.exit_code == 0, outcome.output
    for words in ("mild", "strict", "all judges", "6.00 (", "5.00 (", "5.50 (", "by group", "agreement", "+1.00"):
        assert words in outcome.output
    result = json.loads((tmp_path / "judging.json").read_text())
    assert (result["answers"], result["empty"]) == (40, 0)
    lines = [json.loads(line) for line in (tmp_path / "ratings.jsonl").read_text().splitlines()]
    assert np.mean([line["ratings"]["mild"]["image"] for line in lines]) == 6.0
    ratings = np.array([[line["ratings"][name]["image"] for line in lines] for name in ("mild", "strict")])
    within, pooled = (ratings[0] - ratings[1]) ** 2, ratings.ravel()
    expected = ((pooled[:, None] - pooled[None]) ** 2).sum() / (len(pooled) * (len(pooled) - 1))
    assert result["agreement"][0]["alpha"] == pytest.approx(1 - within.mean() / expected)


def test_a_killed_run_goes_on_and_repeats_nothing(records, predictions, tmp_path):
    with chat_server.ChatServer(chat_server.Faults(latency=(0.02, 0.04)), rate) as server:
        command = [sys.executable, "-m", "facekit.cli.main", "judge", str(records), "--predictions", str(predictions),
                   "--output", str(tmp_path), "--concurrency", "2",
                   "--judge", f"openai:mild?base_url={server.base_url}"]  # fmt: skip
        environment = {**os.environ, "OPENAI_API_KEY": KEY}
        client = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 120
        while len(server.calls) < 12 and client.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        assert client.poll() is None, client.stdout.read()
        client.send_signal(signal.SIGKILL)
        client.wait()
        client.stdout.close()
        assert 12 <= len(server.calls) < 40
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    calls = Counter(call.key for call in server.calls)
    assert len(calls) == 40
    assert sum(count - 1 for count in calls.values()) <= 2  # those in flight when it was killed
    assert len((tmp_path / "ratings.jsonl").read_text().splitlines()) == 40
    assert all(call.authorization == f"Bearer {KEY}" for call in server.calls)
    assert KEY not in done.stdout + done.stderr
    for path in filter(Path.is_file, tmp_path.rglob("*")):
        assert KEY.encode() not in path.read_bytes()


def test_the_budget_ends_a_run_with_a_status_of_its_own(records, predictions, tmp_path):
    prices = tmp_path / "prices.yaml"
    prices.write_text("mild: {input: 1.0, output: 10.0}\n")
    with chat_server.ChatServer(answer=rate) as server:
        outcome = invoke("judge", records, "--predictions", predictions, "--output", tmp_path / "out", "--judge",
                         f"openai:mild?base_url={server.base_url}", "--max-cost", 0.03, "--prices", prices,
                         "--concurrency", 1)  # fmt: skip
    assert outcome.exit_code == 3, outcome.output
    assert "the budget is used up" in outcome.output
    assert "not asked yet" in outcome.output
    assert 1 <= len(server.calls) <= 15


def test_offline_checks_labels_and_says_what_it_cannot_judge(records, predictions, tmp_path):
    outcome = invoke("judge", records, "--predictions", predictions, "--output", tmp_path, "--offline")
    assert outcome.exit_code == 0, outcome.output
    for words in ("no ratings were given", "consistency with the image: needs a judge", "0.500"):
        assert words in outcome.output
    values = json.loads((tmp_path / "label_checks.json").read_text())
    assert values["ratings"] is None
    assert values["tasks"][0]["outcomes"] == {"names no label": 20, "agrees": 20}
    assert not (tmp_path / "judging.json").exists()


def test_a_model_is_asked_for_explanations_and_conversations_are_taken_from_the_records(records, predictions, tmp_path):
    outcome = invoke("judge", records, "--model", f"predictions:{predictions}", "--tasks", "expression",
                     "--output", tmp_path, "--sample", 10, "--offline")  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    asked = [json.loads(line) for line in (tmp_path / "explanations" / "predictions.jsonl").read_text().splitlines()]
    assert len(asked) == 40
    assert all("Explain what you see" in line["asked"] for line in asked)
    assert json.loads((tmp_path / "label_checks.json").read_text())["tasks"][0]["count"] == 10
    outcome = invoke("judge", records, "--output", tmp_path / "data", "--tasks", "age", "--offline")
    assert outcome.exit_code == 0, outcome.output
    (task,) = json.loads((tmp_path / "data" / "label_checks.json").read_text())["tasks"]
    turns = [turn for record in read_records(records) for turn in record.conversations]
    said = sum(turn.role == "assistant" and turn.task == "age" for turn in turns)
    assert task["outcomes"] == {"agrees": said}
    assert said > 0


def test_arguments_that_do_not_fit_are_refused(records, predictions, tmp_path):
    judge = ["--judge", "openai:mild?base_url=http://127.0.0.1:9/v1"]
    for arguments, words in (
        ([], "--offline"),
        ([*judge, "--offline"], "--offline"),
        ([*judge, "--predictions", predictions, "--model", "x"], "not both"),
        (["--judge", "template"], "does not see"),
    ):
        outcome = invoke("judge", records, "--output", tmp_path, *arguments)
        assert isinstance(outcome.exception, ConfigurationError), outcome.output
        assert words in str(outcome.exception)


def test_a_dry_run_shows_what_each_judge_would_be_asked_and_touches_nothing(records, predictions, tmp_path):
    output = tmp_path / "out"
    judges = (
        "--judge",
        "openai:a?base_url=http://127.0.0.1:9/v1",
        "--judge",
        "openai:b?base_url=http://127.0.0.1:9/v1",
    )
    told = ("judge", records, "--output", output, "--dry-run", *judges)
    outcome = invoke(*told, "--predictions", predictions, "--sample", 7)
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.count(": 7 questions") == 2
    assert "The mouth says so" in outcome.stdout
    first = invoke(*told, "--model", "openai:c?base_url=http://127.0.0.1:9/v1", "--tasks", "expression,age")
    assert first.exit_code == 0, first.output
    assert "Explain what you see" in first.stdout
    assert first.stdout.count("\t40\t") == 2
    assert "rated by openai:a" in first.stderr
    assert not output.exists()


def test_a_judge_who_rates_nothing_is_status_2_with_the_reason_counted(records, predictions, tmp_path):
    def chat(body):
        return "no numbers from me"

    with chat_server.ChatServer(chat_server.Faults(), chat) as server:
        outcome = invoke("judge", records, "--predictions", predictions, "--output", tmp_path, "--sample", 2, "--judge",
                         f"openai:a?base_url={server.base_url}", "--attempts", 1, "--json")  # fmt: skip
    assert outcome.exit_code == 2
    told = json.loads(outcome.stdout)
    assert told["ending"] == "finished"
    assert sum(told["result"]["judges"][0]["unrated"].values()) == 2
