"""Forty questions about one image: forty calls against one, with and without the common beginning read once.

The model is the demo's, with random weights: what it says is nonsense, but it takes as long as sense. The answers of
all ways are compared, because greedy answers must be the same.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

import facekit
from benchmarks.harness import Stopwatch, environment, measure_ceilings, results_path, write_results
from facekit.demo.settings import DemoSettings
from facekit.models.image_processing import take_as_cropped

ATTRIBUTES = (
    "a five o'clock shadow", "arched eyebrows", "bags under the eyes", "bangs", "big lips", "a big nose", "black hair",
    "blond hair", "brown hair", "bushy eyebrows", "a double chin", "glasses", "a goatee", "grey hair", "heavy make-up",
    "high cheekbones", "an open mouth", "a moustache", "narrow eyes", "no beard", "an oval face", "pale skin",
    "a pointy nose", "a receding hairline", "rosy cheeks", "sideburns", "a smile", "straight hair", "wavy hair",
    "earrings", "a hat", "lipstick", "a necklace", "a necktie", "a young face", "a bald head", "a blurry picture",
    "a chubby face", "an attractive face", "a male face",
)  # fmt: skip


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ask", description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=len(ATTRIBUTES))
    parser.add_argument("--tokens", type=int, default=24, help="of every answer")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=30.0, help="of timing; three rounds at least")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/ask-DEVICE.json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = parse_arguments(arguments)
    device = torch.device(options.device)
    settings = DemoSettings()
    model, processor = facekit.create(
        encoder="tiny", connector=settings.connector, backbone=settings.backbone, seed=0, device=device
    )
    generator = np.random.default_rng(0)
    picture = Image.fromarray(generator.integers(0, 256, (256, 256, 3), dtype=np.uint8))
    face = take_as_cropped(picture, generator.uniform(0.2, 0.8, (68, 2)).astype(np.float32))
    questions = [f"Does the person have {attribute}?" for attribute in ATTRIBUTES[: options.questions]]
    length = {"max_new_tokens": options.tokens, "min_new_tokens": options.tokens}
    ways = {
        "one call, common beginning read once": lambda: facekit.ask(model, processor, face, questions, **length),
        "one call, every prompt read whole": lambda: _ask_whole(model, processor, face, questions, length),
        f"{len(questions)} calls": lambda: [
            facekit.ask(model, processor, face, question, **length)[0] for question in questions
        ],
    }
    answers = {name: call() for name, call in ways.items()}
    if len({tuple(each) for each in answers.values()}) > 1:
        raise SystemExit("the ways do not give the same answers")
    timings = Stopwatch(device).time_in_turns(ways, options.seconds)
    slowest = timings[f"{len(questions)} calls"].median
    table = Table(title=f"{len(questions)} questions about one image, {options.tokens} tokens an answer")
    for column in ("way", "seconds", "questions/s", "faster than calls by"):
        table.add_column(column, justify="left" if column == "way" else "right")
    rows = []
    for name, timing in timings.items():
        rate = len(questions) / timing.median
        table.add_row(name, f"{timing.median:.3f}", f"{rate:.1f}", f"{slowest / timing.median:.2f}")
        rows.append({"way": name, "questions_per_second": rate, "speed_up": slowest / timing.median,
                     "questions": len(questions), "tokens": options.tokens, "timing": asdict(timing)})  # fmt: skip
    Console(width=120).print(table)
    path = options.output or results_path("ask", device, "json")
    write_results(path, environment(device), measure_ceilings(device, torch.float32), rows)


def _ask_whole(model, processor, face, questions, length) -> list[str]:
    """What ``ask`` did before it shared a beginning: encode once, read every prompt from its first token."""
    chats = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}] for question in questions
    ]
    prompts = processor.apply_chat_template(chats, add_generation_prompt=True)
    with torch.inference_mode():
        features = model.get_image_features(**processor.image_processor.convert([face]).to(model.device))
        text = processor.tokenize(prompts, padding=True, padding_side="left", return_tensors="pt").to(model.device)
        tokens = model.generate(**text, image_features=features.expand(len(prompts), -1, -1), do_sample=False, **length)
    answers = processor.batch_decode(tokens[:, text["input_ids"].shape[1] :], skip_special_tokens=True)
    return [answer.strip() for answer in answers]


if __name__ == "__main__":
    main()
