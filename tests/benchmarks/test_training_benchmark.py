import json

import pytest
import torch

from benchmarks import training
from facekit.data.attention import segment_mask


def test_the_ways_are_measured_on_the_same_questions(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "measure_ceilings", lambda device, dtype: training.Ceilings(1e9, 1e9))
    monkeypatch.setattr(training, "trl_version", lambda: None)
    output = tmp_path / "training.json"
    training.main(["--shape", "smoke", "--device", "cpu", "--seconds", "0", "--output", str(output)])
    assert "TRL is not installed, so its trainer is left out (pip install trl)" in capsys.readouterr().out
    written = json.loads(output.read_text())
    assert written["environment"]["trl"] is None
    rows = {(row["load"], row["way"]): row for row in written["results"]}
    assert len(rows) == 6
    for load, questions, images, visual in (("face", 8, 2, 16), ("video", 4, 1, 8 * 17)):
        shared, packed, padded = (rows[load, way] for way in training.WAYS[:3])
        assert shared["labelled_tokens"] == packed["labelled_tokens"] == padded["labelled_tokens"]
        assert shared["samples"] == questions * images
        assert packed["tokens"] == padded["tokens"]
        assert packed["tokens"] - shared["tokens"] == (questions - 1) * images * (visual + 20)
        assert shared["loss"] == pytest.approx(padded["loss"], abs=1e-4)
        assert packed["loss"] == pytest.approx(padded["loss"], abs=1e-4)
        assert shared["flops"] < packed["flops"]
        assert shared["timing"]["repeats"] == 3


def test_the_pairs_of_the_shared_way_are_those_of_its_mask(monkeypatch):
    monkeypatch.setattr(training, "trl_version", lambda: None)
    load, shape = training.LOADS["face"], training.SHAPES["smoke"]
    model = training.build_model(shape, load, "sdpa", torch.device("cpu"))
    shared, packed, _ = training.build_ways(model, load, shape, "sdpa")
    examples, apart = training.draw_examples(load, shape, model.tokens_per_frame)
    pairs = sum(int(segment_mask(example.segments[None], example.position_ids[None]).sum()) for example in examples)
    assert shared.pairs == pairs
    assert packed.pairs == sum(len(each.input_ids) * (len(each.input_ids) + 1) // 2 for each in apart)
