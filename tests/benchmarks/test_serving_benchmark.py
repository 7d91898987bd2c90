import json

from benchmarks import serving


def test_the_servers_give_the_answers_of_ask_and_the_ratios_are_written(tmp_path, capsys):
    output = tmp_path / "serving.json"
    load = ["--clients", "1", "4", "--requests", "8", "--tokens", "3", "--pictures", "2"]
    serving.main([*load, "--questions", "3", "--repeats", "1", "--output", str(output)])
    results = json.loads(output.read_text())
    rows = [row for row in results["results"] if row["task"] == "load"]
    asked = {row["server"]: row for row in results["results"] if row["task"] == "one picture"}
    assert asked.keys() == {"facekit.ask", "facekit serve", "naive"}
    assert all(row["questions"] == 3 and row["seconds"] > 0 for row in asked.values())
    assert {(row["server"], row["clients"]) for row in rows} == {
        ("facekit serve", 1), ("facekit serve", 4), ("naive", 1), ("naive", 4)
    }  # fmt: skip
    assert all(row["speed_up"] == 1 for row in rows if row["server"] == "naive")
    assert all(row["p99_seconds"] >= row["p50_seconds"] > 0 for row in rows)
    assert "requests/s" in capsys.readouterr().out
