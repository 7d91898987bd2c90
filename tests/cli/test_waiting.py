"""How OpenMP's threads wait under a command: asleep, so that a shared core goes to those who have work."""

import os
import subprocess
import sys

import pytest
import torch
from small_runs import SEARCH_PATH

POLICY = "OMP_WAIT_POLICY"


@pytest.mark.skipif("OpenMP" not in torch.__config__.parallel_info(), reason="this torch has no OpenMP")
@pytest.mark.parametrize(("said", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_torch_is_loaded_after_the_policy_unless_the_user_has_one(said, used):
    kept = {name: value for name, value in os.environ.items() if name != POLICY}
    policy = {} if said is None else {POLICY: said}
    done = subprocess.run(
        [sys.executable, "-m", "facekit", "doctor"],
        capture_output=True, text=True, check=False,
        env=kept | policy | {"PYTHONPATH": SEARCH_PATH, "OMP_DISPLAY_ENV": "true"},
    )  # fmt: skip
    assert f"{POLICY} = '{used}'" in done.stderr or f"{POLICY}='{used}'" in done.stderr
