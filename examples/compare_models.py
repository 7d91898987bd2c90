"""Evaluate several models on the same faces, say which differences are real, and rank them on one page.

    python examples/compare_models.py faces/test/records.jsonl runs/compared runs/facellm-1b \
        hf:Qwen/Qwen2.5-VL-3B-Instruct "openai:gpt-4o?concurrency=16" --limit 500

A model is a folder or hub id of facekit's, ``hf:ID`` for any vision-language model of transformers in its own class, or
``openai:MODEL`` behind an endpoint (``?base_url=http://localhost:8000/v1`` for a server of your own), which is paid by
the call: ``facekit eval ... --dry-run`` says how many there are. A run that was stopped goes on with the same command.
"""

import argparse
from pathlib import Path

import rich

from facekit.evaluation import (
    Run,
    compare_runs,
    comparison_table,
    evaluate_model,
    load_tasks,
    metric_table,
    open_model,
    write_leaderboard,
    write_report,
)
from facekit.reports import ProgressDisplay


def main() -> None:
    """Evaluate, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--tasks", nargs="+", default=["expression", "age"])
    parser.add_argument("--limit", type=int, help="faces of each task, a stratified sample")
    arguments = parser.parse_args()
    records, output, tasks = arguments.records, arguments.output, load_tasks(arguments.tasks)

    folders = {}
    for number, spec in enumerate(arguments.models, 1):
        model = open_model(spec)
        folder = folders[f"{number}. {model.name}"] = output / f"model-{number}"
        with ProgressDisplay() as progress:
            result = evaluate_model(
                model, records, tasks, limit=arguments.limit, output_dir=folder, resume=True, on_progress=progress
            )
        rich.print(metric_table(result))

    # Face by face: what two separate intervals hide. p-values by randomisation, and McNemar's where answers are labels.
    predictions = {name: folder / "predictions.jsonl" for name, folder in folders.items()}
    differences = compare_runs(records, predictions, tasks, limit=arguments.limit)
    rich.print(comparison_table(differences))
    runs = [Run.read(folder) for folder in folders.values()]
    print(write_report(output, records, runs, differences))
    print(write_leaderboard(output, list(folders.values())))


if __name__ == "__main__":
    main()
