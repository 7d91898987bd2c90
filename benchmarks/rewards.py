"""GRPO on two tasks of drawn faces, with the others watched: held-out scores before and after, over several seeds.

    OMP_NUM_THREADS=1 python -m benchmarks.rewards --seeds 3 4 5 --processes 2

A tiny model is trained on the answers of a few drawn faces, then from rewards on two tasks about other faces, whose
labels are known and whose answers nobody wrote. All five tasks are measured before and after on faces of neither, by
greedy answers. A task has risen, or fallen, where its score after is outside the whole 95 % interval of before.

The start is asked what evaluation asks, and answers by the label alone, so that a reward is for the choice itself and
for no wording around it. Of the two tasks it sees the answers about some faces only (``--answered``), of the others
those about all of them: what it lacks is what rewards are to teach.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import facekit
from benchmarks.harness import environment, results_path
from facekit.data.dataset import RecordSet
from facekit.data.records import FaceRecord, Turn
from facekit.data.synthetic import write_synthetic_dataset
from facekit.data.templates import canonical_question, label_words
from facekit.evaluation import FaceKitModel, Statistics, evaluate_model, load_tasks
from facekit.training import TrainingSettings, train

TASKS = ("expression", "age", "action_units", "attributes", "manipulation")
ANSWER_TOKENS = 32


def ask_alone(
    records: RecordSet, tasks: Sequence[str], answered: int | None = None, few: Sequence[str] = ()
) -> RecordSet:
    """Records with evaluation's question of every task, answered by the label alone.

    Args:
        records: Drawn faces.
        tasks: What to ask.
        answered: Records that are asked about the tasks of ``few``; None for all.
        few: Tasks that only the first records are asked about.
    """
    kept = []
    for index, record in enumerate(records.records):
        asked = [task for task in tasks if answered is None or index < answered or task not in few]
        turns = [turn for task in asked for turn in _exchange(task, record)]
        if turns:
            kept.append(record.model_copy(update={"conversations": turns}))
    return RecordSet(kept, records.folder)


def _exchange(task: str, record: FaceRecord) -> tuple[Turn, Turn]:
    unit = " years" if task == "age" else ""
    return (
        Turn(role="user", content=canonical_question(task), task=task),
        Turn(role="assistant", content=label_words(task, record.labels) + unit, task=task),
    )


def measure(model: Any, processor: Any, records: RecordSet) -> dict[str, dict[str, Any]]:
    """Headline, interval and direction of each task."""
    results = evaluate_model(
        FaceKitModel(model, processor), records, load_tasks(TASKS), max_new_tokens=ANSWER_TOKENS,
        statistics=Statistics(permutations=0),
    ).tasks  # fmt: skip
    return {
        task.task: {
            "metric": task.headline, "score": task.score, "interval": list(task.intervals[task.headline]),
            "higher_is_better": task.higher_is_better,
        }
        for task in results
    }  # fmt: skip


def verdict(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Whether a score is outside the interval of before: ``rose``, ``fell`` or ``within``."""
    low, high = before["interval"]
    if low <= after["score"] <= high:
        return "within"
    return "rose" if (after["score"] > high) == before["higher_is_better"] else "fell"


def run_seed(seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One start and one run of GRPO; returns scores and times."""
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), Clock()
        faces = {"train": options.start_faces, "validation": options.reward_faces, "test": options.held_out}
        start, other, held_out = (
            RecordSet.read(write_synthetic_dataset(folder / split, count, seed=seed, split=split))
            for split, count in faces.items()
        )
        clock.lap("drawing")
        model, processor = facekit.create(
            encoder="tiny?pretrained=synthetic-faces", connector="region", backbone=options.backbone, seed=seed
        )
        start = ask_alone(start, TASKS, options.answered, options.tasks)
        train(model, processor, start, folder / "supervised", supervised_settings(seed, options))
        clock.lap("supervised")
        before = measure(model, processor, held_out)
        clock.lap("measured_before")
        print(f"seed {seed}: start", scores_in_words(before), flush=True)
        settings = rewarded_settings(seed, options)
        train(model, processor, ask_alone(other, options.tasks), folder / "rewarded", settings)
        clock.lap("rewarded")
        after = measure(model, processor, held_out)
        clock.lap("measured_after")
        curves = read_curves(folder / "rewarded" / "training" / f"checkpoint-{options.steps}" / "trainer_state.json")
    verdicts = {task: verdict(before[task], after[task]) for task in TASKS}
    print(f"seed {seed}: after", scores_in_words(after), verdicts, clock.processor, flush=True)
    return {"seed": seed, "before": before, "after": after, "verdicts": verdicts, "curves": curves,
            "processor_seconds": clock.processor, "seconds": clock.wall}  # fmt: skip


def supervised_settings(seed: int, options: argparse.Namespace) -> TrainingSettings:
    """Of the start."""
    return TrainingSettings(
        epochs=options.start_epochs, batch_size=16, learning_rate=options.start_rate, cache_features=True,
        independent_turns=True, workers=0, seed=seed,
    )  # fmt: skip


def rewarded_settings(seed: int, options: argparse.Namespace) -> TrainingSettings:
    """Of GRPO."""
    return TrainingSettings(
        steps=options.steps, batch_size=options.answers, learning_rate=options.rate, schedule=options.schedule,
        log_every=1, save_every=options.steps, workers=0, seed=seed,
        grpo={"generations": options.generations, "longest_answer": ANSWER_TOKENS, "beta": options.beta,
              "iterations": options.iterations, "temperature": options.temperature},
    )  # fmt: skip


class Clock:
    """Seconds of wall and of processor, in laps.

    Attributes:
        wall: Lap to seconds.
        processor: Lap to seconds of all threads of this process.
    """

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.processor: dict[str, float] = {}
        self._last = (time.perf_counter(), time.process_time())

    def lap(self, name: str) -> None:
        """End a lap."""
        now = (time.perf_counter(), time.process_time())
        self.wall[name], self.processor[name] = (round(new - old, 2) for new, old in zip(now, self._last, strict=True))
        self._last = now


def read_curves(state: Path) -> dict[str, list[float]]:
    """Mean reward of each step, and the share of groups whose answers were all rewarded alike."""
    log = [each for each in json.loads(state.read_text(encoding="utf-8"))["log_history"] if "reward" in each]
    return {
        "reward": [round(each["reward"], 4) for each in log],
        "groups_alike": [round(each["frac_reward_zero_std"], 4) for each in log],
    }


def scores_in_words(scores: dict[str, dict[str, Any]]) -> str:
    """One line of scores with their intervals."""
    return ", ".join(f"{name} {each['score']:.3f} [{each['interval'][0]:.3f}, {each['interval'][1]:.3f}]"
                     for name, each in scores.items())  # fmt: skip


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--processes", type=int, default=1, help="Seeds at a time.")
    parser.add_argument("--tasks", nargs="+", default=["age", "attributes"])
    parser.add_argument("--backbone", default="tiny?width=128&depth=2&heads=4")
    parser.add_argument("--start-faces", type=int, default=800)
    parser.add_argument("--answered", type=int, default=250)
    parser.add_argument("--start-epochs", type=float, default=6)
    parser.add_argument("--start-rate", type=float, default=3e-3)
    parser.add_argument("--reward-faces", type=int, default=700)
    parser.add_argument("--held-out", type=int, default=400)
    parser.add_argument("--steps", type=int, default=70)
    parser.add_argument("--answers", type=int, default=128)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--schedule", default="cosine")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--beta", type=float, default=0.0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--join", type=Path, nargs="+", help="Put results of single seeds together; runs nothing.")
    return parser.parse_args(arguments)


def join(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Put the results of runs of other seeds with the same settings together.

    Raises:
        ValueError: Settings differ in more than the seeds.
    """
    settings = [{**document["settings"], "seeds": None} for document in documents]
    if any(each != settings[0] for each in settings):
        raise ValueError("these results are of different settings; join those that differ in their seeds alone")
    seeds = [seed for document in documents for seed in document["seeds"]]
    return {
        "environment": documents[0]["environment"],
        "settings": {**settings[0], "seeds": [seed["seed"] for seed in seeds]},
        "seeds": seeds,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the seeds and write the results."""
    options = parse(arguments)
    device = torch.device("cpu")
    output = options.output or results_path("rewards", device, "json")

    def write(document: dict[str, Any]) -> None:
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    if options.join:
        write(join([json.loads(path.read_text(encoding="utf-8")) for path in options.join]))
        return
    facts = environment(device) | {"trl": version("trl")}
    settings = {name: value for name, value in vars(options).items() if name not in ("output", "join")}
    results: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for result in pool.map(partial(run_seed, options=options), options.seeds):
            results.append(result)
            write({"environment": facts, "settings": settings, "seeds": results})


if __name__ == "__main__":
    main()
