import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from benchmarks import kernel_report
from benchmarks.kernel_report import Usage

REPOSITORY = Path(kernel_report.__file__).parents[1]


def test_the_kernels_of_a_full_size_call_use_hoppers_matrix_instructions_without_spills(tmp_path):
    results = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.kernel_report", "--processes", "1", "--output", str(results)]
    command += ["--architectures", "90", "--dtypes", "bf16", "--widths", "4096", "--regions", "9"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    answer = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment)

    assert answer.returncode == 0, answer.stderr
    assert "forward, output" in answer.stdout
    kernels = {row["role"]: row for row in json.loads(results.read_text())["kernels"]}
    assert len(kernels) == 6
    for role, row in kernels.items():
        assert row["spills"] == 0, role
        assert row["shared_bytes"] <= 227 << 10, role
        assert row["registers"] <= 255, role
        if role != "backward, bias and positions":
            assert "wgmma.mma_async" in row["matrix_instructions"], role
    assert kernels["forward, weights"]["programs"] >= 2


def test_the_default_cases_cover_every_device_dtype_width_and_number_of_regions_once():
    chosen = list(kernel_report.cases([80, 90, 100], ["bf16", "fp32"], [1024, 3584, 4096], [5, 9], [1024, 1024]))
    shapes = {(case.architecture, case.dtype, case.width, case.regions) for case in chosen}

    assert len(shapes) == 36
    assert len(set(chosen)) == len(chosen)
    fused = {(case.architecture, case.width) for case in chosen if case.role == "forward, fused"}
    assert (90, 1024) in fused
    assert (90, 4096) not in fused


@pytest.mark.parametrize(("spills", "status"), [(0, 0), (3, 1)])
def test_the_exit_status_says_whether_a_kernel_spills(monkeypatch, tmp_path, capsys, spills, status):
    usage = Usage(200, 8 * spills, spills, 1024, 2, {"mma.sync": 4})
    monkeypatch.setattr(kernel_report, "compile_case", lambda case: usage)
    monkeypatch.setenv("TRITON_INTERPRET", os.environ.get("TRITON_INTERPRET", ""))
    arguments = ["--architectures", "80", "--widths", "4096", "--processes", "1", "--output", str(tmp_path / "r.json")]

    assert kernel_report.main(arguments) == status
    assert f"{24 if spills else 0} spill" in capsys.readouterr().out
