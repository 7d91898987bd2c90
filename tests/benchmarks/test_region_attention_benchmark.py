import json
import subprocess
import sys
from pathlib import Path

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
