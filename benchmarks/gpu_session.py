"""All measurements of a machine with one GPU in one call of at most twelve minutes: ``bash benchmarks/gpu_session.sh``.

Steps run one after the other, each a process of its own with a time limit of its own: what fails, hangs or takes the
device's memory costs itself only. Each leaves its JSON and its plot; ``gpu_session.json`` says how every step went, and
is written anew after each; ``gpu_session.log`` has what they printed.

============  ====================================================================================================
``build``     what the machine has, and that all benchmarks import
``check``     every kernel against float64: values, gradients, odd shapes (``benchmarks.kernel_check``)
``region``    region attention against all peers, forward and backward (``benchmarks.region_attention``)
``training``  a step with a shared prefix against the usual ways, at 1B shapes (``benchmarks.training``)
``ask``       many questions about one picture (``benchmarks.ask``)
============  ====================================================================================================

``--dry`` runs every step at toy size on the CPU, Triton's kernels in its interpreter: it shows that the session works,
and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.harness import RESULTS_FOLDER

SESSION_SECONDS = 720.0
"""Of all steps together."""
LOG_NAME = "gpu_session.log"
_LAST_LINES = 12
_GRACE = 5.0
_IMPORTS = (
    "import json, torch, transformers, facekit, benchmarks.kernel_check, benchmarks.region_attention, "
    "benchmarks.training, benchmarks.ask; from benchmarks.harness import environment; "
    "import sys; from pathlib import Path; "
    "device = torch.device('cuda' if torch.cuda.is_available() else 'cpu'); "
    "facts = {**environment(device), 'transformers': transformers.__version__, 'facekit': facekit.__version__}; "
    "Path(sys.argv[1]).write_text(json.dumps(facts, indent=1)); print(facts)"
)


@dataclass(frozen=True)
class Step:
    """One step of the session.

    Attributes:
        name: its name, and that of its files.
        command: arguments of Python, to which the path of its results is added.
        limit: seconds after which it is ended.
        environment: variables beside those of the session.
    """

    name: str
    command: tuple[str, ...]
    limit: float
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a step went.

    Attributes:
        name: of the step.
        outcome: ``passed``, ``failed``, ``ended`` at its limit, or ``left out`` because the session's time was over.
        seconds: that it took.
        limit: that it had.
        status: its exit status; None where it has none.
        files: what it left.
        last_lines: the end of what it printed.
    """

    name: str
    outcome: str
    seconds: float
    limit: float
    status: int | None
    files: tuple[str, ...]
    last_lines: tuple[str, ...]


def session_steps() -> tuple[Step, ...]:
    """The steps on a GPU, most important first; their limits add up to no more than the session has."""
    return (
        Step("build", ("-c", _IMPORTS), 60),
        Step("check", ("-m", "benchmarks.kernel_check", "--seconds", "90", "--output"), 120),
        Step("region", ("-m", "benchmarks.region_attention", "--seconds", "1", "--budget", "190", "--output"), 270),
        Step("training", ("-m", "benchmarks.training", "--seconds", "15", "--output"), 180),
        Step("ask", ("-m", "benchmarks.ask", "--seconds", "20", "--output"), 80),
    )


def dry_steps() -> tuple[Step, ...]:
    """The same steps at toy size on the CPU."""
    on_cpu = ("--device", "cpu")
    point = ("--frames", "1", "--widths", "64", "--regions", "5", "--patches", "17", "--seconds", "0.05")
    interpreted = {"TRITON_INTERPRET": "1"}
    few = ("--questions", "3", "--tokens", "2")
    return (
        Step("build", ("-c", _IMPORTS), 60),
        Step("check", ("-m", "benchmarks.kernel_check", *on_cpu, "--shapes", "small", "--output"), 120, interpreted),
        Step("region", ("-m", "benchmarks.region_attention", *on_cpu, *point, "--output"), 120),
        Step("training", ("-m", "benchmarks.training", *on_cpu, "--shape", "smoke", "--seconds", "0", "--output"), 120),
        Step("ask", ("-m", "benchmarks.ask", *on_cpu, *few, "--seconds", "0", "--output"), 120),
    )


def run_session(steps: Sequence[Step], folder: Path, seconds: float = SESSION_SECONDS) -> list[Outcome]:
    """Run steps one after the other, whatever becomes of each.

    Args:
        steps: The steps.
        folder: Where results go, named after steps and machine.
        seconds: Of all steps together; one that would go beyond gets what is left.

    Returns:
        How each went; ``gpu_session.json`` in the folder has the same.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LOG_NAME).unlink(missing_ok=True)
    started, outcomes = time.monotonic(), []
    for step in steps:
        left = seconds - (time.monotonic() - started)
        outcomes.append(_run(step, folder, min(step.limit, left - _GRACE)))
        told = outcomes[-1]
        print(f"{told.name:<10}{told.outcome:<10}{told.seconds:6.1f} s of {told.limit:.0f}", flush=True)
        for line in told.last_lines if told.outcome != "passed" else ():
            print(f"    {line}", flush=True)
        document = {
            "machine": platform.platform(), "python": platform.python_version(), "limit": seconds,
            "seconds": time.monotonic() - started, "steps": [asdict(each) for each in outcomes],
        }  # fmt: skip
        (folder / "gpu_session.json").write_text(json.dumps(document, indent=1) + "\n")
    return outcomes


def _run(step: Step, folder: Path, limit: float) -> Outcome:
    if limit <= 0:
        return Outcome(step.name, "left out", 0.0, max(limit, 0.0), None, (), ("the session's time is over",))
    log, results = folder / LOG_NAME, folder / f"{step.name}.json"
    for path in (results, results.with_suffix(".png")):
        path.unlink(missing_ok=True)
    started = time.monotonic()
    with log.open("ab") as output:
        output.write(f"== {step.name}\n".encode())
        output.flush()
        process = subprocess.Popen(
            [sys.executable, *step.command, str(results)],
            stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env={**os.environ, **step.environment}, start_new_session=True,
        )  # fmt: skip
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            _end(process)
    files = tuple(path.name for path in (results, results.with_suffix(".png")) if path.is_file())
    outcome = {0: "passed", None: "ended"}.get(status, "failed")
    last = tuple(log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    return Outcome(step.name, outcome, time.monotonic() - started, limit, status, files, last)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a step, with the processes that it started, which would keep the device's memory."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def main(arguments: list[str] | None = None) -> None:
    """Run the session; exits with status 1 where a step did not pass, with all results of the others."""
    parser = argparse.ArgumentParser(prog="bash benchmarks/gpu_session.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULTS_FOLDER / "gpu_session", help="folder of the results")
    parser.add_argument("--dry", action="store_true", help="toy sizes on the CPU; measures nothing")
    parser.add_argument("--seconds", type=float, default=SESSION_SECONDS, help="of all steps together")
    options = parser.parse_args(arguments)
    outcomes = run_session(dry_steps() if options.dry else session_steps(), options.output, options.seconds)
    print(f"results: {options.output}")
    if any(outcome.outcome != "passed" for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
