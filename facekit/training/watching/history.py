"""The loss history of a run: kept as JSON and drawn as a chart."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any, Self

from facekit.data.atomic import write_bytes_atomically, write_text_atomically
from facekit.errors import CheckpointError, MissingExtraError

SOURCE_PREFIX = "loss/"
"""Before the name of a records file, in what reporters get."""
_SOURCE_COLOURS = ("#d55e00", "#009e73", "#cc79a7", "#b58900", "#4d4d4d")  # apart in every kind of colour vision
_SOURCE_DASHES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class LossPoint:
    """One entry of a history.

    Args:
        step: The optimiser step that it was logged after.
        epoch: Passes over the records by then.
        loss: Mean loss per supervised token, in nats, since the entry before.
        learning_rate: Rate of the first parameter group at that step.
        sources: Of several records files, the mean loss of each by its name, over all of its labelled tokens (or
            samples) since the entry before.
        reward: Mean reward of the model's answers since the entry before, where it learns from rewards.
    """

    step: int
    epoch: float
    loss: float
    learning_rate: float
    sources: Mapping[str, float] = field(default_factory=dict)
    reward: float | None = None


@dataclass(frozen=True)
class LossHistory:
    """The losses of a run in the order of its steps.

    Args:
        points: The entries.
    """

    points: tuple[LossPoint, ...]

    @classmethod
    def from_log(cls, entries: Iterable[Mapping[str, Any]]) -> Self:
        """Read the log history of a Hugging Face trainer's state."""
        return cls(
            tuple(
                LossPoint(
                    int(entry["step"]),
                    float(entry["epoch"]),
                    float(entry["loss"]),
                    float(entry["learning_rate"]),
                    {
                        name.removeprefix(SOURCE_PREFIX): float(value)
                        for name, value in entry.items()
                        if name.startswith(SOURCE_PREFIX)
                    },
                    None if entry.get("reward") is None else float(entry["reward"]),
                )
                for entry in entries
                if "loss" in entry and "learning_rate" in entry
            )
        )

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read what ``write`` wrote; raises ``CheckpointError`` where it is not that."""
        try:
            entries = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(tuple(LossPoint(**entry) for entry in entries))
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path} is not a loss history ({error})") from error

    def write(self, path: str | Path) -> Path:
        """Write a JSON list of entries; a failure leaves the file as it was."""
        entries = [
            {name: value for name, value in asdict(point).items() if value not in ({}, None)} for point in self.points
        ]
        return write_text_atomically(path, json.dumps(entries, indent=1) + "\n")

    def by_source(self) -> dict[str, LossHistory]:
        """The history of each of several records files, by its name, at the steps where it has a loss."""
        names = dict.fromkeys(name for point in self.points for name in point.sources)
        return {
            name: LossHistory(
                tuple(
                    replace(point, loss=point.sources[name], sources={})
                    for point in self.points
                    if name in point.sources
                )
            )
            for name in names
        }

    @property
    def steps(self) -> list[int]:
        """The steps of the entries."""
        return [point.step for point in self.points]

    @property
    def losses(self) -> list[float]:
        """The losses of the entries."""
        return [point.loss for point in self.points]

    def smoothed(self, window: float = 0.05) -> list[float]:
        """Exponential moving average of the losses, corrected for its start.

        Args:
            window: Share of the entries over which a value fades to 1/e.
        """
        keep = math.exp(-1.0 / max(1.0, window * len(self.points)))
        values, total, weight = [], 0.0, 0.0
        for loss in self.losses:
            total, weight = keep * total + (1 - keep) * loss, keep * weight + (1 - keep)
            values.append(total / weight)
        return values

    @property
    def final_loss(self) -> float | None:
        """The smoothed loss at the end, or None for an empty history."""
        return self.smoothed()[-1] if self.points else None


def draw_loss(history: LossHistory, path: str | Path) -> Path:
    """Draw a history as a PNG: every entry faint, the smoothed curve strong, the learning rate below.

    Raises:
        MissingExtraError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtraError("drawing the loss needs matplotlib; pip install 'facekit-mllm[train]'") from error
    ink, faint, line = "#33373d", "#b9c4d6", "#2f6fed"
    figure = Figure(figsize=(8, 4.6), dpi=160)
    FigureCanvasAgg(figure)
    loss_axes, rate_axes = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    figure.subplots_adjust(left=0.1, right=0.92, top=0.96, bottom=0.12, hspace=0.12)
    loss_axes.plot(history.steps, history.losses, color=faint, linewidth=1.0)
    sources = history.by_source()
    looks = zip(cycle(_SOURCE_COLOURS), cycle(_SOURCE_DASHES), strict=False)
    for (name, own), (colour, dashes) in zip(sources.items(), looks, strict=False):
        loss_axes.plot(own.steps, own.smoothed(), color=colour, linestyle=dashes, linewidth=1.2, label=_as_words(name))
    loss_axes.plot(history.steps, history.smoothed(), color=line, linewidth=2.0, label="all")
    if sources:
        loss_axes.legend(frameon=False, fontsize="small")
    if history.points and min(history.losses) > 0 and max(history.losses) > 10 * min(history.losses):
        loss_axes.set_yscale("log")
    loss_axes.set_ylabel("loss per token (nats)", color=ink)
    rate_axes.plot(history.steps, [point.learning_rate for point in history.points], color="#d98032", linewidth=1.5)
    rate_axes.set_ylabel("rate", color=ink)
    rate_axes.set_xlabel("step", color=ink)
    rate_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    rate_axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (loss_axes, rate_axes):
        axes.grid(color="#e8ebf0", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=ink, length=0)
        for name, spine in axes.spines.items():
            spine.set_visible(name == "bottom")
            spine.set_color("#c9ced6")
    if history.points:
        last = history.points[-1]
        loss_axes.annotate(
            f"{history.final_loss:.3f}", (last.step, history.smoothed()[-1]), xytext=(6, 0),
            textcoords="offset points", color=line, va="center", fontweight="bold", annotation_clip=False,
        )  # fmt: skip
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return write_bytes_atomically(path, picture.getvalue())


def _as_words(name: str) -> str:
    """A name that Matplotlib does not take for a formula."""
    return name.replace("$", r"\$")
