"""The page on judging: its own judge runs as it stands, and its words are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path

from facekit.data.records import read_records
from facekit.data.synthetic import write_synthetic_dataset
from facekit.evaluation.judging.explanations import EXPLAIN
from facekit.evaluation.judging.label_checks import NEAR_YEARS
from facekit.evaluation.judging.ratings import ALL_ANSWERS, JUDGING_NAME, MEAN_OF_TASKS, PANEL, RATINGS_NAME

PAGE = (Path(__file__).parents[2] / "docs" / "judging.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_judge_on_the_page_rates_predictions(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_synthetic_dataset(tmp_path, 4, seed=1, image_size=64)
    lines = [{"id": record.id, "task": "age", "answer": "40"} for record in read_records(tmp_path / "records.jsonl")]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (block,) = BLOCK.findall(PAGE)
    namespace: dict = {"__name__": "page"}
    exec(compile(block, "judging.md", "exec", dont_inherit=True), namespace)
    assert capsys.readouterr().out == "9.0\n"
    assert namespace["result"].answers == 4


def test_the_words_of_the_page_are_those_of_the_code():
    words = " ".join(PAGE.split())
    assert f'"{EXPLAIN}"' in words
    for name in (ALL_ANSWERS, MEAN_OF_TASKS, PANEL):
        assert f'"{name}"' in words
    for name in (JUDGING_NAME, RATINGS_NAME):
        assert f"`{name}`" in words
    assert "more than five years" in words
    assert NEAR_YEARS == 5.0
