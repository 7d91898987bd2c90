"""GRPO on two tasks of drawn faces, with the others watched: held-out scores before and after, over several seeds.

    python -m benchmarks.rewards --seeds 0 1 2

A tiny model is trained on the answers of a few drawn faces, then from rewards on two tasks about other faces, whose
labels are known and whose answers nobody wrote. All five tasks are measured before and after on faces of neither, by
greedy answers. A task has risen, or fallen, where its score after is outside the whole 95 % interval of before.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import facekit
from facekit.data.dataset import RecordSet
from facekit.data.synthetic import write_synthetic_dataset
from facekit.evaluation import evaluate, load_tasks
from facekit.training import TrainingSettings, train

TASKS = ("expression", "age", "action_units", "attributes", "manipulation")
RESULTS = Path(__file__).parent / "results" / "rewards.json"


def only(records: RecordSet, tasks: Sequence[str]) -> RecordSet:
    """Records with the questions of some tasks alone."""
    kept = [
        record.model_copy(update={"conversations": [turn for turn in record.conversations if turn.task in tasks]})
        for record in records.records
    ]
    return RecordSet([record for record in kept if record.conversations], records.folder)


def measure(model: Any, processor: Any, records: RecordSet) -> dict[str, dict[str, Any]]:
    """Headline, interval and direction of each task."""
    results = evaluate(model, processor, records, load_tasks(TASKS)).tasks
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


def run_seed(seed: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One start and one run of GRPO; returns scores and times."""
    faces = {"train": options.start_faces, "validation": options.reward_faces, "test": options.held_out}
    start, other, held_out = (
        RecordSet.read(write_synthetic_dataset(folder / split, count, seed=seed, split=split))
        for split, count in faces.items()
    )
    started = time.perf_counter()
    if options.start is not None:
        model, processor = facekit.load(options.start, device="cpu")
    else:
        model, processor = facekit.create(
            encoder="tiny?pretrained=synthetic-faces", connector="region", backbone="tiny?width=192&depth=3", seed=seed
        )
        supervised = TrainingSettings(epochs=options.start_epochs, batch_size=32, learning_rate=2e-3,
                                      cache_features=True, independent_turns=True, seed=seed)  # fmt: skip
        train(model, processor, start, folder / "supervised", supervised)
    before, supervised_seconds = measure(model, processor, held_out), time.perf_counter() - started
    print(f"seed {seed}: start after {supervised_seconds:.0f} s", scores_in_words(before), flush=True)
    started = time.perf_counter()
    rewarded = TrainingSettings(
        steps=options.steps, batch_size=options.answers, learning_rate=options.rate, schedule="constant", seed=seed,
        log_every=1, save_every=options.steps,
        grpo={"generations": 8, "longest_answer": 24, "beta": options.beta, "iterations": options.iterations},
    )  # fmt: skip
    train(model, processor, only(other, options.tasks), folder / "rewarded", rewarded)
    seconds = time.perf_counter() - started
    after = measure(model, processor, held_out)
    checkpoint = folder / "rewarded" / "training" / f"checkpoint-{options.steps}" / "trainer_state.json"
    log = json.loads(checkpoint.read_text(encoding="utf-8"))["log_history"]
    rewards = [entry["reward"] for entry in log if "reward" in entry]
    verdicts = {task: verdict(before[task], after[task]) for task in TASKS}
    print(f"seed {seed}: after {seconds:.0f} s", scores_in_words(after), verdicts, flush=True)
    return {"seed": seed, "before": before, "after": after, "verdicts": verdicts, "rewards": rewards,
            "seconds": {"supervised": supervised_seconds, "rewarded": seconds}}  # fmt: skip


def scores_in_words(scores: dict[str, dict[str, Any]]) -> str:
    """One line of scores with their intervals."""
    return ", ".join(f"{name} {each['score']:.3f} [{each['interval'][0]:.3f}, {each['interval'][1]:.3f}]"
                     for name, each in scores.items())  # fmt: skip


def main() -> None:
    """Run the seeds and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=["expression", "age"])
    parser.add_argument("--start", help="A trained model to start from, such as the demo's, instead of training one.")
    parser.add_argument("--start-faces", type=int, default=400)
    parser.add_argument("--start-epochs", type=float, default=6)
    parser.add_argument("--reward-faces", type=int, default=800)
    parser.add_argument("--held-out", type=int, default=300)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--beta", type=float, default=0.02)
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    results = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            results.append(run_seed(seed, options, Path(folder)))
        settings = {name: value for name, value in vars(options).items() if name != "output"}
        options.output.write_text(
            json.dumps({"settings": settings, "seeds": results}, indent=1) + "\n", encoding="utf-8"
        )


if __name__ == "__main__":
    main()
