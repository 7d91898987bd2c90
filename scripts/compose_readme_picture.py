"""Compose the README's picture: drawn faces of a demo run and the photograph, with landmarks and regions.

python scripts/compose_readme_picture.py runs/demo docs/images/demo.jpg
"""

import sys
from pathlib import Path

from PIL import Image
from skimage.data import astronaut

from facekit.data.dataset import RecordSet
from facekit.faces import draw_overlay, open_image, prepare_face
from facekit.faces.dlib_landmarker import DlibLandmarker

SIDE, GAP, COLUMNS = 256, 8, 3

folder, output = Path(sys.argv[1]), Path(sys.argv[2])
faces = RecordSet.read(folder / "data" / "test" / "records.jsonl")
tiles = []
for record in faces.records[: 2 * COLUMNS]:
    face = open_image(record.image_path(faces.folder))
    tiles.append(draw_overlay(face, record.landmark_array(faces.folder), size=SIDE, legend=False))
photograph = prepare_face(astronaut(), DlibLandmarker.from_spec(None))
height = 2 * SIDE + GAP
large = draw_overlay(photograph.image, photograph.landmarks, size=height, legend=False)
canvas = Image.new("RGB", (COLUMNS * (SIDE + GAP) + height, height), "white")
for place, tile in enumerate(tiles):
    canvas.paste(tile, (place % COLUMNS * (SIDE + GAP), place // COLUMNS * (SIDE + GAP)))
canvas.paste(large, (COLUMNS * (SIDE + GAP), 0))
output.parent.mkdir(parents=True, exist_ok=True)
canvas.save(output, quality=90, optimize=True)
