"""The check of all implementations against float64 passes what is right and finds what is not."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import kernel_check
from benchmarks.kernel_check import Shape, is_within, main, run_case

CPU = torch.device("cpu")


def test_values_and_all_gradients_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_check, "SMALL", (Shape(2, 10, 3, 12, 2), Shape(1, 5, 1, 9, 3)))
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    main(["--device", "cpu", "--shapes", "small", "--output", str(tmp_path / "check.json")])
    rows = json.loads((tmp_path / "check.json").read_text())["results"]
    checked = [row for row in rows if "errors" in row]
    assert {row["route"] for row in checked} == {"absorbed", "lean"}
    assert {row["dtype"] for row in checked} == {"float32", "bfloat16", "float16"}
    assert len(checked) == 12
    assert all(row["passed"] for row in checked)
    assert {len(row["errors"]) for row in checked} == {11}
    assert {row["skipped"] for row in rows if row["route"].startswith("triton")} == {
        "Triton needs a GPU, or TRITON_INTERPRET=1"
    }


def test_a_wrong_gradient_fails_and_the_others_are_still_checked(tmp_path, monkeypatch):
    right = kernel_check.region_attention

    def wrong(patches, regions, weights, *, implementation, **options):
        value = right(patches, regions, weights, implementation=implementation, **options)
        if implementation == "absorbed" and patches.dtype == torch.float16:
            raise RuntimeError("no room for the tiles")
        return value + 1e-3 * weights.value.sum() if implementation == "absorbed" else value

    monkeypatch.setattr(kernel_check, "region_attention", wrong)
    monkeypatch.setattr(kernel_check, "SMALL", (Shape(1, 10, 3, 12, 2),))
    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--shapes", "small", "--output", str(tmp_path / "check.json")])
    rows = json.loads((tmp_path / "check.json").read_text())["results"]
    found = {row["dtype"]: row for row in rows if row["route"] == "absorbed"}
    assert found["float32"]["errors"]["result"] > 1e-4
    assert not any(row["passed"] for name, row in found.items() if name != "bfloat16")
    assert found["float16"]["failure"] == "RuntimeError: no room for the tiles"


def test_a_gradient_that_is_zero_in_truth_is_held_against_the_largest():
    errors = run_case(Shape(1, 10, 1, 12, 2), torch.float32, "absorbed", CPU)
    assert errors["query"] < 1e-6, "one region alone has weight one, whatever the query"
    assert is_within(errors, "float32")
    assert not is_within({**errors, "key": float("nan")}, "float32")
