"""What other libraries print of themselves: nothing of it in a log, unless ``-v`` asks for it."""

import os
import subprocess
import sys

import pytest
from gguf_models import save, sentence_pieces
from small_runs import SEARCH_PATH

import facekit
from facekit.compat.transformers_gguf import READS_VOCABULARIES

A_BAR = "%|"  # as tqdm draws it


def run(*words, **environment):
    """A command in a process of its own, its standard error kept as a file has it."""
    return subprocess.run(
        [sys.executable, "-m", "facekit", *map(str, words)], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": SEARCH_PATH, **environment},
    )  # fmt: skip


@pytest.mark.skipif(not READS_VOCABULARIES, reason="this transformers reads vocabularies otherwise")
def test_reading_a_gguf_file_draws_no_bar_in_a_log_unless_asked(tmp_path, monkeypatch):
    pytest.importorskip("gguf")
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS")
    spec = save(tmp_path / "llm", "llama", sentence_pieces())
    encoder = "tiny?image_size=64&width=32&depth=1"
    model, processor = facekit.create(encoder=encoder, connector="mlp", backbone=spec, seed=0)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    plain = run("export", tmp_path / "model", tmp_path / "plain", "--format", "gguf")  # it reads back what it wrote
    assert A_BAR not in plain.stderr
    told = run("-v", "export", tmp_path / "model", tmp_path / "told", "--format", "gguf")
    assert A_BAR in told.stderr
