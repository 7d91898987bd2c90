"""What landmarks bring: the demo's training with connector ``region`` beside ``mlp``, over several seeds.

Both connectors see the same faces, the same order of examples, the same encoder and the same number of steps; a seed
decides the weights, the order and the faces. Faces are drawn once per seed. Finished runs are kept in ``--work`` and
not repeated.

    python -m benchmarks.demo_connectors                     # three seeds, as the README reports
    python -m benchmarks.demo_connectors --untrained-encoder # an encoder that has seen nothing, trained along
    python -m benchmarks.demo_connectors --quick             # a minute, to see that it runs
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import facekit
from benchmarks.harness import RESULTS_FOLDER, environment
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.demo.settings import DemoSettings
from facekit.evaluation import EvaluationResult, evaluate
from facekit.reports import ProgressDisplay, under_stage
from facekit.training import TrainingSettings, train
from facekit.training.trainable.parts import count_parameters

CONNECTORS = ("region", "mlp")


@dataclass(frozen=True)
class Run:
    """One training and its evaluation.

    Args:
        connector: The connector's spec.
        seed: The seed.
        steps: Optimiser steps.
        parameters: Number of parameters of the connector.
        training_seconds: Time in training steps.
        final_loss: Smoothed training loss at the end.
        scores: Headline metric by task.
        baselines: The same of the constant answer.
    """

    connector: str
    seed: int
    steps: int
    parameters: int
    training_seconds: float
    final_loss: float
    scores: dict[str, float]
    baselines: dict[str, float]


def run_once(
    work: Path, settings: DemoSettings, training: TrainingSettings, progress: ProgressDisplay
) -> tuple[Run, EvaluationResult]:
    """Train and evaluate one connector with one seed."""
    name = f"{settings.connector} seed {settings.seed}"
    faces = {
        split: RecordSet.read(
            write_synthetic_dataset(
                work / f"faces-{settings.seed}" / split, count, seed=settings.seed, split=split,
                workers=os.cpu_count() or 1, on_progress=under_stage(progress, f"draw {split}, seed {settings.seed}"),
            )
        )
        for split, count in (("train", settings.train_faces), ("test", settings.test_faces))
    }  # fmt: skip
    model, processor = facekit.create(
        preset="facekit-tiny", encoder=settings.encoder, connector=settings.connector, backbone=settings.backbone,
        seed=settings.seed,
    )  # fmt: skip
    folder = work / f"{settings.connector}-{settings.seed}"
    result = train(
        model, processor, faces["train"], folder, training, resume=True, on_progress=under_stage(progress, name)
    )
    evaluation = evaluate(
        model, processor, faces["test"], training_records=faces["train"], output_dir=folder / "evaluation",
        batch_size=100, on_progress=under_stage(progress, f"evaluate {name}"),
    )  # fmt: skip
    return (
        Run(
            connector=settings.connector,
            seed=settings.seed,
            steps=result.steps,
            parameters=count_parameters(model)["connector"],
            training_seconds=result.seconds,
            final_loss=result.history.final_loss or float("nan"),
            scores={task.task: task.score for task in evaluation.tasks},
            baselines={task.task: task.baseline_score or 0.0 for task in evaluation.tasks},
        ),
        evaluation,
    )


def comparison_table(runs: list[Run], evaluation: EvaluationResult) -> Table:
    """Mean and range over the seeds, one row per task."""
    seeds = sorted({run.seed for run in runs})
    table = Table(title=f"mean over {len(seeds)} seeds (lowest to highest)", title_justify="left")
    for column in ("task", "metric", *CONNECTORS, "baseline"):
        table.add_column(column, justify="left" if column in ("task", "metric") else "right")
    for task in evaluation.tasks:
        digits = 3 if task.higher_is_better else 1
        cells = []
        for connector in CONNECTORS:
            values = [run.scores[task.task] for run in runs if run.connector == connector]
            spread = f"({min(values):.{digits}f} to {max(values):.{digits}f})"
            cells.append(f"{statistics.fmean(values):.{digits}f} {spread}")
        baseline = statistics.fmean(run.baselines[task.task] for run in runs)
        table.add_row(task.title, task.headline_title, *cells, f"{baseline:.{digits}f}")
    return table


def main() -> None:
    """Run the comparison, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=None)
    parser.add_argument("--untrained-encoder", action="store_true", help="start the encoder untrained and train it too")
    parser.add_argument("--quick", action="store_true", help="few faces, one seed")
    parser.add_argument("--work", type=Path, default=None, help="where faces and models are kept")
    parser.add_argument("--output", type=Path, default=None, help="the JSON file")
    arguments = parser.parse_args()

    base = DemoSettings()
    if arguments.quick:
        base = replace(base, train_faces=256, test_faces=64, epochs=2)
    if arguments.epochs:
        base = replace(base, epochs=arguments.epochs)
    if arguments.untrained_encoder:
        base = replace(base, encoder="tiny")
    name = "demo_connectors" + "_untrained_encoder" * arguments.untrained_encoder + "_quick" * arguments.quick
    work = arguments.work or Path("runs") / name
    seeds = 1 if arguments.quick else arguments.seeds
    facts = environment(torch.device("cpu"))
    started = time.time()
    runs = []
    with ProgressDisplay() as progress:
        for seed in range(seeds):
            for connector in CONNECTORS:
                settings = replace(base, connector=connector, seed=seed)
                training = settings.training
                if arguments.untrained_encoder:
                    parts = ("encoder", "connector", "language_model")
                    training = training.model_copy(update={"parts": parts, "cache_features": False})
                run, evaluation = run_once(work, settings, training, progress)
                runs.append(run)
    console = Console()
    console.print(comparison_table(runs, evaluation))
    output = arguments.output or RESULTS_FOLDER / f"{name}.json"
    output.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "environment": facts,
        "settings": asdict(base),
        "seconds": round(time.time() - started, 1),
        "runs": [asdict(run) for run in runs],
    }
    output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    console.print(f"written to {output}")


if __name__ == "__main__":
    main()
