"""FaceXBench in all three of its settings, by the published rule and a strict one, with a page that ranks models.

    python examples/run_facexbench.py FaceXBench/benchmark runs/facexbench runs/facellm-1b hf:OpenGVLab/InternVL3-1B-hf

The first argument is the benchmark as its authors ship it (5,000 questions). Answers are kept as they come: a run that
was stopped goes on, and a model that is added later is the only one that is asked.
"""

import argparse
from pathlib import Path

import rich

from facekit.evaluation import open_model, run_benchmark, write_leaderboard
from facekit.reports import ProgressDisplay

SETTINGS = ("zero-shot", "in-context", "chain-of-thought")


def main() -> None:
    """Ask every model in every setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--limit", type=int, help="questions of each setting, a sample; tables say so")
    arguments = parser.parse_args()

    folders = []
    for number, spec in enumerate(arguments.models, 1):
        model = open_model(spec)
        for setting in SETTINGS:
            folders.append(arguments.output / f"model-{number}" / setting)
            with ProgressDisplay() as progress:
                outcome = run_benchmark(
                    model,
                    "facexbench",
                    arguments.root,
                    setting=setting,
                    limit=arguments.limit,
                    output_dir=folders[-1],
                    on_progress=progress,
                )
            for table in outcome.tables:
                rich.print(table)
    print(write_leaderboard(arguments.output, folders))


if __name__ == "__main__":
    main()
