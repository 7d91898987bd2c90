"""Run what meets the outside, part by part, each with the packages that it needs: ``make real``.

The parts stand in ``tests/real/parts.toml``. One whose packages cannot be had here, because no registry is in reach or
has them, is skipped with the reason. One that can be had and does not pass has failed, as has one whose packages can be
had and do not install. What was installed is kept under ``.venv-real`` for the next run.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
PARTS = ROOT / "tests" / "real" / "parts.toml"
FOLDER = ROOT / ".venv-real"

_MARKER = "installed.txt"
_PROGRAMS = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])  # daemons are not on a user's path
_PROBE_SECONDS = 300
_OUT_OF_REACH = (
    "No matching distribution found", "Temporary failure in name resolution", "Connection refused", "Read timed out",
    "Network is unreachable", "Name or service not known", "Connection broken",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One part; the fields are those of ``parts.toml``."""

    name: str
    about: str
    tests: tuple[str, ...]
    packages: tuple[str, ...] = ()
    environment: Literal["layer", "own"] = "layer"
    programs: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()
    probe: str = ""
    search_path: str = ""
    minutes: float = 5.0


@dataclass(frozen=True)
class Result:
    """How a part went.

    Args:
        part: Its name.
        outcome: What it counts as.
        told: The numbers of its tests, or the reason.
        seconds: What it took.
    """

    part: str
    outcome: Literal["passed", "failed", "skipped"]
    told: str
    seconds: float = 0.0


class UnavailableError(Exception):
    """What a part needs cannot be had here."""


class BrokenError(Exception):
    """What a part needs can be had, and does not work."""


def read_parts(path: Path = PARTS) -> dict[str, Part]:
    """Return the parts by name."""
    return {name: _read_part(name, values) for name, values in tomllib.loads(path.read_text("utf-8")).items()}


def _read_part(name: str, values: Mapping[str, Any]) -> Part:
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    programs = tuple(dict(values.get("programs", {})).items())
    return Part(name=name, **{**values, **lists, "programs": programs})


def prepare(part: Part, folder: Path = FOLDER) -> tuple[str, str]:
    """Install what a part needs.

    Returns:
        The Python that runs it, and what stands before everything on its path.

    Raises:
        UnavailableError: It cannot be had here.
        BrokenError: It does not install.
    """
    for program, package in part.programs:
        if not any(shutil.which(name, path=_PROGRAMS) for name in program.split("|")):
            raise UnavailableError(f"there is no {program.replace('|', ' or ')} here; apt-get install {package}")
    for module in part.modules:
        if importlib.util.find_spec(module) is None:
            raise UnavailableError(f"there is no module {module} in this environment")
    if part.probe:
        done = subprocess.run(
            [sys.executable, part.probe], cwd=ROOT, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
        if done.returncode:
            raise UnavailableError((done.stderr.strip().splitlines() or [f"{part.probe} failed without a word"])[-1])
    place = folder / part.name
    python = place / "bin" / "python" if part.environment == "own" else Path(sys.executable)
    wanted = "\n".join((part.environment, sys.version, *part.packages))
    marker = place / _MARKER
    if part.packages and not (marker.is_file() and marker.read_text("utf-8") == wanted):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        if part.environment == "own":
            _call([sys.executable, "-m", "venv", str(place)], part)
        target = [] if part.environment == "own" else ["--no-deps", "--target", str(place)]
        _call([str(python), "-m", "pip", "install", "--quiet", "--progress-bar=off", *target, *part.packages], part)
        marker.write_text(wanted, "utf-8")
    return str(python), str(place) if part.packages and part.environment == "layer" else ""


def _call(command: Sequence[str], part: Part) -> None:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=part.minutes * 60, check=False)
    except subprocess.TimeoutExpired as error:
        raise BrokenError(f"installing took longer than {part.minutes:g} minutes") from error
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines() or ["no word"]
    if any(words in done.stderr for words in _OUT_OF_REACH):
        raise UnavailableError(lines[-1].strip())
    raise BrokenError(f"its packages do not install: {lines[-1].strip()}")


def run(part: Part, folder: Path = FOLDER) -> Result:
    """Prepare and test a part; what pytest says goes to this terminal."""
    begin = time.monotonic()
    try:
        python, layer = prepare(part, folder)
    except UnavailableError as error:
        return Result(part.name, "skipped", str(error), time.monotonic() - begin)
    except BrokenError as error:
        return Result(part.name, "failed", str(error), time.monotonic() - begin)
    report = folder / f"{part.name}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    first = str(ROOT / part.search_path) if part.search_path else ""
    path = os.pathsep.join(filter(None, (layer, str(ROOT), first, os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, "PYTHONPATH": path, "FACEKIT_REAL": part.name, "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "tmp_path_retention_policy=none"]
    try:
        # A folder of its own: of the common one, pytest keeps only what the newest few sessions have there.
        with tempfile.TemporaryDirectory(prefix="facekit-real-", ignore_cleanup_errors=True) as temporary:
            done = subprocess.run(
                [*command, "--basetemp", str(Path(temporary) / "tmp"), "--junitxml", str(report), *part.tests],
                cwd=ROOT, env=environment, timeout=part.minutes * 60, check=False,
            )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Result(part.name, "failed", f"it took longer than {part.minutes:g} minutes", time.monotonic() - begin)
    counts = _count(report) if report.is_file() else {}
    told = ", ".join(f"{number} {word}" for word, number in counts.items() if number) or "no test ran"
    # What a test would skip for is what the part is there to bring.
    passed = done.returncode == 0 and counts.get("passed", 0) > 0 and counts["skipped"] == 0
    return Result(part.name, "passed" if passed else "failed", told, time.monotonic() - begin)


def _count(report: Path) -> dict[str, int]:
    counts = {"passed": 0, "failed": 0, "skipped": 0, "known to fail": 0}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            counts["failed"] += 1
        elif skipped is not None:
            counts["known to fail" if skipped.get("type") == "pytest.xfail" else "skipped"] += 1
        else:
            counts["passed"] += 1
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are named, or all; returns 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which; all by default")
    parser.add_argument("--list", action="store_true", help="show the parts and stop")
    chosen = parser.parse_args(arguments)
    parts = read_parts()
    unknown = sorted(set(chosen.parts) - parts.keys())
    if unknown:
        parser.error(f"there is no part '{unknown[0]}'; the parts are {', '.join(parts)}")
    if chosen.list:
        print("\n".join(f"{part.name:12} {part.about}" for part in parts.values()))
        return 0
    results = []
    for part in [parts[name] for name in chosen.parts] or parts.values():
        print(f"\n== {part.name}: {part.about}", flush=True)
        results.append(run(part))
        print(f"== {part.name} {results[-1].outcome}: {results[-1].told}", flush=True)
    print("\n" + "\n".join(f"{each.part:12} {each.outcome:8} {each.seconds:6.1f} s  {each.told}" for each in results))
    counted = {word: sum(each.outcome == word for each in results) for word in ("passed", "failed", "skipped")}
    print("real: " + ", ".join(f"{number} {word}" for word, number in counted.items()))
    return 1 if counted["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
