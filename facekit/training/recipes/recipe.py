"""Recipes: a model and the stages of its training as a YAML file, with overrides, checked before anything is loaded.

A setting may stand at the top, for all stages, or in a stage. On the command line a value is overridden by its path
(``stages.region.batch_size=8``, ``model.connector=mlp``), and a setting of the stages that run by its name alone
(``lr=5e-5``). ``lr`` and ``train`` are short for ``learning_rate`` and ``parts``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from facekit.catalog import current_registry
from facekit.data.atomic import write_text_atomically
from facekit.errors import ConfigurationError, UnknownPartError
from facekit.spec import closest_match_hint
from facekit.training.recipes.layers import (
    SHORT_NAMES,
    WEIGHT_SOURCES,
    OnePath,
    as_table,
    check_keys,
    check_table,
    merge_layers,
    read_overrides,
    read_yaml,
    require_key,
    spell_out,
    split_words,
)
from facekit.training.recipes.preference_settings import GroupSettings, PairSettings
from facekit.training.recipes.settings import LoraSettings, TrainingSettings

RECIPE_FOLDER = Path(__file__).parent

OPENING = ("load_in", "tokenizer", "tower_root", "revision", "image_size")
"""How a checkpoint is opened, beside ``device`` and ``dtype``."""
_OF_STAGES = ("records", "data", "start", "validation")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelChoice(_Table):
    """What a recipe's first stage starts from: a checkpoint, or arguments of ``facekit.create``.

    Attributes:
        load: Folder or hub id of a checkpoint that ``facekit.load`` reads. With ``connector`` it gets that connector
            instead of its own, and keeps its projector where both have the same.
        preset: A named set of parts.
        encoder: Spec of the encoder.
        connector: Spec of the connector.
        backbone: Spec of the language model.
        landmarker: Spec of what finds the face and its landmarks.
        video_encoder: Spec of the encoder of clips.
        checkpoint: Where a preset that starts from a checkpoint finds it.
        load_in: ``4bit`` or ``8bit`` packs the language model that is loaded, for training adapters; of parts it is an
            option of the backbone's spec.
        tokenizer, tower_root, revision: Of the checkpoint to ``load``; see ``facekit.load``.
        image_size: Side of the square that a face is resized to, of a base in its own class; it decides how many tiles
            and tokens the base makes of a face.
        device: Where the model is loaded; by default the CPU, from which the trainer moves it.
        dtype: Floating type of the frozen weights; by default as saved. Trainable ones are kept in float32 where
            ``precision`` is ``bfloat16``.
        seed: Decides new weights; by default the seed of the first stage.
    """

    load: str | None = None
    preset: str | None = None
    encoder: str | None = None
    connector: str | None = None
    backbone: str | None = None
    landmarker: str | None = None
    video_encoder: str | None = None
    checkpoint: str | None = None
    load_in: Literal["4bit", "8bit"] | None = None
    tokenizer: str | None = None
    tower_root: str | None = None
    revision: str = "main"
    image_size: int | None = Field(default=None, ge=1)
    device: str | None = None
    dtype: str | None = None
    seed: int | None = Field(default=None, ge=0, lt=1 << 32)

    @model_validator(mode="after")
    def _one_start(self) -> Self:
        named = [name for name in WEIGHT_SOURCES if getattr(self, name) is not None]
        if self.load is not None and named:
            raise ValueError(f"'load' names a whole model, so leave '{named[0]}' out")
        opening = [name for name in OPENING if name in self.model_fields_set]
        if self.load is None and opening:
            raise ValueError(f"'{opening[0]}' says how a checkpoint is opened; it goes with 'load'")
        if self.load is None and self.preset is None and not {"encoder", "backbone"} <= set(named):
            raise ValueError("name a model to 'load', a 'preset', or 'encoder', 'connector' and 'backbone'")
        return self


class DataChoice(_Table):
    """One of several records files of a stage.

    Attributes:
        records: The file.
        weight: Share of an epoch's examples, relative to the other weights; all files have one, or none, and then every
            record is seen once.
        name: What reports call it; by default the file's name.
    """

    records: OnePath
    weight: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    name: str | None = None


class ValidationChoice(_Table):
    """Validation during a stage and at its end.

    Attributes:
        records: A records file; its questions are asked.
        every: Steps between two looks; None for a fifth of the run.
        faces: How many records, the first ones, are shown with question, answer and truth.
        tasks: Tasks of the evaluation whose metrics are computed; none by default.
        metric_faces: How many records, the first ones, the metrics are computed on.
        loss_records: How many records, the first ones, the validation loss is computed on; 0 for none.
        keep_best: Keep the model of the lowest validation loss.
        patience: End the stage after so many validation losses in a row that are no improvement; None never. There is
            no such loss with ``grpo`` and ``dpo``.
        min_improvement: By how much a loss is to be lower than the lowest before it to be one.
        stop_on_fall: End the stage where a metric of ``tasks`` is worse than its whole 95 % interval at the first look;
            with ``grpo`` and ``dpo`` that is before the first step.
    """

    records: OnePath
    every: int | None = Field(default=None, ge=1)
    faces: int = Field(default=4, ge=0, le=64)
    tasks: tuple[str, ...] = ()
    metric_faces: int = Field(default=64, ge=1)
    loss_records: int = Field(default=512, ge=0)
    keep_best: bool = False
    patience: int | None = Field(default=None, ge=1)
    min_improvement: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    stop_on_fall: bool = False

    @model_validator(mode="after")
    def _needs_a_loss(self) -> Self:
        if not self.loss_records and (self.keep_best or self.patience is not None):
            raise ValueError("keep_best and patience go by the validation loss; give loss_records")
        if len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks names each task once, not {', '.join(self.tasks)}")
        for name in self.tasks:
            try:
                current_registry().part("task", name)
            except UnknownPartError as error:
                raise ValueError(str(error)) from error
        if self.stop_on_fall and not self.tasks:
            raise ValueError("stop_on_fall goes by the metrics of tasks; name them")
        return self


class Stage(_Table):
    """One run of the trainer.

    Attributes:
        name: Its name, and that of its folder.
        records: A records file; None where ``data`` names several.
        data: Several records files with their weights.
        settings: What is done.
        validation: What is looked at meanwhile.
        start: Folder of the model that it starts from; by default the one that the stage before left, and for the
            first stage the recipe's ``model``.
    """

    name: str
    records: OnePath | None = None
    data: tuple[DataChoice, ...] = ()
    settings: TrainingSettings
    validation: ValidationChoice | None = None
    start: OnePath | None = None

    @model_validator(mode="after")
    def _fits_what_is_learned(self) -> Self:
        chosen = self.validation
        if self.settings.is_preference and chosen is not None and (chosen.keep_best or chosen.patience is not None):
            raise ValueError(
                "keep_best and patience go by the loss of the records' own answers, which grpo and dpo do not learn; "
                "leave them out, or set stop_on_fall"
            )
        if self.settings.is_preference and any(each.weight is not None for each in self.data):
            raise ValueError(
                "data has weights, but grpo and dpo take every question or pair once an epoch; leave them out"
            )
        return self

    @property
    def data_name(self) -> str:
        """What its records are called: the name of the file, or those of several with their weights."""
        if self.records is not None:
            return self.records.name
        return ", ".join(
            (each.name or each.records.name) + ("" if each.weight is None else f" ({each.weight:g})")
            for each in self.data
        )


class Recipe(_Table):
    """A model and the stages in which it is trained.

    Attributes:
        name: Name of the built-in recipe, or of the file.
        summary: One line on what it is.
        model: What the first stage starts from.
        output: Each stage leaves its model in a folder of its name here; a single one leaves it here itself.
        stages: All stages, in order.
        chosen: Names of those that run.
    """

    name: str
    summary: str = ""
    model: ModelChoice
    output: OnePath
    stages: tuple[Stage, ...]
    chosen: tuple[str, ...]

    def folder_of(self, stage: str) -> Path:
        """Where a stage leaves its model."""
        return self.output if len(self.stages) == 1 else self.output / stage

    def stage_before(self, stage: str) -> str | None:
        """Name of the stage before one, or None."""
        names = [each.name for each in self.stages]
        index = names.index(stage)
        return names[index - 1] if index else None

    def chosen_stages(self) -> tuple[Stage, ...]:
        """The stages that run, in order."""
        return tuple(stage for stage in self.stages if stage.name in self.chosen)

    def to_yaml(self) -> str:
        """The recipe with all overrides as a file that ``load_recipe`` reads."""
        stages = {}
        for stage in self.stages:
            left_out = {"name", "settings", *(() if stage.data else ("data",))}
            values = stage.model_dump(mode="json", exclude=left_out, exclude_none=True)
            stages[stage.name] = {**values, **stage.settings.model_dump(mode="json", exclude_unset=True)}
        tree = {
            "summary": self.summary,
            "model": self.model.model_dump(exclude_none=True, exclude_defaults=True),
            "output": str(self.output),
            "stages": stages,
        }
        text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
        return text

    def write(self, path: Path) -> Path:
        """Write ``to_yaml``."""
        return write_text_atomically(path, self.to_yaml())


def list_recipes() -> list[str]:
    """Names of the recipes in the package."""
    return sorted(path.stem for path in RECIPE_FOLDER.glob("*.yaml"))


def load_recipe(source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and check all of it, the stages that do not run too.

    Args:
        source: A name of ``list_recipes``, or the path of a YAML file.
        overrides: ``path=value``, ``setting=value`` or ``stage=name``; values are YAML. An override wins over what a
            stage says, and replaces what it contradicts, such as ``steps`` of ``epochs``.

    Raises:
        ConfigurationError: There is no such recipe, stage or key, a value is missing, of another type or out of its
            range; the message has the recipe, the stage, the key and the value.
        MissingExtraError: omegaconf is not installed.

    Examples:
        >>> from facekit.training import load_recipe
        >>> recipe = load_recipe("facellm-lora", ["records=faces/records.jsonl", "output=runs/facellm", "lr=2e-5"])
        >>> recipe.stages[0].settings.learning_rate
        2e-05
    """
    if isinstance(overrides, str):
        raise ConfigurationError(f"overrides are a list, such as ['{overrides}'], and not one text")
    path = RECIPE_FOLDER / f"{source}.yaml" if str(source) in list_recipes() else Path(source).expanduser()
    if not path.is_file():
        hint = closest_match_hint(str(source), list_recipes())
        raise ConfigurationError(f"there is no recipe and no YAML file '{source}'{hint}")
    written = read_yaml(path)
    stages = written.get("stages")
    if not isinstance(stages, dict) or not stages:
        raise ConfigurationError(
            f"recipe {path.stem} has no stages; it needs at least one, such as stages: {{train: ...}}"
        )
    unnamed = next((name for name in stages if not isinstance(name, str)), None)
    if unnamed is not None:
        raise ConfigurationError(f"recipe {path.stem} has a stage that YAML reads as {unnamed!r}; quote its name")
    given, chosen = read_overrides(overrides, list(stages))
    where = f"recipe {path.stem}"
    return _build(where, path.stem, written, given, chosen)


def _build(where: str, name: str, written: dict[str, Any], given: dict[str, Any], chosen: tuple[str, ...]) -> Recipe:
    settings = (*TrainingSettings.model_fields, *SHORT_NAMES)
    of_recipe = ("summary", "model", "output", "stages")
    for tree in (written, given):
        check_keys(where, tree, (*of_recipe, *_OF_STAGES, *settings, *(["stage"] if tree is given else [])))
        for part in ("model", "stages"):
            if not isinstance(tree.get(part, {}), dict):
                raise ConfigurationError(f"{where}: '{part}' is a table, not {tree[part]!r}")
    given_stages = given.get("stages", {})
    check_keys(f"{where}, stages", given_stages, list(written["stages"]))
    shared = [{key: value for key, value in tree.items() if key not in of_recipe} for tree in (written, given)]
    stages = []
    for stage, values in written["stages"].items():
        in_stage = f"{where}, stage '{stage}'"
        meant = {"records", "data", "validation"} | (set(settings) if stage in chosen else set())
        meant |= {"start"} if stage == chosen[0] else set()
        above = {key: value for key, value in shared[1].items() if key in meant}
        layers = [as_table(in_stage, layer) for layer in (shared[0], values, above, given_stages.get(stage))]
        for layer in layers:
            check_keys(in_stage, layer, (*_OF_STAGES, *settings))
        stages.append(
            _build_stage(in_stage, str(stage), merge_layers([spell_out(in_stage, layer) for layer in layers]))
        )
    model = merge_layers([as_table(where, tree.get("model")) for tree in (written, given)])
    check_keys(f"{where}, model", model, ModelChoice.model_fields)
    top = merge_layers([{key: tree[key] for key in ("summary", "output") if key in tree} for tree in (written, given)])
    require_key(where, top, "output")
    return Recipe(
        name=name,
        stages=tuple(stages),
        chosen=chosen,
        model=check_table(f"{where}, model", ModelChoice, model),
        **check_table(where, _Top, top).model_dump(),
    )


def _listed(where: str, data: Any) -> list[Any]:
    if data is None or isinstance(data, list):
        return data or []
    raise ConfigurationError(
        f"{where}: 'data' is a list of records files, such as [a.jsonl, b.jsonl], not {data!r}; of one file write "
        "'records'"
    )


def _read_data(where: str, entry: Any) -> DataChoice:
    values = {"records": entry} if isinstance(entry, str) else as_table(where, entry)
    check_keys(where, values, DataChoice.model_fields)
    return check_table(where, DataChoice, values)


class _Top(_Table):
    summary: str = ""
    output: OnePath


def _build_stage(where: str, name: str, values: dict[str, Any]) -> Stage:
    if not values.get("data"):
        require_key(where, values, "records")
    data = [_read_data(f"{where}, data", each) for each in _listed(where, values.get("data"))]
    tables = (("lora", LoraSettings), ("grpo", GroupSettings), ("dpo", PairSettings))
    for key, kind in tables:
        table = values.get(key)
        if isinstance(table, dict):
            check_keys(f"{where}, {key}", table, kind.model_fields)
    validation = values.get("validation")
    if isinstance(validation, str):
        validation = {"records": validation}
    if validation is not None and not isinstance(validation, dict):
        raise ConfigurationError(f"{where}: 'validation' is a records file or a table, not {validation!r}")
    if isinstance(validation, dict):
        check_keys(f"{where}, validation", validation, ValidationChoice.model_fields)
        require_key(f"{where}, validation", validation, "records")
        tasks = validation.get("tasks")
        validation = {**validation, "tasks": split_words(tasks)} if isinstance(tasks, str) else validation
        validation = check_table(f"{where}, validation", ValidationChoice, validation)
    chosen = {key: value for key, value in values.items() if key not in _OF_STAGES}
    try:
        settings = TrainingSettings(**chosen)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error
    return check_table(
        where,
        Stage,
        {**{key: values.get(key) for key in ("records", "start")}, "data": tuple(data), "name": name,
         "settings": settings, "validation": validation},
    )  # fmt: skip
