import json

import pytest

from benchmarks import ask


def test_ways_to_ask_are_compared_with_calls_one_by_one(tmp_path, monkeypatch):
    from benchmarks.harness import Ceilings

    monkeypatch.setattr(ask, "measure_ceilings", lambda device, dtype: Ceilings(1e9, 1e9))
    output = tmp_path / "ask.json"
    ask.main(["--questions", "3", "--tokens", "2", "--device", "cpu", "--seconds", "0", "--output", str(output)])
    rows = json.loads(output.read_text())["results"]
    assert [row["way"].split(",")[0] for row in rows] == ["one call", "one call", "3 calls"]
    assert rows[-1]["speed_up"] == pytest.approx(1.0)
    assert all(row["questions"] == 3 and row["timing"]["repeats"] == 3 for row in rows)
