"""The auto classes of transformers know facekit's models once ``facekit.models`` is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

import facekit

AUTO = """
import sys
import facekit.models
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained(sys.argv[1])
processor = AutoProcessor.from_pretrained(sys.argv[1])
print(type(model).__name__, type(processor).__name__, processor.tokens_per_frame)
"""


@pytest.mark.slow
def test_importing_the_models_registers_them_with_the_auto_classes(tmp_path):
    for part in facekit.create(preset="facekit-tiny", landmarker="none", seed=0):
        part.save_pretrained(tmp_path)
    command = [sys.executable, "-c", AUTO, str(tmp_path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert shown.split() == ["FaceKitForConditionalGeneration", "FaceKitProcessor", "36"]
