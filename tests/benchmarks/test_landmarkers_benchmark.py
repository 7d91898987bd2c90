"""The comparison of landmarkers: what counts as found and as right, and that overlays are drawn where the faces are."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import landmarkers as benchmark
from facekit.faces.landmarker import DetectedFace, Landmarker

pytest.importorskip("skimage")


class BrightSquare(Landmarker):
    """Finds the bright square of a picture as its face, its points shifted by a share of its side."""

    second_look = False
    shift = 0.0

    @classmethod
    def from_spec(cls, argument=None):
        return cls()

    def find_faces(self, image):
        pixels = np.asarray(image.convert("L")).astype(float)
        rows, columns = np.nonzero(pixels > 0.8 * pixels.max()) if np.ptp(pixels) > 30 else ([], [])
        if not len(rows):
            return []
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
        corner, side = box[:2], box[2] - box[0]
        points = corner + side * (np.random.default_rng(0).uniform(0.1, 0.9, (68, 2)) + self.shift)
        return [DetectedFace(tuple(box), 1.0, points)]


class Shifted(BrightSquare):
    shift = 0.1


class Blind(BrightSquare):
    def find_faces(self, image):
        return []


def test_found_right_and_apart_say_what_each_landmarker_did(tmp_path, registry, monkeypatch):
    for name, kind in (("square", BrightSquare), ("shifted", Shifted), ("blind", Blind)):
        registry.register("landmarker", name, kind)
    photograph = Image.new("RGB", (300, 300))
    photograph.paste((255, 255, 255), (120, 120, 180, 180))
    photograph.save(tmp_path / "photograph.png")
    monkeypatch.setattr(benchmark.skimage.data, "astronaut", lambda: np.zeros((64, 64, 3), np.uint8))
    options = ["--landmarkers", "square", "shifted", "blind", "--conditions", "24 px", "dark", "turned 180"]
    overlays = tmp_path / "overlays"
    benchmark.main([
        str(tmp_path / "photograph.png"), *options, "--output", str(tmp_path / "out.json"), "--pictures", str(overlays)
    ])  # fmt: skip
    rows = {
        (row["landmarker"], row["condition"]): row for row in json.loads((tmp_path / "out.json").read_text())["results"]
    }
    assert all(rows[spec, "24 px"]["faces"] == 1 for spec in ("square", "shifted", "blind"))
    assert [rows[spec, "dark"]["found"] for spec in ("square", "shifted", "blind")] == [1, 1, 0]
    assert rows["square", "dark"]["right"] == 1
    assert rows["square", "dark"]["drift_percent"] < 5
    assert rows["square", "turned 180"]["right"] == 0  # its points do not turn with the face
    points = np.random.default_rng(0).uniform(0.1, 0.9, (68, 2))
    eyes = np.linalg.norm(points[36] - points[45])
    assert rows["shifted", "dark"]["apart_percent"] == pytest.approx(100 * 0.1 * np.sqrt(2) / eyes, rel=0.05)
    assert rows["blind", "dark"]["drift_percent"] is None
    drawn = np.asarray(Image.open(overlays / "photograph-square.png").convert("RGB")).astype(int)
    coloured = np.ptp(drawn[:768], axis=2) > 40
    ys, xs = np.nonzero(coloured)
    assert 250 < xs.min() < xs.max() < 520
    assert 250 < ys.min() < ys.max() < 520
    assert Image.open(overlays / "copies.png").size[1] == 3 * 160
