"""FairFaceGPT's data: faces found and cropped, then eight aspects of each described by a model that sees.

    export OPENAI_API_KEY=...
    python examples/generate_fairfacegpt.py fairface:/data/FairFace runs/fairfacegpt \
        --annotator openai:gpt-4o-2024-11-20 --max-cost 50

Any OpenAI-compatible server will do: ``--annotator "openai:MODEL?base_url=http://localhost:8000/v1"``; ``template``
writes from the labels alone, offline. Every step may be stopped and goes on with the same command; the budget counts
all runs in the folder. runs/fairfacegpt/records.jsonl is what examples/train_facellm.py trains on.
"""

import argparse
import os
from pathlib import Path

from facekit.data.preprocessing import PreprocessSettings, preprocess
from facekit.datagen import GenerationSettings, dry_run, generate
from facekit.reports import ProgressDisplay


def main() -> None:
    """Crop, estimate the cost, describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("origin")
    parser.add_argument("output", type=Path)
    parser.add_argument("--annotator", default="template")
    parser.add_argument("--max-cost", type=float, help="dollars")
    parser.add_argument("--on-no-face", choices=("skip", "whole-image"), default="skip")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()

    shards = arguments.output / "shards"
    cropping = PreprocessSettings(size=448, on_no_face=arguments.on_no_face)  # InternVL3 sees 448 pixels
    with ProgressDisplay() as progress:
        cropped = preprocess(arguments.origin, shards, cropping, workers=arguments.workers, on_progress=progress)
    print(f"faces: {cropped.records} of {cropped.inputs} pictures; without one: {cropped.failed}, see {shards}")

    settings = GenerationSettings(concurrency=64, max_cost=arguments.max_cost, formats=("llava",))
    preview = dry_run(shards, arguments.output, "fairfacegpt", arguments.annotator, settings)
    cost = "unknown" if preview.highest_cost is None else f"${preview.lowest_cost:.2f} to ${preview.highest_cost:.2f}"
    print(f"{preview.total} calls are to be made, estimated cost {cost}")

    with ProgressDisplay() as progress:
        result = generate(
            shards,
            arguments.output,
            "fairfacegpt",
            annotator=arguments.annotator,
            settings=settings,
            on_progress=progress,
        )
    written = result.written
    print(f"{written.kept} answers about {written.records} faces, {written.dropped} dropped; ${result.cost:.2f} spent")
    for path in (result.records, result.report, result.card, *result.exports.values()):
        print(path)


if __name__ == "__main__":
    main()
