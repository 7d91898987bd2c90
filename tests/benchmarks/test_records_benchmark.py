import json

from benchmarks import records
from benchmarks.harness import Ceilings


def test_each_way_gives_the_same_figures(tmp_path):
    path = tmp_path / "records.jsonl"
    records.write_lines(path, 30)
    found = {way: records.measure(way, path) for way in ("whole", "index")}
    found["arrow"] = records.measure("arrow", records.write_arrow(path))
    assert all(each["seconds_to_open"] > 0 and each["mebibytes_of_process"] > 10 for each in found.values())
    assert set(found["whole"]) == set(found["index"]) == set(found["arrow"])


def test_the_largest_figure_of_several_processes_is_kept(tmp_path, monkeypatch):
    figures = iter([{"seconds_to_open": 1.0, "mebibytes": 9.0}, {"seconds_to_open": 3.0, "mebibytes": 2.0}])

    class Process:
        def __init__(self, *command, **options):
            self.output = json.dumps(next(figures))

        def communicate(self):
            return self.output, None

    monkeypatch.setattr(records.subprocess, "Popen", Process)
    assert records.in_processes("indexed", tmp_path, 2) == {"seconds_to_open": 3.0, "mebibytes": 9.0}


def test_the_file_says_which_way_how_many_records_and_processes(tmp_path, monkeypatch):
    figures = dict.fromkeys(
        ("seconds_to_open", "seconds_to_begin", "microseconds_per_record", "processor_microseconds_per_record",
         "mebibytes", "mebibytes_of_process", "mebibytes_unshared"), 1.0,
    )  # fmt: skip
    monkeypatch.setattr(records, "measure_ceilings", lambda device, dtype: Ceilings(1e9, 1e9))
    monkeypatch.setattr(records, "in_processes", lambda way, path, processes: figures)
    output = tmp_path / "records.json"
    records.main(["--indexed", "7", "--whole", "5", "--output", str(output)])
    rows = json.loads(output.read_text())["results"]
    assert [(row["way"], row["records"], row["processes"]) for row in rows] == [
        ("whole", 5, 1), ("arrow", 5, 1), ("index", 7, 1), ("indexed", 7, 4),
    ]  # fmt: skip
