import json

from benchmarks import loading
from benchmarks.harness import Ceilings


def test_loading_processes_are_compared_with_none_beside_a_device_that_sleeps(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "measure_ceilings", lambda device, dtype: Ceilings(1e9, 1e9))
    output = tmp_path / "loading.json"
    loading.main(["--samples", "20", "--device-rate", "1000", "--rounds", "1", "--output", str(output)])
    found = json.loads(output.read_text())
    assert found["environment"]["stand_in"] == "sleeps as a device computes"
    assert {(row["source"], row["workers"] > 0) for row in found["results"]} == {
        (source, has_workers) for source in ("files", "shards") for has_workers in (False, True)
    }
    assert all(0 < row["samples_per_second"] < 1000 and 0 <= row["share_waited"] < 1 for row in found["results"])
