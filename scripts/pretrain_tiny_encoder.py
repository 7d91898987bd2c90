"""Train the tiny encoder on drawn faces and write the weights that ``tiny?pretrained=synthetic-faces`` loads.

Shallow heads read the tokens after the final norm, as a connector and a language model will, and are thrown away
afterwards. Every face is drawn from a seed of a range that no data set of the package uses. The held-out table at the
end tells whether the weights are worth keeping. On two cores:

    OMP_NUM_THREADS=2 python scripts/pretrain_tiny_encoder.py --output facekit/encoders/tiny_synthetic_faces.safetensors
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import torch
from einops import rearrange, reduce
from numpy.lib.format import open_memmap
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from facekit.data import synthetic
from facekit.data.labels import ACTION_UNITS, ACTIVE_INTENSITY, EXPRESSIONS, SYNTHETIC_ATTRIBUTES
from facekit.data.records import NUM_LANDMARKS
from facekit.data.synthetic.geometry import MIRRORED_ORDER
from facekit.encoders.tiny import PATCH_SIZE, TinyEncoder

FIRST_SEED = 1_000_000_000
FIRST_HELD_OUT_SEED = 1_500_000_000
AGE_UNIT = 20.0
AGE_CENTRE = 40.0


@dataclass(frozen=True)
class FaceSet:
    """Drawn faces with their labels as arrays, one row per face.

    Attributes:
        image: ``(F, H, W, 3)`` bytes.
        mask: Manipulated part of each patch, ``(F, N)``, 0 to 1.
        landmarks: ``(F, 68, 2)``, normalised to the picture.
        expression: Index into ``EXPRESSIONS``, ``(F,)``.
        action_units: Intensities, ``(F, 12)``.
        attributes: ``(F, 12)``, 0 or 1.
        age: Years, ``(F,)``.
        manipulated: ``(F,)``, 0 or 1.
    """

    image: np.ndarray
    mask: np.ndarray
    landmarks: np.ndarray
    expression: np.ndarray
    action_units: np.ndarray
    attributes: np.ndarray
    age: np.ndarray
    manipulated: np.ndarray

    def batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Return some faces as tensors, by field name."""
        return {field.name: torch.from_numpy(getattr(self, field.name)[rows]) for field in fields(self)}

    def __len__(self) -> int:
        return len(self.age)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open what ``draw_set`` wrote; pictures stay on disk."""
        return cls(**{field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r") for field in fields(cls)})


class Heads(nn.Module):
    """Linear readings of the tokens, as shallow as a language model's first look at them.

    Each task has queries that weigh all tokens (they begin as the plain mean), and a linear layer on what they gather.
    Every patch also tells how much of it is manipulated, and which landmarks it holds and where.

    Args:
        width: Token width of the encoder.
        grid: Rows and columns of patches.
        queries: Weighings per task.
    """

    def __init__(self, width: int, grid: tuple[int, int], queries: int = 4) -> None:
        super().__init__()
        sizes = {
            "expression": len(EXPRESSIONS),
            "action_units": len(ACTION_UNITS),
            "unit_presence": len(ACTION_UNITS),
            "attributes": len(SYNTHETIC_ATTRIBUTES),
            "age": 1,
            "manipulated": 1,
        }
        self.tasks = list(sizes)
        self.queries = nn.Parameter(torch.zeros(len(sizes), queries, width))
        self.read = nn.ModuleDict({task: nn.Linear(queries * width, size) for task, size in sizes.items()})
        self.mask = nn.Linear(width, 1)
        self.landmarks = nn.Linear(width, 3 * NUM_LANDMARKS)
        rows, columns = grid
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres = torch.stack([(column + 0.5) / columns, (row + 0.5) / rows], dim=-1)
        self.register_buffer("centres", rearrange(centres, "rows columns xy -> (rows columns) 1 xy"))

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """Read tokens ``(F, 1 + N, C)``; the mask's logits are ``(F, N)``, the landmarks ``(F, 68, 2)``."""
        scores = torch.einsum("tqc,fnc->ftqn", self.queries, tokens) / tokens.shape[-1] ** 0.5
        gathered = rearrange(torch.einsum("ftqn,fnc->ftqc", scores.softmax(-1), tokens), "f t q c -> t f (q c)")
        reading = {task: self.read[task](gathered[index]) for index, task in enumerate(self.tasks)}
        patches = tokens[:, 1:]
        held, offset = self.landmarks(patches).split([NUM_LANDMARKS, 2 * NUM_LANDMARKS], dim=-1)
        places = self.centres + rearrange(offset, "f n (l xy) -> f n l xy", xy=2) / self.centres.shape[0] ** 0.5
        reading["landmarks"] = torch.einsum("fnl,fnlx->flx", held.softmax(dim=1), places)
        reading["mask"] = self.mask(patches).squeeze(-1)
        return reading


def draw_chunk(task: tuple[Path, int, int, int, int]) -> None:
    """Draw faces ``start`` to ``stop`` of a set into its arrays on disk."""
    folder, first_seed, start, stop, image_size = task
    arrays = {field.name: np.load(folder / f"{field.name}.npy", mmap_mode="r+") for field in fields(FaceSet)}
    for row in range(start, stop):
        face = synthetic.draw_face(first_seed + row, image_size=image_size)
        labels = face.labels
        mask = np.asarray(face.manipulation_mask, dtype=np.float32)
        arrays["image"][row] = np.asarray(face.image)
        arrays["mask"][row] = reduce(mask, "(r p) (c q) -> (r c)", "mean", p=PATCH_SIZE, q=PATCH_SIZE)
        arrays["landmarks"][row] = face.landmarks
        arrays["expression"][row] = EXPRESSIONS.index(labels.expression)
        arrays["action_units"][row] = [labels.action_units[code] for code in ACTION_UNITS]
        arrays["attributes"][row] = [labels.attributes[name] for name in SYNTHETIC_ATTRIBUTES]
        arrays["age"][row] = labels.age
        arrays["manipulated"][row] = labels.manipulated


def draw_set(folder: Path, first_seed: int, count: int, image_size: int, workers: int) -> FaceSet:
    """Draw ``count`` faces in several processes into arrays on disk."""
    folder.mkdir(parents=True)
    patches = (image_size // PATCH_SIZE) ** 2
    shapes = {
        "image": ((image_size, image_size, 3), np.uint8),
        "mask": ((patches,), np.float32),
        "landmarks": ((NUM_LANDMARKS, 2), np.float32),
        "expression": ((), np.int64),
        "action_units": ((len(ACTION_UNITS),), np.float32),
        "attributes": ((len(SYNTHETIC_ATTRIBUTES),), np.float32),
        "age": ((), np.float32),
        "manipulated": ((), np.float32),
    }
    for name, (shape, dtype) in shapes.items():
        open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(count, *shape)).flush()
    step = 250
    tasks = [(folder, first_seed, start, min(start + step, count), image_size) for start in range(0, count, step)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for _ in pool.imap_unordered(draw_chunk, tasks):
            pass
    return FaceSet.open(folder)


def pixels_of(encoder: TinyEncoder, images: Tensor) -> Tensor:
    """Normalise byte pictures ``(F, H, W, 3)`` of the encoder's size as its transform does."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (encoder.transform.mean, encoder.transform.std))
    return (rearrange(images, "f h w c -> f c h w").float() / 255 - mean) / std


def mirrored(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mirror every face of a batch left to right."""
    landmarks = batch["landmarks"][:, torch.from_numpy(MIRRORED_ORDER)]
    side = math.isqrt(batch["mask"].shape[1])
    return {
        **batch,
        "image": batch["image"].flip(2),
        "landmarks": torch.stack([1 - landmarks[..., 0], landmarks[..., 1]], dim=-1),
        "mask": batch["mask"].unflatten(1, (side, side)).flip(2).flatten(1),
    }


def losses_of(reading: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weighted loss of each task."""
    present = (batch["action_units"] >= ACTIVE_INTENSITY).float()
    age = (batch["age"] - AGE_CENTRE) / AGE_UNIT
    binary = F.binary_cross_entropy_with_logits
    return {
        "expression": F.cross_entropy(reading["expression"], batch["expression"]),
        "action_units": F.smooth_l1_loss(reading["action_units"], batch["action_units"]),
        "unit_presence": 2.0 * binary(reading["unit_presence"], present),
        "attributes": 2.0 * binary(reading["attributes"], batch["attributes"]),
        "age": F.smooth_l1_loss(reading["age"].squeeze(1), age, beta=0.25),
        "manipulated": binary(reading["manipulated"].squeeze(1), batch["manipulated"]),
        "mask": binary(reading["mask"], batch["mask"]),
        "landmarks": 30.0 * F.smooth_l1_loss(reading["landmarks"], batch["landmarks"], beta=0.02),
    }


@torch.no_grad()
def evaluate(encoder: TinyEncoder, heads: Heads, faces: FaceSet, fitted_on: FaceSet) -> list[tuple[str, float, float]]:
    """Return rows of metric, value and baseline on held-out faces.

    The baseline answers every face with the commonest label, or the median age, of the training faces.
    """
    encoder.eval()
    parts = []
    for rows in np.array_split(np.arange(len(faces)), math.ceil(len(faces) / 250)):
        parts.append(heads(encoder.encode_frames(pixels_of(encoder, torch.from_numpy(faces.image[rows])))))
    encoder.train()
    read = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    units = (faces.action_units >= ACTIVE_INTENSITY, fitted_on.action_units >= ACTIVE_INTENSITY)
    common = np.bincount(fitted_on.expression).argmax()
    common_attributes = fitted_on.attributes.mean(0) > 0.5
    age = read["age"][:, 0] * AGE_UNIT + AGE_CENTRE
    manipulated = faces.manipulated > 0.5
    commonly_manipulated = fitted_on.manipulated.mean() > 0.5
    forged = faces.mask > 0.5
    baseline_units = np.broadcast_to(units[1].mean(0) > 0.5, units[0].shape)
    return [
        (
            "expression accuracy",
            float((read["expression"].argmax(1) == faces.expression).mean()),
            float((faces.expression == common).mean()),
        ),
        ("action units, mean F1", mean_f1(read["unit_presence"] > 0, units[0]), mean_f1(baseline_units, units[0])),
        (
            "attributes, mean accuracy",
            float(((read["attributes"] > 0) == (faces.attributes > 0.5)).mean()),
            float((common_attributes == (faces.attributes > 0.5)).mean()),
        ),
        (
            "age, mean absolute error",
            float(np.abs(age - faces.age).mean()),
            float(np.abs(np.median(fitted_on.age) - faces.age).mean()),
        ),
        (
            "manipulation accuracy",
            float(((read["manipulated"][:, 0] > 0) == manipulated).mean()),
            float((commonly_manipulated == manipulated).mean()),
        ),
        ("manipulated patches, F1", mean_f1(read["mask"].reshape(-1, 1) > 0, forged.reshape(-1, 1)), 0.0),
        (
            "landmarks, mean distance",
            float(np.linalg.norm(read["landmarks"] - faces.landmarks, axis=-1).mean()),
            float(np.linalg.norm(fitted_on.landmarks[:2000].mean(0) - faces.landmarks, axis=-1).mean()),
        ),
    ]


def mean_f1(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Return the F1 score of each column of ``(F, K)`` booleans, averaged."""
    hits = (predicted & truth).sum(0)
    return float((2 * hits / np.maximum(predicted.sum(0) + truth.sum(0), 1)).mean())


def train(encoder: TinyEncoder, heads: Heads, faces: FaceSet, arguments: argparse.Namespace) -> int:
    """Train encoder and heads together and return the number of steps."""
    modules = nn.ModuleList([encoder, heads])
    decayed = [p for p in modules.parameters() if p.ndim >= 2]
    plain = [p for p in modules.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}],
        lr=arguments.learning_rate,
        betas=(0.9, 0.98),
    )
    steps = arguments.epochs * (len(faces) // arguments.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, arguments.learning_rate, total_steps=steps, pct_start=0.08, cycle_momentum=False
    )
    generator = np.random.default_rng(arguments.seed)
    started, step = time.perf_counter(), 0
    averages: dict[str, float] = {}
    for _ in range(arguments.epochs):
        order = generator.permutation(len(faces))
        for rows in order[: steps // arguments.epochs * arguments.batch_size].reshape(-1, arguments.batch_size):
            batch = faces.batch(np.sort(rows))
            batch = mirrored(batch) if generator.random() < 0.5 else batch
            losses = losses_of(heads(encoder.encode_frames(pixels_of(encoder, batch["image"]))), batch)
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(losses.values())).sum().backward()
            nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            step += 1
            for name, value in losses.items():
                averages[name] = 0.98 * averages.get(name, value.item()) + 0.02 * value.item()
            if step % 100 == 0 or step == steps:
                shown = "  ".join(f"{name} {value:.3f}" for name, value in averages.items())
                print(f"step {step}/{steps}  {time.perf_counter() - started:.0f} s  {shown}", flush=True)
    return steps


def save(encoder: TinyEncoder, path: Path, description: dict[str, object]) -> None:
    """Write the encoder's weights in half precision, with its sizes and how it was made as metadata."""
    weights = {name: value.half().contiguous() for name, value in encoder.state_dict().items()}
    metadata = {"format": "pt", "config": json.dumps(encoder.to_config()), "training": json.dumps(description)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path, metadata=metadata)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--faces", type=int, default=40_000, help="faces to train on")
    parser.add_argument("--held-out", type=int, default=2_000, help="faces to measure on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--drawings", type=Path, help="folder to keep the drawn faces in, or to read them from")
    return parser.parse_args()


def main() -> None:
    """Draw, train, measure, save."""
    arguments = parse_arguments()
    torch.manual_seed(arguments.seed)
    encoder = TinyEncoder()
    heads = Heads(encoder.hidden_size, encoder.grid)
    with tempfile.TemporaryDirectory() as temporary:
        root, started = arguments.drawings or Path(temporary), time.perf_counter()
        sets = []
        for name, first, count in (
            ("train", FIRST_SEED, arguments.faces),
            ("held-out", FIRST_HELD_OUT_SEED, arguments.held_out),
        ):
            kept = (root / name).is_dir()
            open_set = FaceSet.open(root / name) if kept else None
            sets.append(open_set or draw_set(root / name, first, count, encoder.image_size, arguments.workers))
        faces, held_out = sets
        print(f"{len(faces)} + {len(held_out)} faces after {time.perf_counter() - started:.0f} s", flush=True)
        steps = train(encoder, heads, faces, arguments)
        metrics = evaluate(encoder, heads, held_out, faces)
    for name, value, baseline in metrics:
        print(f"{name:28} {value:8.4f}   baseline {baseline:8.4f}")
    description = {
        "script": "scripts/pretrain_tiny_encoder.py",
        "data": f"{len(faces)} faces drawn by facekit.data.synthetic, image_size {encoder.image_size}",
        "renderer_version": str(synthetic.RENDERER_VERSION),
        "first_seed": FIRST_SEED,
        "seed": arguments.seed,
        "steps": steps,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "held_out": {name: round(value, 4) for name, value, _ in metrics},
    }
    save(encoder, arguments.output, description)


if __name__ == "__main__":
    main()
