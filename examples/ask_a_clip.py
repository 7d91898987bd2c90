"""Ask about a clip: a face followed through it, the whole clip in one question, its frames one by one, its region maps.

    python examples/ask_a_clip.py clip.mp4 runs/clip --model chaubeyG/FaceLLaVA --num-frames 8
    python examples/ask_a_clip.py clip.mp4 runs/clip --model runs/demo

Released Face-LLaVA has a video encoder with attention over time and wants a GPU; a model without one encodes frame by
frame. Video files need the extra ``video``.
"""

import argparse
from pathlib import Path

import numpy as np

import facekit
from facekit.faces import draw_clip_overlay
from facekit.models import Session, generate_batch

QUESTION = "Which expression is shown?"


def main() -> None:
    """Follow, ask, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip")
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="runs/demo")
    parser.add_argument("--num-frames", type=int, default=8)
    arguments = parser.parse_args()
    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)

    model, processor = facekit.load(arguments.model)
    clip = processor.image_processor.prepare_clip(arguments.clip, arguments.num_frames)
    draw_clip_overlay(clip).save(output / "overlay.png")

    (answer,) = facekit.ask(model, processor, clip, "Describe how the expression changes.")
    print(f"the clip: {answer}")

    # One session a frame, all of them answered in one batch.
    sessions = [Session.of_media(model, processor, [frame]) for frame in clip.frames]
    answers = generate_batch(model, processor, [session.request(QUESTION) for session in sessions])
    for index, frame, words in zip(clip.indices, clip.frames, answers, strict=True):
        print(f"frame {index}: {words}" if frame.landmarks is not None else f"frame {index}: no face; {words}")

    maps = facekit.region_maps(model, processor, clip)
    shares = maps.mean().mean(axis=(2, 3))  # (frames, 9): of all attention, what each region gets
    np.savetxt(output / "regions.csv", shares, delimiter=",", header=",".join(maps.regions), comments="", fmt="%.4f")
    for row in np.flatnonzero(np.isfinite(shares).all(axis=1)):
        maps.draw(int(row)).save(output / f"region-maps-{clip.indices[row]}.png")
    print(f"overlay, regions.csv and region maps: {output}")


if __name__ == "__main__":
    main()
