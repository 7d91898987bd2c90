"""The table of what region attention's time goes to on a CPU accounts for every operation and for new memory."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import region_attention_limits as limits
from benchmarks.harness import Ceilings
from benchmarks.region_attention import Point

POINT = Point(2, 32, 3, 17, 2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_products_are_all_operations_of_a_pass(dtype):
    parts = limits.list_parts(POINT, dtype)
    forward = sum(part.flops * part.times for part in parts if not part.backward)
    both = sum(part.flops * part.times for part in parts)
    assert (forward, both) == (POINT.flops("absorbed"), 3 * POINT.flops("absorbed"))
    streamed = sum(part.flops * part.times for part in parts if part.kind == "stream")
    assert streamed == 3 * POINT.flops("stream")
    for part in parts:
        part.call()


def test_a_page_of_new_memory_is_counted_and_one_that_was_written_is_not():
    megabytes = 64
    pages = megabytes * 2**20 // 4096
    old = torch.zeros(megabytes * 2**20, dtype=torch.uint8)
    assert limits.count_faults(lambda: old.fill_(1)) < pages / 10
    new = limits.count_faults(lambda: torch.ones(megabytes * 2**20, dtype=torch.uint8))
    assert new >= pages * 0.9 or new < pages / 100  # the latter where the kernel gives huge pages unasked


def test_the_table_sets_each_pass_against_the_rate_of_the_product(monkeypatch):
    monkeypatch.setattr(limits, "time_with_kept_memory", lambda arguments: None)
    whole = {f"{name}, {which}": 2.0 for name in limits.IMPLEMENTATIONS for which in ("forward", "forward+backward")}
    parts = [
        {"name": "a", "kind": "dense", "backward": False, "flops": 10, "seconds": 1.0},
        {"name": "b", "kind": "stream", "backward": True, "flops": 20, "seconds": 3.0},
        {"name": "c", "kind": "scores", "backward": True, "flops": 0, "seconds": 0.5},
    ]
    measured = {
        "flops_per_second": 10.0, "seconds_of_a_fault": 0.25, "parts": parts, "whole": whole,
        "faults": dict.fromkeys(whole, 4), "whole_with_kept_memory": None,
    }  # fmt: skip
    forward, both = limits.summarise(measured)
    assert (forward["ideal"], forward["dense"], forward["stream"]) == (1.0, 1.0, 0)
    assert (both["ideal"], both["stream"], both["scores"], both["facekit_lean faults"]) == (3.0, 3.0, 0.5, 1.0)
    table = limits.build_table("title", [forward, both])
    assert list(table.columns[1].cells)[-2:] == ["2000.0 (50 %)", ""]
    assert list(table.columns[2].cells)[-2] == "2000.0 (150 %)"


def test_one_command_measures_it(tmp_path, capsys, monkeypatch):
    threads = str(torch.get_num_threads())
    shape = [
        "--frames",
        "2",
        "--width",
        "32",
        "--regions",
        "3",
        "--patches",
        "17",
        "--heads",
        "2",
        "--threads",
        threads,
    ]

    def without_a_process(arguments):
        """The same calls in this process: what the other one is asked to print."""
        capsys.readouterr()
        limits.main([*arguments, "--whole-calls-only"])
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr(limits, "measure_ceilings", lambda device, dtype: Ceilings(1e9, 1e9))
    monkeypatch.setattr(limits, "seconds_of_a_fault", lambda seconds: 1e-6)
    monkeypatch.setattr(limits, "time_with_kept_memory", without_a_process)
    output = tmp_path / "limits.json"
    limits.main([*shape, "--seconds", "0.01", "--output", str(output)])
    assert "whole call, memory kept" in capsys.readouterr().out
    row = json.loads(output.read_text())["results"][0]
    assert set(row["whole_with_kept_memory"]) == set(row["whole"]) == set(row["faults"])
    assert [summary["flops"] for summary in row["summary"]] == [POINT.flops("absorbed"), 3 * POINT.flops("absorbed")]
