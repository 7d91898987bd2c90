"""Draw faces and lay them out as FairFace is distributed, to try the road from a face dataset to a trained model.

python examples/draw_fairface.py runs/walkthrough/FairFace --faces 2000

A drawing has an age and a gender, but no race: that column, which the layout wants, is filled in turn and means
nothing here. One face in ten goes to the validation split.
"""

import argparse
import csv
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from facekit.data import age_group_of
from facekit.data.sources import RACES
from facekit.data.synthetic import draw_face, face_seed

SIDE = 224
CHUNK = 64


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faces", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    held_out = arguments.faces // 10
    for split, name, count in (("train", "train", arguments.faces - held_out), ("validation", "val", held_out)):
        (arguments.folder / name).mkdir(parents=True, exist_ok=True)
        rows = draw_split(arguments.folder / name, split, arguments.seed, count)
        with (arguments.folder / f"fairface_label_{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "age", "gender", "race", "service_test"), *rows])


def draw_split(folder: Path, split: str, seed: int, count: int) -> list[tuple[str, ...]]:
    """Draw the faces of a split and return its rows."""
    chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    draw = partial(draw_chunk, folder, split, seed)
    if len(chunks) < 2:
        return list(chain.from_iterable(map(draw, chunks)))
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=get_context("spawn")) as pool:
        return list(chain.from_iterable(pool.map(draw, chunks)))


def draw_chunk(folder: Path, split: str, seed: int, indices: range) -> list[tuple[str, ...]]:
    """Draw some faces and return their rows."""
    rows = []
    for index in indices:
        face = draw_face(face_seed(split, seed, index), image_size=SIDE, manipulated=False)
        Image.fromarray(face.image).save(folder / f"{index + 1}.jpg", quality=95)
        age, gender = age_group_of(face.labels.age), {"man": "Male", "woman": "Female"}[face.groups["gender"]]
        rows.append((f"{folder.name}/{index + 1}.jpg", age, gender, RACES[index % len(RACES)], str(index % 2 == 0)))
    return rows


if __name__ == "__main__":
    main()
