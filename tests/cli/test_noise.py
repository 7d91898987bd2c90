"""What other libraries print of themselves: nothing of it in a log, unless ``-v`` asks for it."""

import os
import subprocess
import sys

import pytest
from gguf_models import save, sentence_pieces
from small_runs import SEARCH_PATH

import facekit
from facekit.compat.transformers_gguf import READS_VOCABULARIES
from facekit.models.interoperability import export

A_BAR = "%|"  # as tqdm draws it
SET_BY_COMMANDS = ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE", "TRANSFORMERS_VERBOSITY")  # in other tests, too
PROGRAM = """
import sys
from facekit.cli import main
path = sys.argv.pop()
try:
    main.main()
except SystemExit:
    from facekit.backbones import load_gguf_backbone
    load_gguf_backbone(path)
"""


def errors_of(*words, path):
    """Standard error of a command, and of reading a GGUF file in its process, as a file has it."""
    environment = {name: value for name, value in os.environ.items() if name not in SET_BY_COMMANDS}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words, path], capture_output=True, text=True, check=True,
        env={**environment, "PYTHONPATH": SEARCH_PATH},
    ).stderr  # fmt: skip


@pytest.mark.skipif(not READS_VOCABULARIES, reason="this transformers reads vocabularies otherwise")
def test_reading_a_gguf_file_draws_no_bar_in_a_log_unless_asked(tmp_path):
    pytest.importorskip("gguf")
    spec = save(tmp_path / "llm", "llama", sentence_pieces())
    encoder = "tiny?image_size=64&width=32&depth=1"
    export(*facekit.create(encoder=encoder, connector="mlp", backbone=spec, seed=0), tmp_path / "out", "gguf")
    assert A_BAR not in errors_of("list", "tasks", path=tmp_path / "out" / "model.gguf")
    assert A_BAR in errors_of("-v", "list", "tasks", path=tmp_path / "out" / "model.gguf")
