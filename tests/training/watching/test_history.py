"""Losses are read from the trainer's log, smoothed, written and drawn."""

from __future__ import annotations

import pytest
from PIL import Image

from facekit.errors import CheckpointError
from facekit.training.watching.history import _SOURCE_COLOURS, LossHistory, LossPoint, draw_loss


def history(losses):
    return LossHistory(tuple(LossPoint(n + 1, n / 10, loss, 1e-3) for n, loss in enumerate(losses)))


def test_only_entries_with_a_loss_are_kept():
    log = [
        {"step": 1, "epoch": 0.1, "loss": 2.0, "learning_rate": 1e-3, "grad_norm": 1.0},
        {"step": 1, "epoch": 0.1, "train_runtime": 3.0},
    ]
    assert LossHistory.from_log(log).points == (LossPoint(1, 0.1, 2.0, 1e-3),)


def test_smoothing_keeps_a_constant_and_follows_a_step():
    assert history([3.0] * 50).smoothed() == pytest.approx([3.0] * 50)
    smoothed = history([4.0] * 50 + [1.0] * 50).smoothed()
    assert smoothed[49] == pytest.approx(4.0)
    assert smoothed[50] > 2.0
    assert smoothed[-1] == pytest.approx(1.0, abs=0.01)


def test_an_empty_history_has_no_final_loss():
    assert history([]).final_loss is None


def test_history_survives_writing_and_damage_is_named(tmp_path):
    written = history([2.0, 1.0])
    assert LossHistory.read(written.write(tmp_path / "losses.json")) == written
    (tmp_path / "losses.json").write_text("[{}]")
    with pytest.raises(CheckpointError, match=r"losses\.json is not a loss history"):
        LossHistory.read(tmp_path / "losses.json")


@pytest.mark.parametrize("losses", [[], [2.0], [float(n) for n in range(200, 1, -1)]])
def test_the_plot_is_a_picture_for_any_length(tmp_path, losses):
    with Image.open(draw_loss(history(losses), tmp_path / "loss.png")) as picture:
        assert picture.size == (1280, 736)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 2


def test_lines_of_many_sources_differ_from_each_other_and_from_the_mean(tmp_path, monkeypatch):
    names = [f"set-{number}.jsonl" for number in range(6)]
    points = tuple(
        LossPoint(step, step / 10, 2.0 / step, 1e-3, {name: 2.0 / step + place / 9 for place, name in enumerate(names)})
        for step in (1, 2, 3)
    )
    with Image.open(draw_loss(LossHistory(points), tmp_path / "loss.png")) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    expected = {tuple(bytes.fromhex(colour[1:])) for colour in (*_SOURCE_COLOURS, "#2f6fed")}
    assert len(expected) == 6
    assert expected <= colours


@pytest.mark.parametrize("name", ["costs_$1_$2.jsonl", "a$x^{$.jsonl", "$$.jsonl"])
def test_a_file_whose_name_looks_like_a_formula_is_drawn_by_its_name(tmp_path, name):
    points = tuple(LossPoint(step, step / 10, 1.0, 1e-3, {name: 1.0, "b.jsonl": 2.0}) for step in (1, 2))
    with Image.open(draw_loss(LossHistory(points), tmp_path / "loss.png")) as picture:
        assert picture.width > 500
