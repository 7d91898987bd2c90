import json

import numpy as np
import pytest
from PIL import Image
from small_runs import SEARCH_PATH, small_model

from benchmarks import cold_ask


def test_both_ways_answer_alike_in_processes_of_their_own(tmp_path, monkeypatch):
    model, processor = small_model()
    processor.image_processor.on_no_face = "whole-image"
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "black.png")
    monkeypatch.setenv("PYTHONPATH", SEARCH_PATH)
    output = tmp_path / "cold.json"
    words = [tmp_path / "black.png", "--model", tmp_path / "model", "--calls", 1, "--output", output]
    cold_ask.main([str(each) for each in words])
    document = json.loads(output.read_text())
    assert document["environment"]["parameters"] > 0
    rows = {row["way"]: row for row in document["results"]}
    assert list(rows) == ["quick start", "plain"]
    assert rows["plain"]["of_plain"] == pytest.approx(1.0)
    for row in rows.values():
        assert row["timing"]["repeats"] == 1
        assert row["timing"]["processor_median"] > 0
