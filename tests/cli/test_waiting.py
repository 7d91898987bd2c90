"""How long OpenMP's threads spin under a command while they wait: not so long that a shared core stands still."""

import os
import subprocess
import sys

import pytest
import torch
from small_runs import SEARCH_PATH

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.skipif("OpenMP" not in torch.__config__.parallel_info(), reason="this torch has no OpenMP")
@pytest.mark.skipif(sys.platform != "linux", reason="the variable is that of GCC's OpenMP")
@pytest.mark.parametrize(
    ("said", "is_short"), [({}, True), ({"OMP_WAIT_POLICY": "ACTIVE"}, False), ({"GOMP_SPINCOUNT": "77"}, False)]
)
def test_torch_is_loaded_after_the_choice_unless_the_user_has_one(said, is_short):
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-m", "facekit", "doctor"],
        capture_output=True, text=True, check=False,
        env=kept | said | {"PYTHONPATH": SEARCH_PATH, "OMP_DISPLAY_ENV": "verbose"},
    )  # fmt: skip
    assert "GOMP_SPINCOUNT" in done.stderr
    assert ("GOMP_SPINCOUNT = '10000'" in done.stderr) == is_short
