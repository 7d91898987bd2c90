import json

import psutil
import pytest
from small_runs import SEARCH_PATH

from benchmarks import busy_cores


def test_both_ways_train_in_processes_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", SEARCH_PATH)
    output = tmp_path / "busy.json"
    words = ["--busy", 0, "--seconds", 0.2, "--turns", 1, "--output", output]
    busy_cores.main([str(word) for word in words])
    (row,) = json.loads(output.read_text())["results"]
    assert row["busy"] == 0
    assert {way: len(turns) for way, turns in row["of_turns"].items()} == {"long": 1, "short": 1}
    rates = row["steps_per_second"]
    assert min(rates.values()) > 0
    assert row["faster_by"] == pytest.approx(rates["short"] / rates["long"])


def test_busy_processes_end_with_the_block():
    with busy_cores.busy_processes(2):
        listed = _children()
        assert len(listed) >= 2
    assert not set(listed) & set(_children())


def _children():
    return [child.pid for child in psutil.Process().children() if "while True" in " ".join(child.cmdline())]
