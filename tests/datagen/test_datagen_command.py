import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest


@pytest.fixture
def run(run_facekit):
    return partial(run_facekit, "datagen")


def test_the_command_ends_by_saying_where_the_results_are(run, faces, recipe_path, tmp_path, serve):
    server = serve()
    status, out, _ = run(faces, "--output", tmp_path / "out", "--recipe", recipe_path,
                         "--annotator", f"openai:m?base_url={server.base_url}", "--format", "llava",
                         "--format", "sharegpt")  # fmt: skip
    assert status == 0
    assert "20 answers kept, 0 dropped, 0 failed, 0 still open" in out
    for name in ("records.jsonl", "failures.jsonl", "report.html", "README.md", "llava.json", "sharegpt.json"):
        assert str(tmp_path / "out" / name) in out
        assert (tmp_path / "out" / name).is_file()


def test_a_dry_run_prints_prompts_calls_and_cost(run, faces, recipe_path, tmp_path):
    status, out, _ = run(faces, "--output", tmp_path / "out", "--recipe", recipe_path, "--annotator", "openai:gpt-4o",
                         "--dry-run")  # fmt: skip
    assert status == 0
    assert "prompt: This is a girl, 3-9 years old. Describe the face." in out
    assert "10 records, 20 calls" in out
    assert "estimated cost: $0.0" in out


def test_a_dry_run_needs_no_key_and_refuses_a_limit_that_no_call_fits_into(run, faces, recipe_path, tmp_path):
    told = (faces, "--output", tmp_path / "out", "--recipe", recipe_path, "--annotator", "openai:gpt-4o", "--dry-run")
    assert run(*told, "--judge", "openai:gpt-4o", "--max-cost", "1")[0] == 0
    status, _, error = run(*told, "--tokens-per-minute", "5")
    assert status == 2
    assert "a limit of 5 per minute is too low for calls that need up to" in error
    assert not (tmp_path / "out").exists()


def test_a_used_up_budget_has_a_status_of_its_own(run, faces, recipe_path, tmp_path, serve):
    server = serve()
    status, _, error = run(faces, "--output", tmp_path / "out", "--recipe", recipe_path, "--max-cost", "0.01",
                         "--annotator", f"openai:gpt-4o?base_url={server.base_url}")  # fmt: skip
    assert status == 3
    assert "the budget is used up; run the same command again to go on" in error
    assert 0 < len(server.calls) < 20


@pytest.mark.parametrize(("arguments", "words"), [
    (("--recipe", "fairfacegtp"), "did you mean 'fairfacegpt'"),
    (("--aspects", "poes"), "did you mean 'pose'"),
    (("--annotator", "opnai:m"), "did you mean 'openai'"),
    (("--annotator", "openai:m?api_key=sk-abcdefgh"), "key_env=NAME"),
    (("--annotator", "openai:gpt-4o"), "OPENAI_API_KEY has no API key"),
    (("--concurrency", "0"), "generation setting 'concurrency'"),
    (("--format", "lava"), "did you mean 'llava'"),
])  # fmt: skip
def test_mistakes_are_one_line(run, faces, tmp_path, arguments, words):
    status, _, error = run(faces, "--output", tmp_path / "out", *arguments)
    assert status == 2
    assert words in error
    assert error.strip().count("\n") == 0
    assert "abcdefgh" not in error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_calls_in_flight(faces, recipe_path, tmp_path, serve, number):
    server = serve(latency=(0.3, 0.3))
    command = [sys.executable, "-m", "facekit.cli.main", "datagen", str(faces), "--output", str(tmp_path / "out"),
               "--recipe", str(recipe_path), "--concurrency", "2",
               "--annotator", f"openai:m?base_url={server.base_url}"]  # fmt: skip
    client = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    deadline = time.monotonic() + 60
    while len(server.calls) < 2 and time.monotonic() < deadline and client.poll() is None:
        time.sleep(0.01)
    client.send_signal(number)
    out, error = client.communicate(timeout=60)
    assert client.returncode == 130, error
    answered = len(server.calls)
    assert 2 <= answered < 20
    assert f"{answered} answers kept" in out
    assert f"{20 - answered} still open" in out
    assert "Traceback" not in error
