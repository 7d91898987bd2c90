"""Reading recipes: YAML, overrides, merged tables, and keys and values checked by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ValidationError, ValidationInfo

from facekit.errors import ConfigurationError, MissingExtraError, yaml_fault
from facekit.spec import closest_match_hint

SHORT_NAMES = {"lr": "learning_rate", "train": "parts"}
TableKind = TypeVar("TableKind", bound=BaseModel)

_EQUATION = re.compile(r"^\s*([\w.]+)\s*=(?!=)\s*(.*\S)", re.M)


def _read_path(value: Any, field: ValidationInfo) -> Any:
    if isinstance(value, str | Path):
        if not str(value).strip():
            raise ValueError("a path is not empty")
        return value
    if isinstance(value, list | tuple | dict):
        more = ", and several records files go into 'data'" if field.field_name == "records" else ""
        raise ValueError(f"one path is meant{more}")
    raise ValueError("a path is meant; quote it in YAML, or write './' before it")


OnePath = Annotated[Path, BeforeValidator(_read_path)]
"""A path in a recipe: text, where YAML also has numbers, lists and tables."""

WEIGHT_SOURCES = ("preset", "encoder", "backbone", "video_encoder", "checkpoint")
"""Keys of a recipe's model that say which weights it has, beside ``load``."""


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the table in a YAML file; raises ``ConfigurationError`` where there is none."""
    OmegaConf, OmegaConfError = _import_omegaconf()
    try:
        tree = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfError) as error:
        hint = _tell_equation(path)
        raise ConfigurationError(f"recipe {path} cannot be read ({yaml_fault(error)}){hint}") from error
    if not isinstance(tree, dict) or any(_EQUATION.match(str(key)) for key in tree):
        hint = _tell_equation(path) or "; see the built-in ones"
        raise ConfigurationError(f"recipe {path} is no table of keys and values{hint}")
    return tree


def _tell_equation(file: Path) -> str:
    """A hint at the first line ``key = value`` of a YAML file, or nothing."""
    try:
        found = _EQUATION.search(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""
    return "" if found is None else f"; in YAML it is '{found[1]}: {found[2]}', with a colon"


def read_overrides(overrides: Sequence[str], stages: Sequence[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return overrides as a tree, and the stages that run."""
    OmegaConf, OmegaConfError = _import_omegaconf()
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"'{override}' is no override; write key=value, without spaces")
        if key != key.strip():
            raise ConfigurationError(f"'{override}' has spaces beside '='; write {key.strip()}={value.strip()}")
    try:
        given: dict[str, Any] = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
    except (yaml.YAMLError, OmegaConfError) as error:
        raise ConfigurationError(f"the overrides cannot be read ({' '.join(str(error).split())})") from error
    chosen = given.pop("stage", None)
    if chosen is None and any(override.startswith("stage=") for override in overrides):
        raise ConfigurationError(f"'stage=' names no stage; the stages are {', '.join(stages)}")
    names = list(stages) if chosen is None else chosen if isinstance(chosen, list) else str(chosen).split(",")
    for name in names:
        if name not in stages:
            raise ConfigurationError(f"the recipe has no stage '{name}'{closest_match_hint(str(name), stages)}")
    return given, tuple(stage for stage in stages if stage in names)


def spell_out(where: str, layer: dict[str, Any]) -> dict[str, Any]:
    """Replace short names, and a rate per part by the setting for that."""
    both = next((short for short, long in SHORT_NAMES.items() if short in layer and long in layer), None)
    if both:
        raise ConfigurationError(f"{where}: '{both}' and '{SHORT_NAMES[both]}' are the same; give one of them")
    spelt = {SHORT_NAMES.get(key, key): value for key, value in layer.items()}
    if isinstance(spelt.get("learning_rate"), dict):
        spelt["learning_rates"] = _flatten(spelt.pop("learning_rate"))
    if isinstance(spelt.get("parts"), str):
        spelt["parts"] = split_words(spelt["parts"])
    return spelt


def merge_layers(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Lay tables over each other; what a later one contradicts goes."""
    OmegaConf, _ = _import_omegaconf()
    merged: dict[str, Any] = {}
    for layer in layers:
        kept = {key: value for key, value in merged.items() if key not in _contradicted(layer)}
        merged = OmegaConf.to_container(OmegaConf.merge(kept, layer))
    return merged


def _contradicted(layer: Mapping[str, Any]) -> set[str]:
    """Keys that lower layers may have and that no longer hold under this one."""
    given = {key for key, value in layer.items() if value is not None}
    gone = {"epochs"} if "steps" in given else {"steps"} if "epochs" in given else set()
    gone |= {"data"} if "records" in given else {"records"} if "data" in given else set()
    if "learning_rate" in given:
        gone |= {"learning_rates", "encoder_learning_rate"}
    if "load" in given:
        gone |= set(WEIGHT_SOURCES)
    elif "preset" in given:
        gone |= {*WEIGHT_SOURCES, "load", "connector", "landmarker"}
    elif {"encoder", "backbone"} <= given:
        gone |= {"load", "preset", "checkpoint"}
    elif given & set(WEIGHT_SOURCES):
        gone.add("load")
    return gone - given


def _flatten(rates: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in rates.items():
        flat.update(_flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value})
    return flat


def split_words(text: str) -> list[str]:
    """Return the words of a list that was written as ``a,b``."""
    return [word.strip() for word in text.split(",")]


def as_table(where: str, values: Any) -> dict[str, Any]:
    """Return a table, empty where nothing was written; raises ``ConfigurationError`` where it is none."""
    if values is None:
        return {}
    if not isinstance(values, dict):
        found = _EQUATION.match(values) if isinstance(values, str) else None
        hint = "" if found is None else f"; in YAML it is '{found[1]}: {found[2]}', with a colon"
        raise ConfigurationError(f"{where}: this is a table of keys and values, not {values!r}{hint}")
    return values


def require_key(where: str, values: Mapping[str, Any], key: str) -> None:
    """Raise ``ConfigurationError`` where a key has no value, saying how to give it one."""
    if values.get(key) in (None, "???"):
        dotted = "validation." if where.endswith("validation") else ""
        raise ConfigurationError(f"{where} needs '{key}'; add {dotted}{key}=VALUE to the command")


def check_keys(where: str, values: Mapping[str, Any], known: Any) -> None:
    """Raise ``ConfigurationError`` at an unknown key, with the closest known one."""
    for key in values:
        if key not in known:
            raise ConfigurationError(f"{where}: there is no key '{key}'{closest_match_hint(str(key), known)}")


def check_table(where: str, kind: type[TableKind], values: dict[str, Any]) -> TableKind:
    """Make a pydantic model of a table; raises ``ConfigurationError`` with the key and its value."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        fault = f"'{name}': {message} (got {problem['input']!r})" if name else message
        raise ConfigurationError(f"{where}: {fault}") from error


def _import_omegaconf() -> tuple[Any, Any]:
    try:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException
    except ImportError as error:
        raise MissingExtraError("recipes need omegaconf; pip install 'facekit-mllm[train]'") from error
    return OmegaConf, OmegaConfBaseException
