"""Several judges over real HTTP: one ledger, one budget, nothing asked twice, no key kept."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from facekit.answers.ratings import CRITERIA
from facekit.endpoints.outcomes import Ending
from facekit.endpoints.requests import EndpointError
from facekit.endpoints.settings import CallSettings
from facekit.errors import ConfigurationError, InvalidSpecError
from facekit.evaluation.judging.panel import JudgePanel

QUICK = {"concurrency": 4, "attempts": 8, "backoff": 0.01}
KEY = "sk-judge-0123456789abcdef"


@dataclass(frozen=True)
class Asked:
    id: str
    media: tuple[str, ...]
    version: str = "v1"
    system: str = "You judge."
    prompt: str = "Rate this: image, label, completeness, overall."
    problem: str | None = None


@pytest.fixture
def requests(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(10):
        Image.new("RGB", (24, 24), (20 * number, 0, 0)).save(folder / f"{number}.png")
    return [Asked(f"face-{n}/age#{n}", (str(folder / f"{n}.png"),), prompt=f"Rate {n}.") for n in range(10)]


def rate(body):
    """The number in the prompt decides the rating; strict models give two less."""
    number = int(body["messages"][1]["content"][0]["text"].split()[1].strip("."))
    value = 3 + number % 8 - 2 * body["model"].startswith("strict")
    return json.dumps({**dict.fromkeys(CRITERIA, value), "reason": "so"})


def spec(server, model="mild"):
    return f"openai:{model}?base_url={server.base_url}"


def test_two_judges_that_fail_half_the_time_rate_every_answer_and_a_second_run_asks_nothing(
    serve, requests, tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = serve(answer=rate, too_many=0.2, server_error=0.15, dropped=0.1, malformed=0.05, seed=3)
    reports = []
    judges = [spec(server), spec(server, "strict")]
    settings = CallSettings(**{**QUICK, "attempts": 20})
    panel = JudgePanel(tmp_path, judges, settings=settings, on_progress=reports.append)
    verdicts = panel.rate(requests)
    assert panel.ending is Ending.FINISHED
    assert list(verdicts) == ["mild", "strict"]
    for name, less in (("mild", 0), ("strict", 2)):
        assert [verdicts[name][each.id].ratings["image"] for each in requests] == [
            3.0 + n % 8 - less for n in range(10)
        ]
    assert {report.stage for report in reports} == {"rate, mild", "rate, strict"}
    assert all(call.authorization == f"Bearer {KEY}" for call in server.calls)
    assert Counter(call.outcome for call in server.calls)["answered"] == 20
    asked = len(server.calls)
    assert JudgePanel(tmp_path, judges).rate(requests) == verdicts
    assert len(server.calls) == asked
    for path in filter(Path.is_file, tmp_path.iterdir()):
        assert KEY.encode() not in path.read_bytes()


def test_only_a_new_answer_or_a_new_prompt_is_asked_about_again(serve, requests, tmp_path):
    server = serve(answer=rate)
    JudgePanel(tmp_path, [spec(server)]).rate(requests)
    changed = [replace(requests[0], id="face-0/age#new"), *requests[1:]]
    verdicts = JudgePanel(tmp_path, [spec(server)]).rate(changed)
    assert len(server.calls) == 11
    assert set(verdicts["mild"]) == {each.id for each in changed}
    JudgePanel(tmp_path, [spec(server)], image_side=32).rate(requests[:3])
    assert len(server.calls) == 14


def test_the_budget_is_for_all_judges_together_and_is_never_passed(serve, requests, tmp_path):
    server = serve(answer=rate)
    prices = tmp_path / "prices.yaml"
    prices.write_text("mild: {input: 1.0, output: 10.0}\nstrict: {input: 1.0, output: 10.0}\n")
    call = (1000 + 100 * 10) / 1e6
    limit = 13.9 * call
    settings = CallSettings(**{**QUICK, "concurrency": 1}, prices=prices, max_cost=limit)
    panel = JudgePanel(tmp_path / "out", [spec(server), spec(server, "strict")], settings=settings)
    verdicts = panel.rate(requests)
    assert panel.ending is Ending.BUDGET
    assert panel.cost <= limit
    assert len(verdicts["mild"]) == 10
    assert 1 <= len(verdicts["strict"]) < 10
    more = JudgePanel(tmp_path / "out", [spec(server), spec(server, "strict")],
                      settings=CallSettings(**QUICK, prices=prices, max_cost=1.0))  # fmt: skip
    assert len(more.rate(requests)["strict"]) == 10
    assert len(server.calls) == 20
    assert more.cost == pytest.approx(20 * call)


def test_a_reply_without_numbers_and_a_picture_that_is_not_there_are_no_ratings(serve, requests, tmp_path):
    server = serve(answer=lambda body: "It is fine." if "Rate 1." in str(body) else rate(body))
    wrong = [replace(requests[0], problem="a.mp4 is a video file"), requests[1], requests[2]]
    verdicts = JudgePanel(tmp_path, [spec(server)]).rate(wrong)["mild"]
    assert verdicts[wrong[0].id].reason == "a.mp4 is a video file"
    assert verdicts[wrong[1].id].ratings is None
    assert "no numbers from 1 to 10" in verdicts[wrong[1].id].reason
    assert verdicts[wrong[2].id].ratings["label"] == 5.0
    assert len(server.calls) == 3  # the reply without numbers is asked for twice
    JudgePanel(tmp_path, [spec(server)], settings=CallSettings(retry_failed=True)).rate(wrong)
    assert len(server.calls) == 5


def test_an_endpoint_that_refuses_the_key_ends_the_run_and_keeps_what_was_rated(serve, requests, tmp_path):
    server = serve(answer=rate)
    JudgePanel(tmp_path, [spec(server)]).rate(requests[:4])
    server.faults.status = 401
    with pytest.raises(EndpointError, match="key is not accepted"):
        JudgePanel(tmp_path, [spec(server)]).rate(requests)
    server.faults.status = None
    before = len([call for call in server.calls if call.outcome == "answered"])
    assert len(JudgePanel(tmp_path, [spec(server)]).rate(requests)["mild"]) == 10
    assert len([call for call in server.calls if call.outcome == "answered"]) - before == 6


def test_equal_models_at_two_addresses_are_told_apart(serve, requests, tmp_path):
    first, second = serve(answer=rate), serve(answer=rate)
    verdicts = JudgePanel(tmp_path, [spec(first), spec(second)]).rate(requests[:2])
    assert list(verdicts) == [f"mild at {server.base_url}" for server in (first, second)]
    assert (len(first.calls), len(second.calls)) == (2, 2)


def test_panels_that_cannot_work_are_refused_before_anything_is_asked(serve, tmp_path):
    server = serve(answer=rate)
    with pytest.raises(ConfigurationError, match="does not see"):
        JudgePanel(tmp_path, ["template"])
    for judges in ([], [spec(server), spec(server)]):
        with pytest.raises(ConfigurationError, match="none of them twice"):
            JudgePanel(tmp_path, judges)
    with pytest.raises(ConfigurationError, match="no model 'mild'"):
        JudgePanel(tmp_path, [spec(server)], settings=CallSettings(max_cost=1.0))
    with pytest.raises(InvalidSpecError, match="never given as arguments"):
        JudgePanel(tmp_path, [f"{spec(server)}&api_key={KEY}"])
