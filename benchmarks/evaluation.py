"""Forty attribute questions about one picture: together, sharing one reading of it, against one at a time.

Both ways ask the same questions of the same model and must give the same answers; the picture is encoded once in
either. ``one at a time`` reads picture and question anew for each; ``together`` reads the picture once and the
questions in a batch from its keys and values. The default model has a language model of 4 layers and width 384 behind
196 visual tokens; its weights are random, which costs as much as trained ones.

    python -m benchmarks.evaluation                 # three pictures, a few minutes on two cores
    python -m benchmarks.evaluation --quick         # a small model, to see that it runs
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import facekit
from benchmarks.harness import RESULTS_FOLDER, environment
from facekit.data.dataset import RecordSet
from facekit.data.labels import CELEBA_ATTRIBUTES
from facekit.data.synthetic import write_synthetic_dataset
from facekit.evaluation import ATTRIBUTE_QUESTIONS, FaceKitModel, Question

FULL = {"encoder": "tiny?image_size=224&width=128&depth=4", "backbone": "tiny?width=384&depth=4&heads=6"}
QUICK = {"encoder": "tiny?image_size=64&width=32&depth=1", "backbone": "tiny?width=48&depth=2&heads=2"}


def ask_attributes(records: RecordSet, max_new_tokens: int) -> list[Question]:
    """All forty questions about every picture."""
    texts = ATTRIBUTE_QUESTIONS.questions(dict.fromkeys(CELEBA_ATTRIBUTES, True))
    return [
        Question(f"{face.id}/{name}", text, record=face, folder=records.folder, max_new_tokens=max_new_tokens)
        for face in records.records
        for name, text in texts.items()
    ]


def time_answers(model: FaceKitModel, questions: list[Question], *, together: bool) -> tuple[float, list[str]]:
    """Seconds and answers, all questions in one call or a call for each."""
    started = time.perf_counter()
    if together:
        found = dict(model.answer(questions))
        answers = [found[place] for place in range(len(questions))]
    else:
        answers = [next(model.answer([question]))[1] for question in questions]
    return time.perf_counter() - started, answers


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=4, help="an answer of yes or no takes no more")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    parts = QUICK if arguments.quick else FULL
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = environment(device)
    model, processor = facekit.create(**parts, connector="region", seed=0)
    under_test = FaceKitModel(model.to(device), processor)
    with tempfile.TemporaryDirectory() as folder:
        size = processor.image_processor.image_size
        path = write_synthetic_dataset(Path(folder) / "faces", arguments.pictures, seed=0, image_size=size)
        records = RecordSet.read(path)
        questions = ask_attributes(records, arguments.max_new_tokens)
        time_answers(under_test, questions[:40], together=True)
        time_answers(under_test, questions[:2], together=False)
        rounds = []
        for face in range(arguments.pictures):
            asked = questions[40 * face : 40 * (face + 1)]
            alone, answers = time_answers(under_test, asked, together=False)
            shared, same = time_answers(under_test, asked, together=True)
            rounds.append(
                {
                    "one_at_a_time": alone,
                    "together": shared,
                    "ratio": alone / shared,
                    "equal_answers": sum(left == right for left, right in zip(answers, same, strict=True)),
                }
            )
    table = Table(title=f"40 questions a picture, {model.tokens_per_frame} visual tokens, {facts['device']}")
    for name in ("picture", "one at a time, s", "together, s", "times faster", "equal answers"):
        table.add_column(name, justify="right")
    for number, row in enumerate(rounds, 1):
        table.add_row(
            str(number), f"{row['one_at_a_time']:.2f}", f"{row['together']:.2f}", f"{row['ratio']:.1f}",
            f"{row['equal_answers']} of 40",
        )  # fmt: skip
    Console().print(table)
    if not arguments.quick:
        RESULTS_FOLDER.mkdir(parents=True, exist_ok=True)
        document = {"environment": facts, "model": parts, "visual_tokens": model.tokens_per_frame, "rounds": rounds}
        (RESULTS_FOLDER / "evaluation.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
