"""Cheap checks of other files: weights by their headers, JSON by reading it, ledgers by SQLite's own check."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Collection, Iterator
from contextlib import closing
from pathlib import Path

from safetensors import SafetensorError, safe_open

from facekit.data.verification.checked import Checked

_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf"}

__all__ = [
    "check_json",
    "check_ledger",
    "check_tensors",
    "check_torch_file",
    "check_weight_index",
    "check_weights_are_there",
]


def check_tensors(path: Path) -> Checked:
    """Check that a safetensors file is as long as its header says."""
    report = Checked(path, "tensors", "tensors")
    try:
        with safe_open(path, framework="numpy") as file:
            report.count = len(file.keys())
    except (OSError, SafetensorError) as error:
        report.add(f"{path} is cut off or damaged ({error}); copy it again")
    return report


def check_weight_index(path: Path) -> Checked:
    """Check that the files of an index of weights are there and have the tensors that it names."""
    report = Checked(path, "index of weights", "tensors")
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        by_file: dict[str, set[str]] = {}
        for tensor, name in weight_map.items():
            by_file.setdefault(str(name), set()).add(tensor)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        report.add(f"{path} cannot be read as an index of weights ({error})")
        return report
    report.count = len(weight_map)
    for name, tensors in sorted(by_file.items()):
        file = path.parent / name
        if Path(name).name != name:
            report.add(f"{path} names {name}, which leads out of the folder")
        elif not file.is_file():
            report.add(f"{path} names {name}, which is not there; copy the folder again")
        elif file.suffix == ".safetensors":
            missing = tensors - _tensor_names(file)
            if missing:
                report.add(f"{file} lacks {len(missing)} of its tensors, such as {min(missing)}")
    return report


def check_weights_are_there(folder: Path, names: Collection[str]) -> Iterator[Checked]:
    """Report a saved model or adapter that lacks its weights, as one that was copied in part; nothing otherwise.

    Args:
        folder: The folder.
        names: Its files.
    """
    if any(Path(name).suffix in _WEIGHTS for name in names):
        return
    for name, key, kind in (("config.json", "architectures", "model"), ("adapter_config.json", "peft_type", "adapter")):
        if name in names and _has_key(folder / name, key):
            report = Checked(folder, kind, "weights files")
            report.add(f"{folder} is that of a {kind} and has no weights; copy the whole folder again")
            yield report


def _has_key(path: Path, key: str) -> bool:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and bool(values.get(key))


def check_torch_file(path: Path) -> Checked:
    """Check that a file of ``torch.save`` has its end; nothing in it is unpickled."""
    report = Checked(path, "torch file", "entries")
    try:
        with zipfile.ZipFile(path) as archive:
            report.count = len(archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        report.add(f"{path} is cut off, damaged or in the form of before torch 1.6 ({error})")
    return report


def check_json(path: Path) -> Checked:
    """Check that a file is JSON, or JSON in every line of a ``.jsonl``."""
    report = Checked(path, "JSON", "values")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        report.add(f"{path} cannot be read ({error})")
        return report
    parts = [line for line in text.split("\n") if line.strip()] if path.suffix == ".jsonl" else [text]
    for number, part in enumerate(parts, 1):
        report.count += 1
        try:
            json.loads(part)
        except (ValueError, RecursionError) as error:
            report.add(f"{path}, {'line' if path.suffix == '.jsonl' else 'value'} {number}: not JSON ({error})")
    return report


def check_ledger(path: Path) -> Checked:
    """Check the pages of a ledger; nothing is written."""
    report = Checked(path, "ledger", "calls")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=0.5)) as database:
            for (verdict,) in database.execute("PRAGMA quick_check(20)"):
                if verdict != "ok":
                    report.add(f"{path}: {verdict}")
            report.count = int(database.execute("SELECT COUNT(*) FROM calls").fetchone()[0])
    except sqlite3.Error as error:
        report.add(f"{path} cannot be read as a ledger ({error})")
    return report


def _tensor_names(path: Path) -> set[str]:
    try:
        with safe_open(path, framework="numpy") as file:
            return set(file.keys())
    except (OSError, SafetensorError):
        return set()
