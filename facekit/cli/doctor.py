"""``facekit doctor``: what this machine has of what facekit uses, for a first look and for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer
from packaging.requirements import Requirement

from facekit._version import __version__
from facekit.catalog import current_registry
from facekit.cli.output import AsJson, show, show_json
from facekit.compat.versions import DISTRIBUTION, declared_ranges, untested_versions
from facekit.cores import count_usable_cores
from facekit.registry import KINDS

_GIB = 2**30
_TIGHT_DISK = 5 * _GIB
_DEMO_MODEL = Path("runs/demo")

Verdict = Literal["ok", "note", "fault"]
_MARKS: dict[Verdict, str] = {"ok": "ok", "note": "note", "fault": "FAULT"}


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis.

    Args:
        topic: What was looked at.
        verdict: ``ok``; ``note`` for what some users want to change; ``fault`` for what does not work.
        detail: What was found, and what to do where something is missing.
    """

    topic: str
    verdict: Verdict
    detail: str


def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has: versions against the tested ones, GPU, extras, models at hand, disk.

    Exit status 1 where something does not work.
    """
    findings = list(examine())
    if as_json:
        show_json({"findings": findings})
    else:
        width = max(len(each.topic) for each in findings)
        for each in findings:
            show(f"{_MARKS[each.verdict]:<6}{each.topic:<{width}}  {each.detail}")
    if any(each.verdict == "fault" for each in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Look at versions, accelerator, extras, models and disk, in this order."""
    yield Finding("facekit", "ok", f"{__version__} in {Path(__file__).parents[1]}")
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield from _libraries()
    yield _accelerator()
    yield from _extras()
    yield from _models()
    yield from _disks()


def _libraries() -> Iterator[Finding]:
    untested = {each.library: each for each in untested_versions()}
    ranges = declared_ranges()
    if not ranges:
        yield Finding(
            "versions", "fault", f"{DISTRIBUTION} is not installed; run: pip install --editable . in its clone"
        )
    for name in ranges:
        installed = _version(name)
        if installed is None:
            yield Finding(name, "fault", f"is not installed; run: pip install '{name}{ranges[name]}'")
        elif name in untested:
            tested = untested[name].tested
            yield Finding(name, "note", f"{installed} is untested; for a tested one run: pip install '{name}{tested}'")
        else:
            yield Finding(name, "ok", installed)


def _accelerator() -> Finding:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Finding("accelerator", "fault", f"torch cannot be imported: {str(error).splitlines()[0]}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        memory = torch.cuda.get_device_properties(0).total_memory / _GIB
        return Finding("accelerator", "ok", f"{', '.join(names)} ({memory:.0f} GiB each), CUDA {torch.version.cuda}")
    return Finding("accelerator", "note", f"no GPU that torch can use; {count_usable_cores()} CPU cores")


def _extras() -> Iterator[Finding]:
    try:
        metadata = importlib.metadata.metadata(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]
    for extra in metadata.get_all("Provides-Extra") or []:
        if extra in ("dev", "docs", "tested"):
            continue
        own = [each for each in requirements if each.marker and _belongs(each, extra)]
        missing = [each.name for each in own if _normalised(each.name) != DISTRIBUTION and _version(each.name) is None]
        remedies = [f"pip install '{DISTRIBUTION}[{extra}]'"] if missing else []
        bare = [name for name in _bare_distributions(extra) if _version(name) is None]
        missing += bare
        remedies += [f"pip install --no-deps {name}" for name in bare]
        if missing:
            remedy = f"{', '.join(missing)} not installed; run: {' && '.join(remedies)}"
            yield Finding(f"extra {extra}", "note", remedy)
        elif own:
            yield Finding(f"extra {extra}", "ok", "installed")


def _bare_distributions(extra: str) -> list[str]:
    """What the parts of an extra need beside it, installed without dependencies."""
    registry = current_registry()
    parts = (registry.part(kind, name) for kind in KINDS for name in registry.names(kind))
    return sorted({name for part in parts if part.extra == extra for name in part.bare.values()})


def _belongs(requirement: Requirement, extra: str) -> bool:
    """Whether a requirement is one of an extra on this platform, and not of everyone."""
    assert requirement.marker is not None
    return requirement.marker.evaluate({"extra": extra}) and not requirement.marker.evaluate({"extra": ""})


def _models() -> Iterator[Finding]:
    from huggingface_hub import constants

    trained = (_DEMO_MODEL / "config.json").is_file()
    yield Finding(
        "demo model", "ok" if trained else "note", str(_DEMO_MODEL) if trained else "none here; make one: facekit demo"
    )
    cache = Path(constants.HF_HUB_CACHE)
    held = sorted(folder.name.removeprefix("models--").replace("--", "/") for folder in cache.glob("models--*"))
    shown = ", ".join(held[:5]) + (f" and {len(held) - 5} more" if len(held) > 5 else "")
    offline = "; HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else ""
    yield Finding("hub models", "ok", f"{shown or 'none'} in {cache}{offline}")


def _disks() -> Iterator[Finding]:
    for topic, folder in (("disk", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        verdict: Verdict = "ok" if free > _TIGHT_DISK else "note"
        writable = os.access(folder, os.W_OK)
        detail = f"{free / _GIB:.0f} GiB free in {folder}" + ("" if writable else ", which cannot be written to")
        yield Finding(topic, verdict if writable else "note", detail)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
