"""Landmarkers on the same photographs: faces found, how steady their landmarks are, milliseconds, pictures of both.

Every face that any landmarker finds in a photograph is cut out with its surroundings (three times its size), so that
each copy has one face; the copies are turned, resized, framed, darkened and made grey. ``found`` counts copies in which
a face was found where it is, and ``right`` those whose landmarks are also, on average, within 10 % of the distance of
the outer eye corners from where the same landmarker has them in the upright copy with a face of 256 pixels. ``drift``
is the median of that distance, and ``apart`` the median distance from the first landmarker's points in the same copy,
in percent of the eyes. Milliseconds are the processor's, which a busy machine stretches less than the clock. ``false``
counts faces in pictures of scikit-image that have none. scikit-image's astronaut is always among the photographs;
``--pictures`` draws each landmarker's faces on the photographs, and one sheet of the changed copies.

    python -m benchmarks.landmarkers PHOTOGRAPHS... --pictures overlays     # dlib against mesh
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageEnhance, ImageOps
from rich.console import Console
from rich.table import Table

from benchmarks.harness import environment, results_path, write_results
from facekit.faces.images import open_image
from facekit.faces.landmarker import DetectedFace, Landmarker, load_landmarker
from facekit.faces.overlay import draw_overlay

SURROUNDINGS = 3.0
REFERENCE_SIZE = 256
RIGHT_PERCENT = 10.0
SHEET_FACES = 3
SIZES = (24, 32, 48, 64, 96, 128, 256, 512)
TURNS = (15, 30, 45, 60, 90, 180, 270)
FACELESS = ("chelsea", "coffee", "rocket", "gravel", "grass", "brick", "page", "text", "coins", "hubble_deep_field",
            "retina", "immunohistochemistry", "moon", "horse", "clock")  # fmt: skip


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.landmarkers", description=__doc__.splitlines()[0])
    parser.add_argument("photographs", nargs="*", type=Path, help="picture files with faces")
    parser.add_argument("--landmarkers", nargs="+", default=["dlib", "mesh"], help="specs; the first is the reference")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/landmarkers-cpu.json")
    parser.add_argument("--conditions", nargs="+", help="some of the changes; all by default")
    parser.add_argument("--faces", type=int, help="use the first faces only; all by default")
    parser.add_argument("--pictures", type=Path, help="folder for overlays of every landmarker on every photograph")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    options = parse_arguments(arguments)
    photographs = {"astronaut": Image.fromarray(skimage.data.astronaut())}
    photographs |= {path.stem: open_image(path) for path in options.photographs}
    landmarkers = {spec: load_landmarker(spec) for spec in options.landmarkers}
    faces = [face for image in photographs.values() for face in _cut_faces(image, landmarkers)]
    faces = faces[: options.faces]
    conditions = dict(_conditions())
    chosen = options.conditions or list(conditions)
    upright = conditions[f"{REFERENCE_SIZE} px"]
    straight = {spec: [_find(each, upright(face))[0] for face in faces] for spec, each in landmarkers.items()}
    rows = [
        row
        for name in options.conditions or conditions
        for row in _measure(landmarkers, faces, name, conditions, straight)
    ]
    if options.conditions is None:
        rows += [_time_photographs(spec, landmarker, photographs) for spec, landmarker in landmarkers.items()]
        rows += [_count_false(spec, landmarker) for spec, landmarker in landmarkers.items()]
    _print(rows, list(landmarkers), len(faces), len(photographs))
    path = options.output or results_path("landmarkers", torch.device("cpu"), "json")
    write_results(path, environment(torch.device("cpu")), None, rows)
    if options.pictures is not None:
        _draw(options.pictures, landmarkers, photographs)
        _draw_copies(options.pictures / "copies.png", landmarkers, faces, chosen)


def _conditions() -> list[tuple[str, Callable[[Image.Image], Image.Image]]]:
    reference = REFERENCE_SIZE * SURROUNDINGS

    def resized(side: float) -> Callable[[Image.Image], Image.Image]:
        return lambda image: image.resize((round(side * SURROUNDINGS),) * 2, Image.Resampling.LANCZOS)

    def turned(degrees: int) -> Callable[[Image.Image], Image.Image]:
        return lambda image: resized(REFERENCE_SIZE)(image).rotate(degrees, Image.Resampling.BICUBIC)

    return [
        *((f"{side} px", resized(side)) for side in SIZES),
        *((f"turned {degrees}", turned(degrees)) for degrees in TURNS),
        ("grey", lambda image: resized(REFERENCE_SIZE)(image).convert("L").convert("RGB")),
        ("dark", lambda image: ImageEnhance.Brightness(resized(REFERENCE_SIZE)(image)).enhance(0.2)),
        ("border", lambda image: ImageOps.expand(resized(REFERENCE_SIZE)(image), round(reference / 4), "white")),
    ]


def _cut_faces(image: Image.Image, landmarkers: dict[str, Landmarker]) -> list[Image.Image]:
    """One square picture for each face that any landmarker finds."""
    centres: list[np.ndarray] = []
    cuts = []
    for landmarker in landmarkers.values():
        for face in landmarker.detect(image):
            centre = face.landmarks.mean(axis=0)
            if any(np.linalg.norm(centre - other) < face.size / 2 for other in centres):
                continue
            centres.append(centre)
            half = face.size * SURROUNDINGS / 2
            cuts.append(image.crop((*map(math.floor, centre - half), *map(math.ceil, centre + half))))
    return cuts


def _find(landmarker: Landmarker, image: Image.Image) -> tuple[DetectedFace | None, float]:
    """The face nearest to the middle, where it is not further from it than half a face; and the seconds taken."""
    start = time.process_time()
    faces = landmarker.detect(image)
    seconds = time.process_time() - start
    middle = np.array(image.size) / 2
    near = [face for face in faces if np.linalg.norm(face.landmarks.mean(axis=0) - middle) < face.size / 2]
    return min(near, key=lambda face: np.linalg.norm(face.landmarks.mean(axis=0) - middle), default=None), seconds


def _measure(
    landmarkers: dict[str, Landmarker],
    faces: list[Image.Image],
    name: str,
    conditions: dict[str, Callable[[Image.Image], Image.Image]],
    straight: dict[str, list[DetectedFace | None]],
) -> list[dict[str, object]]:
    """A row for each landmarker: all of them on the same copies."""
    copies = [conditions[name](face) for face in faces]
    upright_sides = [conditions[f"{REFERENCE_SIZE} px"](face).width for face in faces]
    rows = []
    reference: list[DetectedFace | None] = []
    for spec, landmarker in landmarkers.items():
        finds = [_find(landmarker, copy) for copy in copies]
        own = [face for face, _ in finds]
        drifts = [
            _distance(face.landmarks, _carry(before.landmarks, side, copy.width, name))
            for face, before, side, copy in zip(own, straight[spec], upright_sides, copies, strict=True)
            if face is not None and before is not None
        ]
        distances = [
            _distance(face.landmarks, other.landmarks)
            for face, other in zip(own, reference, strict=False)
            if face is not None and other is not None
        ]
        reference = reference or own
        rows.append({
            "condition": name, "landmarker": spec, "faces": len(faces), "found": len(own) - own.count(None),
            "right": sum(drift < RIGHT_PERCENT for drift in drifts),
            "milliseconds": 1e3 * float(np.median([taken for _, taken in finds])),
            "drift_percent": float(np.median(drifts)) if drifts else None,
            "apart_percent": float(np.median(distances)) if distances else None,
        })  # fmt: skip
    return rows


def _carry(points: np.ndarray, upright_side: int, side: int, name: str) -> np.ndarray:
    """Where points of the upright copy lie in a changed one of that side."""
    if name.startswith("turned"):
        angle = math.radians(int(name.split()[1]))
        matrix = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
        return (points - upright_side / 2) @ matrix.T + side / 2
    if name == "border":
        return points + (side - upright_side) / 2
    return points * side / upright_side


def _distance(points: np.ndarray, reference: np.ndarray) -> float:
    eyes = np.linalg.norm(reference[36] - reference[45])
    return 100 * float(np.linalg.norm(points - reference, axis=1).mean() / eyes)


def _time_photographs(
    spec: str, landmarker: Landmarker, photographs: dict[str, Image.Image], rounds: int = 3
) -> dict[str, object]:
    """Whole photographs: faces found, and the median time of one."""
    seconds = {name: [] for name in photographs}
    counts = {}
    for _ in range(rounds):
        for name, image in photographs.items():
            start = time.process_time()
            counts[name] = len(landmarker.detect(image))
            seconds[name].append(time.process_time() - start)
    medians = [1e3 * float(np.median(each)) for each in seconds.values()]
    return {"condition": "whole photographs", "landmarker": spec, "photographs": len(photographs),
            "found": sum(counts.values()), "found_by_photograph": counts,
            "milliseconds": float(np.mean(medians))}  # fmt: skip


def _count_false(spec: str, landmarker: Landmarker) -> dict[str, object]:
    images = [getattr(skimage.data, name)() for name in FACELESS]
    images = [(255 * each).astype(np.uint8) if each.dtype == bool else each for each in images]
    seconds = []
    found = 0
    for image in images:
        start = time.process_time()
        found += len(landmarker.detect(Image.fromarray(image).convert("RGB")))
        seconds.append(time.process_time() - start)
    return {"condition": "no face", "landmarker": spec, "photographs": len(images), "found": found,
            "milliseconds": 1e3 * float(np.median(seconds))}  # fmt: skip


def _print(rows: list[dict], specs: list[str], faces: int, photographs: int) -> None:
    table = Table(title=f"{faces} faces of {photographs} photographs, one core; drift and apart in % of the eyes")
    table.add_column("condition")
    for spec in specs:
        for column in ("found", "right", "ms", "drift", "apart"):
            table.add_column(f"{spec}\n{column}", justify="right")
    for condition in dict.fromkeys(row["condition"] for row in rows):
        cells = []
        for row in (row for row in rows if row["condition"] == condition):
            shares = [row.get("drift_percent"), row.get("apart_percent")]
            cells += [str(row["found"]), str(row.get("right", "")), f"{row['milliseconds']:.1f}"]
            cells += ["" if share is None else f"{share:.1f}" for share in shares]
        table.add_row(condition, *cells)
    Console(width=120).print(table)


def _draw(folder: Path, landmarkers: dict[str, Landmarker], photographs: dict[str, Image.Image]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in photographs.items():
        for spec, landmarker in landmarkers.items():
            faces = landmarker.detect(image)
            landmarks = [face.landmarks / np.array(image.size) for face in faces]
            boxes = [np.array(face.box) / np.tile(image.size, 2) for face in faces]
            drawn = draw_overlay(image, np.array(landmarks) if faces else None, np.array(boxes) if faces else None)
            drawn.save(folder / f"{name}-{spec.partition('?')[0].replace(':', '-')}.png")


def _draw_copies(
    path: Path, landmarkers: dict[str, Landmarker], faces: list[Image.Image], conditions: list[str], side: int = 160
) -> None:
    """A row for each of the first faces and each landmarker, a column for each change."""
    changes = [dict(_conditions())[name] for name in conditions]
    rows = [(face, landmarker) for face in faces[:SHEET_FACES] for landmarker in landmarkers.values()]
    sheet = Image.new("RGB", (len(changes) * side, len(rows) * side))
    for row, (face, landmarker) in enumerate(rows):
        for column, change in enumerate(changes):
            copy = change(face)
            found, _ = _find(landmarker, copy)
            landmarks = None if found is None else found.landmarks / np.array(copy.size)
            sheet.paste(draw_overlay(copy, landmarks, size=side, legend=False), (column * side, row * side))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


if __name__ == "__main__":
    main()
