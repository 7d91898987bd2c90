"""Compose the pictures of the README and the site from a demo run and the photograph of scikit-image.

    python scripts/compose_readme_picture.py runs/demo docs/images

writes ``demo.jpg``, drawn faces and the photograph with their landmarks and regions, and ``region-maps.jpg``, how much
the patches of the photograph attend to each of its nine regions in the demo's model.
"""

import sys
from pathlib import Path

from PIL import Image
from skimage.data import astronaut

import facekit
from facekit.catalog import DEFAULT_LANDMARKER
from facekit.data.dataset import RecordSet
from facekit.faces import CroppedFace, draw_overlay, load_landmarker, open_image, prepare_face

SIDE, GAP, COLUMNS = 256, 8, 3
PANEL = 136


def compose_faces(folder: Path, photograph: CroppedFace) -> Image.Image:
    """Six drawn faces of the run's test set beside the photograph."""
    faces = RecordSet.read(folder / "data" / "test" / "records.jsonl")
    height = 2 * SIDE + GAP
    canvas = Image.new("RGB", (COLUMNS * (SIDE + GAP) + height, height), "white")
    for place, record in enumerate(faces.records[: 2 * COLUMNS]):
        face = open_image(record.image_path(faces.folder))
        tile = draw_overlay(face, record.landmark_array(faces.folder), size=SIDE, legend=False)
        canvas.paste(tile, (place % COLUMNS * (SIDE + GAP), place // COLUMNS * (SIDE + GAP)))
    large = draw_overlay(photograph.image, photograph.landmarks, size=height, legend=False)
    canvas.paste(large, (COLUMNS * (SIDE + GAP), 0))
    return canvas


def compose_maps(folder: Path) -> Image.Image:
    """The photograph with its regions beside the nine maps of the run's model."""
    model, processor = facekit.load(folder, device="cpu")
    maps = facekit.region_maps(model, processor, Image.fromarray(astronaut()))
    (face,), drawn = maps.faces, maps.draw(panel=PANEL)
    overlay = draw_overlay(face.image, face.landmarks, size=drawn.height - 2 * GAP, legend=False)
    canvas = Image.new("RGB", (overlay.width + 2 * GAP + drawn.width, drawn.height), "white")
    canvas.paste(overlay, (GAP, GAP))
    canvas.paste(drawn, (overlay.width + 2 * GAP, 0))
    return canvas


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python scripts/compose_readme_picture.py RUN FOLDER")
    run, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    portrait = prepare_face(astronaut(), load_landmarker(DEFAULT_LANDMARKER))
    compose_faces(run, portrait).save(output / "demo.jpg", quality=90, optimize=True)
    compose_maps(run).save(output / "region-maps.jpg", quality=88, subsampling=0, optimize=True)
