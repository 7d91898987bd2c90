"""Training with a shared prefix against the usual ways: samples and tokens per second, peak memory, MFU.

Ways to make one optimiser step on the same questions with the same model and the same loss, which is checked:

- ``padded``: one question per sample, the image repeated for each, batches padded to the longest;
- ``packed``: the same samples one after the other in rows, kept apart by transformers' own packing mask;
- ``shared``: facekit's: the questions of an image after one copy of its tokens, logits where there are labels;
- ``trl``: ``SFTTrainer`` of TRL on the samples of ``padded``, where it is installed (``pip install trl``); see
  ``benchmarks.training_trl``.

Two loads: ``face`` is FairFaceGPT-shaped (256 image tokens, 8 questions, answers of 60 to 180 tokens), ``video`` is
Face-LLaVA's clip (8 frames of 257 tokens, 4 questions). Weights and tokens are random: neither changes the time. The
encoder is frozen, the connector and the language model learn. Steps are timed without the trainer around them, whose
loop is the same for all.
"""

from __future__ import annotations

import argparse
import ctypes
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.harness import (
    MEBIBYTE,
    Ceilings,
    Stopwatch,
    environment,
    measure_ceilings,
    peak_memory,
    results_path,
    write_results,
)
from benchmarks.training_trl import build_trl_step, trl_version
from facekit.connectors.mlp import MlpConnector
from facekit.data.collation import FaceCollator
from facekit.data.dataset import FaceExample
from facekit.data.packing import SHARED, pack_sequences
from facekit.data.supervision import IGNORED, SupervisedTokens
from facekit.encoders.tiny import TinyEncoder
from facekit.models.configuration import FaceKitConfig
from facekit.models.modeling import FaceKitForConditionalGeneration
from facekit.training.loop.losses import find_targets, supervised_loss
from facekit.training.loop.prefix_attention import packed_inputs, split_attention

IMAGE_TOKEN, PAD_TOKEN, FIRST_WORD = 1, 0, 2
PATCH = 16
WAYS = ("shared", "packed", "padded", "trl")


@dataclass(frozen=True)
class Load:
    """What is asked about each image.

    Attributes:
        frames: of the clip; 1 for an image.
        questions: per image.
        images: per step.
        row_tokens: longest row of the packed way.
        system: tokens before the image.
        question: fewest and most tokens of a question with what the chat template writes around it.
        answer: fewest and most tokens of an answer.
    """

    frames: int
    questions: int
    images: int
    row_tokens: int
    system: int = 20
    question: tuple[int, int] = (15, 35)
    answer: tuple[int, int] = (60, 180)


@dataclass(frozen=True)
class Shape:
    """A language model, and an encoder of ``side x side`` patches.

    Attributes:
        width: of the language model.
        depth: its layers.
        heads: its attention heads.
        key_heads: its key and value heads.
        hidden: width of its MLP.
        vocabulary: its entries.
        encoder_width: of the encoder.
        encoder_depth: its layers.
        side: patches of a frame along a side.
    """

    width: int
    depth: int
    heads: int
    key_heads: int
    hidden: int
    vocabulary: int
    encoder_width: int
    encoder_depth: int
    side: int = 16


LOADS = {"face": Load(1, 8, 2, 1024), "video": Load(8, 4, 1, 4608)}
GPU_IMAGES = {"face": 8, "video": 2}
GPU_ROW_TOKENS = {"face": 4096, "video": 9216}
SHAPES = {
    "smoke": Shape(64, 1, 2, 1, 96, 128, 32, 1, side=4),
    "small": Shape(256, 4, 4, 2, 768, 4096, 128, 2),
    "1b": Shape(2048, 16, 32, 8, 8192, 128256, 1024, 24),
}


def build_model(shape: Shape, load: Load, attention: str, device: torch.device) -> FaceKitForConditionalGeneration:
    """A composed model with random weights, its encoder frozen; clips keep the class token of every frame."""
    torch.manual_seed(0)
    encoder = TinyEncoder(image_size=shape.side * PATCH, width=shape.encoder_width, depth=shape.encoder_depth)
    connector = MlpConnector(shape.encoder_width, shape.width, keep_prefix_tokens=load.frames > 1)
    text = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.hidden,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        pad_token_id=PAD_TOKEN,
    )
    config = FaceKitConfig(
        encoder={"name": "tiny", **encoder.to_config()},
        connector={"name": "mlp", **connector.to_config()},
        text_config=text,
        image_token_id=IMAGE_TOKEN,
    )
    with device:
        language_model = LlamaForCausalLM(text)
    language_model.set_attn_implementation(attention)
    model = FaceKitForConditionalGeneration(
        config, encoder=encoder, connector=connector, language_model=language_model
    ).to(device, torch.bfloat16 if device.type == "cuda" else torch.float32)
    model.encoder.requires_grad_(False)
    return model.train()


def draw_examples(load: Load, shape: Shape, visual_tokens: int) -> tuple[list[FaceExample], list[FaceExample]]:
    """The questions of a step: per image in one example, and each in an example of its own."""
    generator = random.Random(0)
    shared, apart = [], []
    for index in range(load.images):
        pixels = torch.randn(load.frames, 3, shape.side * PATCH, shape.side * PATCH)
        points = torch.full((load.frames, 68, 2), 0.5)
        beginning = [*_words(generator, shape, (load.system, load.system)), *[IMAGE_TOKEN] * visual_tokens]
        sequences = []
        for _ in range(load.questions):
            question, answer = (_words(generator, shape, length) for length in (load.question, load.answer))
            ids = [*beginning, *question, *answer]
            sequences.append(SupervisedTokens(ids, [IGNORED] * (len(ids) - len(answer)) + answer))
        packed = pack_sequences(sequences, len(beginning))
        columns = {name: torch.tensor(column) for name, column in vars(packed).items()}
        shared.append(FaceExample(index, pixels, points, **columns))
        apart += [
            FaceExample(index, pixels, points, torch.tensor(each.input_ids), torch.tensor(each.labels))
            for each in sequences
        ]
    return shared, apart


def _words(generator: random.Random, shape: Shape, length: tuple[int, int]) -> list[int]:
    return [generator.randrange(FIRST_WORD, shape.vocabulary) for _ in range(generator.randint(*length))]


@dataclass
class Way:
    """One way to train.

    Attributes:
        name: of ``WAYS``.
        batch: its tensors.
        loss: computes the loss of the batch.
        tokens: that pass through the language model, padding left out.
        pairs: of tokens that see each other.
        logits: positions whose logits are computed.
        labelled: tokens that the loss covers.
        pictures: frames that are encoded.
        run: forward and backward, where that is more than ``loss().backward()``.
    """

    name: str
    batch: dict[str, Tensor]
    loss: Callable[[], Tensor]
    tokens: int
    pairs: int
    logits: int
    labelled: int
    pictures: int
    run: Callable[[], object] | None = None

    def go(self) -> None:
        """Compute the gradients."""
        if self.run is None:
            self.loss().backward()
        else:
            self.run()


def build_ways(model: FaceKitForConditionalGeneration, load: Load, shape: Shape, attention: str) -> Iterator[Way]:
    """The ways on one model, from the one that needs the least memory on."""
    visual_tokens = model.tokens_per_frame * load.frames
    shared, apart = draw_examples(load, shape, visual_tokens)
    lengths = [len(example.input_ids) for example in apart]
    causal = sum(length * (length + 1) // 2 for length in lengths)
    multiple = 128 if attention == "flex_attention" else 1

    batch = _to(FaceCollator(PAD_TOKEN, multiple=multiple)(shared), model)
    segments, labels = batch.pop("segments"), batch.pop("labels")
    targets = find_targets(labels, segments)

    def shared_loss() -> Tensor:
        with split_attention(model.language_model):
            told = packed_inputs(segments, batch["position_ids"], model.config.get_text_config(), dtype=model.dtype)
            return supervised_loss(model, model.get_output_embeddings(), {**batch, **told}, targets)

    tokens = sum(len(example.input_ids) for example in shared)
    beginnings = [int((example.segments == SHARED).sum()) for example in shared if example.segments is not None]
    repeated = sum(length * (length + 1) // 2 for length in beginnings)
    pairs = causal - (load.questions - 1) * repeated
    labelled = len(targets.labels)
    yield Way("shared", batch, shared_loss, tokens, pairs, labelled, labelled, load.images * load.frames)

    packed = _to(FaceCollator(PAD_TOKEN, multiple=multiple, row_tokens=load.row_tokens)(apart), model)
    packed.pop("segments")
    pictures = len(apart) * load.frames

    def packed_loss() -> Tensor:
        return model(**packed, use_cache=False).loss

    logits = packed["labels"].numel()
    yield Way("packed", packed, packed_loss, sum(lengths), causal, logits, _count_labels(packed), pictures)

    padded = _to(FaceCollator(PAD_TOKEN)(apart), model)

    def padded_loss() -> Tensor:
        return model(**padded, use_cache=False).loss

    logits = padded["labels"].numel()
    yield Way("padded", padded, padded_loss, sum(lengths), causal, logits, _count_labels(padded), pictures)

    if trl_version() is not None:
        trl = build_trl_step(model, apart, PAD_TOKEN)
        logits = trl.labelled if model.device.type == "cuda" else logits  # elsewhere TRL scores every position
        yield Way("trl", trl.batch, trl.loss, sum(lengths), causal, logits, trl.labelled, pictures, trl.run)


def _count_labels(batch: dict[str, Tensor]) -> int:
    """Labels that have a token before them to predict them from."""
    return int((batch["labels"][:, 1:] != IGNORED).sum())


def _to(batch: dict[str, Tensor], model: FaceKitForConditionalGeneration) -> dict[str, Tensor]:
    batch.pop("landmarks")
    return {name: value.to(model.device) for name, value in batch.items()}


def count_flops(way: Way, model: FaceKitForConditionalGeneration, shape: Shape) -> float:
    """FLOPs that a step needs: two per parameter and token forward, four backward where it learns; no recomputing.

    Attention counts the pairs that see each other, the head the positions whose logits the way computes.
    """
    head = shape.vocabulary * shape.width
    layers = sum(parameter.numel() for parameter in model.language_model.parameters()) - head
    encoder = sum(parameter.numel() for parameter in model.encoder.parameters())
    patches = way.pictures * (shape.side**2 + 1)
    return (
        6 * layers * way.tokens + 12 * shape.depth * shape.width * way.pairs + 6 * head * way.logits
        + 2 * encoder * patches + 4 * shape.encoder_depth * shape.encoder_width * patches * (shape.side**2 + 1)
    )  # fmt: skip


def measure_load(
    name: str, load: Load, shape: Shape, options: argparse.Namespace, stopwatch: Stopwatch, ceilings: Ceilings
) -> list[dict[str, Any]]:
    """Time the ways in turns and return a row of each."""
    device = stopwatch.device
    model = build_model(shape, load, options.attention, device)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-6, fused=True)
    ways = list(build_ways(model, load, shape, options.attention))
    losses = {}
    with torch.no_grad():
        for way in ways:
            losses[way.name] = float(way.loss())
    tolerance = 0.02 if device.type == "cuda" else 1e-4
    if max(losses.values()) - min(losses.values()) > tolerance:
        raise SystemExit(f"the ways do not compute the same loss: {losses}")
    if len({way.labelled for way in ways}) > 1:
        raise SystemExit(f"the ways do not learn the same tokens: { {way.name: way.labelled for way in ways} }")

    def step(way: Way) -> None:
        way.go()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    memory = {}
    for way in ways:
        step(way)  # the optimiser's state, and what is compiled, belong to no single step
        _return_memory()
        memory[way.name] = peak_memory(lambda way=way: step(way), device)
    timings = stopwatch.time_in_turns({way.name: lambda way=way: step(way) for way in ways}, options.seconds)
    samples = load.images * load.questions
    rows = []
    for way in ways:
        seconds, flops = timings[way.name].median, count_flops(way, model, shape)
        rows.append(
            {
                "load": name, "way": way.name, "attention": options.attention, "loss": losses[way.name],
                "samples": samples, "tokens": way.tokens, "labelled_tokens": way.labelled, "logits": way.logits,
                "flops": flops,
                "samples_per_second": samples / seconds, "tokens_per_second": way.tokens / seconds,
                "share_of_matrix_product": flops / seconds / ceilings.flops_per_second,
                "speed_of_shared": seconds / timings["shared"].median,
                "peak_memory_bytes": memory[way.name], "timing": asdict(timings[way.name]),
                "load_shape": asdict(load), "model_shape": asdict(shape),
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
            }
        )  # fmt: skip
    return rows


def _return_memory() -> None:
    """Give freed memory back to the system, so that the resident peak of the next step is its own."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        return


def build_table(name: str, rows: list[dict[str, Any]]) -> Table:
    """A load's rows, the usual ways last."""
    product = "MFU" if torch.cuda.is_available() else "of matrix product"
    table = Table(title=f"{name}: {rows[0]['samples']} questions a step", title_justify="left")
    for column in ("way", "samples/s", "tokens/s", "step s", "peak MiB", product, "shared is faster by"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for row in rows:
        memory = row["peak_memory_bytes"]
        table.add_row(
            row["way"], f"{row['samples_per_second']:.2f}", f"{row['tokens_per_second']:.0f}",
            f"{row['timing']['median']:.3f}", "-" if memory is None else f"{memory / MEBIBYTE:.0f}",
            f"{row['share_of_matrix_product']:.0%}", f"{row['speed_of_shared']:.2f}",
        )  # fmt: skip
    return table


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__.splitlines()[0])
    parser.add_argument("--loads", nargs="+", choices=tuple(LOADS), default=list(LOADS))
    parser.add_argument("--shape", choices=tuple(SHAPES), help="default: 1b on a GPU, small elsewhere")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--attention", choices=("sdpa", "flex_attention"), help="default: flex_attention on a GPU")
    parser.add_argument("--images", type=int, help="per step")
    parser.add_argument("--row-tokens", type=int, help="longest row of the packed way")
    parser.add_argument("--seconds", type=float, default=40.0, help="of timing per load; three rounds at least")
    parser.add_argument("--output", type=Path, help="JSON; default benchmarks/results/training-DEVICE.json")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write; results are written after every load, so that an interrupted run keeps them."""
    options = parse_arguments(arguments)
    device = torch.device(options.device)
    on_gpu = device.type == "cuda"
    options.attention = options.attention or ("flex_attention" if on_gpu else "sdpa")
    shape = SHAPES[options.shape or ("1b" if on_gpu else "small")]
    path = options.output or results_path("training", device, "json")
    facts, ceilings = environment(device), measure_ceilings(device, torch.bfloat16 if on_gpu else torch.float32)
    console, stopwatch, rows = Console(width=120), Stopwatch(device), []
    facts["trl"] = trl_version()
    console.print(f"{facts['device']}, torch {facts['torch']}, load {facts['load_average_at_start']}")
    console.print("TRL is not installed, so its trainer is left out (pip install trl)" if facts["trl"] is None
                  else f"TRL {facts['trl']}")  # fmt: skip
    for name in options.loads:
        defaults = LOADS[name]
        load = Load(
            defaults.frames,
            defaults.questions,
            options.images or (GPU_IMAGES[name] if on_gpu else defaults.images),
            options.row_tokens or (GPU_ROW_TOKENS[name] if on_gpu else defaults.row_tokens),
        )
        measured = measure_load(name, load, shape, options, stopwatch, ceilings)
        rows += measured
        console.print(build_table(name, measured))
        write_results(path, facts, ceilings, rows)
    console.print(f"written to {path}")


if __name__ == "__main__":
    main()
