"""The command line as a user runs it: the hub's address and the cache from the environment, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    program = "from facekit.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, timeout=120
    )


def test_a_model_is_inspected_by_its_hub_id(hub, internvl, tmp_path):
    hub.publish("OpenGVLab/InternVL3-1B-hf", internvl)
    done = run(tmp_path, "inspect", "OpenGVLab/InternVL3-1B-hf")
    assert done.returncode == 0, done.stderr
    assert "InternVL in the Hugging Face layout" in " ".join(done.stdout.split())
    assert (tmp_path / "hub" / "models--OpenGVLab--InternVL3-1B-hf").is_dir()
