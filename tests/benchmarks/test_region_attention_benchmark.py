import json
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from benchmarks.region_attention import label_groups

REPOSITORY = Path(__file__).parents[2]


def test_one_command_measures_all_peers_and_records_why_others_cannot_run(tmp_path):
    output = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.region_attention", "--device", "cpu", "--output", str(output)]
    shape = ["--frames", "2", "--widths", "32", "--regions", "3", "--patches", "17", "--heads", "2"]
    peers = [
        "--peers",
        "textbook",
        "multihead_attention",
        "sdpa",
        "facekit_auto",
        "facekit_lean",
        "facekit_absorbed_stream",
        "facekit_lean_stream",
        "xformers",
    ]
    done = subprocess.run(
        [*command, *shape, *peers, "--seconds", "0.1"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(output.read_text())
    assert document["ceilings"]["bytes_per_second"] > 0
    rows = {(row["peer"], row["pass"]): row for row in document["results"]}
    assert len(rows) == 16
    for (peer, name), row in rows.items():
        if peer == "xformers":
            assert "failure" in row or row["relative_error"] < 1e-5
            continue
        assert row["relative_error"] < 1e-5, peer
        assert 0 < row["fastest_seconds"] <= row["median_seconds"]
        assert row["repeats"] >= 3
        backward = 3 if name == "forward+backward" else 1
        per_frame = {
            "facekit_absorbed_stream": 4 * 17 * 2 * 3 * 32,
            "facekit_lean_stream": 4 * 17 * 2 * 3 * 32,
            "facekit_lean": 8 * 3 * 32**2 + 4 * 17 * 2 * 3 * 32,
            "facekit_auto": 8 * 3 * 32**2 + 4 * 17 * 2 * 3 * 32,
        }
        plain = 4 * 3 * 32**2 + 4 * 17 * 32**2 + 4 * 17 * 3 * 32
        assert row["flops"] == 2 * backward * per_frame.get(peer, plain), peer
    assert output.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize("name", ["", "-widths"])
def test_labels_of_the_roofline_lie_on_nothing_and_say_what_differs(name):
    path = REPOSITORY / "benchmarks" / "results" / f"region_attention-amd-epyc-2-threads{name}.json"
    rows = [row for row in json.loads(path.read_text())["results"] if row["pass"] == "forward" and "failure" not in row]
    figure, axes = plt.subplots(figsize=(8, 5.5))
    axes.scatter(
        [row["flops"] / row["compulsory_bytes"] for row in rows], [row["flops_per_second"] / 1e9 for row in rows]
    )
    axes.set(xscale="log", yscale="log")
    figure.canvas.draw()
    boxes = label_groups(axes, rows, [])
    groups = {(row["frames"], row["width"], row["flops"]) for row in rows}
    assert len(groups) - 2 <= len(boxes) <= len(groups)
    assert all(box.count_overlaps([other for other in boxes if other is not box]) == 0 for box in boxes)
    texts = [text.get_text() for text in axes.texts]
    assert all(text.startswith("D " if name else ("1 frame:", "8 frames", "32 frames")) for text in texts)
    plt.close(figure)
