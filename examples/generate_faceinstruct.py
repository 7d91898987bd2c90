"""FaceInstruct's data: labelled datasets merged, every label explained by a model, every answer rated by a judge.

    export GEMINI_API_KEY=... OPENAI_API_KEY=...
    GEMINI=https://generativelanguage.googleapis.com/v1beta/openai
    python examples/generate_faceinstruct.py runs/faceinstruct rafdb:/data/RAF-DB celeba:/data/CelebA \
        disfa:/data/DISFA --annotator "openai:gemini-2.0-flash?base_url=$GEMINI&key_env=GEMINI_API_KEY" \
        --judge openai:gpt-4o-mini --max-cost 200

A dataset is ``name:folder`` (``facekit list datasets``) or a records file; faces are cropped beforehand by
``facekit preprocess``. Which labels a record has decides what is asked about it. The label is in the prompt and not in
the stored question, so that the student learns to find it. Another ``--threshold`` chooses anew and asks nobody again.
"""

import argparse
from pathlib import Path

from facekit.datagen import GenerationSettings, generate
from facekit.reports import ProgressDisplay


def main() -> None:
    """Merge, explain, rate, choose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("origins", nargs="+")
    parser.add_argument("--annotator", default="template")
    parser.add_argument("--judge")
    parser.add_argument("--threshold", type=float, default=7, help="lowest overall rating that is kept, of 10")
    parser.add_argument("--max-cost", type=float, help="dollars")
    arguments = parser.parse_args()

    settings = GenerationSettings(concurrency=64, threshold=arguments.threshold, max_cost=arguments.max_cost)
    with ProgressDisplay() as progress:
        result = generate(
            arguments.origins,
            arguments.output,
            "faceinstruct",
            annotator=arguments.annotator,
            judge=arguments.judge,
            settings=settings,
            on_progress=progress,
        )
    written = result.written
    print(f"{result.ending.value}: {written.kept} answers kept, {written.dropped} dropped, {written.failed} failed")
    for reason, count in written.reasons.items():
        print(f"  {count} {reason}")
    print(f"${result.cost:.2f} spent; {result.records}, {result.report}")


if __name__ == "__main__":
    main()
