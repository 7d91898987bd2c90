"""Runs of several processes on the CPU through DDP, FSDP2 and DeepSpeed, and faults that one of them meets.

Processes are started as Slurm's ``srun`` does, without a launcher that ends the others when one has failed. As a
program, this file starts them; ``FAULT`` names what goes wrong, ``FAULT_STEP`` the step after which it does, and
``FAULT_RANK`` in which process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from small_runs import SEARCH_PATH

import facekit

PROJECT = Path(facekit.__file__).parents[1]
CONFIGURATIONS = PROJECT / "examples" / "accelerate"
ENGINES = {"ddp": "ddp", "fsdp2": "fsdp2", "zero2": "zero2", "zero3": "zero3"}
"""How weights are divided, and the configuration that the examples have for it."""

_SWITCHES = ("ACCELERATE_USE_", "ACCELERATE_DEEPSPEED_", "FSDP_")
PATIENCE = 300.0
"""Seconds after which a process that has not ended hangs."""


def read_configuration(name):
    """What ``accelerate launch`` makes of a configuration of the examples: arguments, environment of a process."""
    given = ["--config_file", str(CONFIGURATIONS / f"{name}.yaml"), "--no_python", "facekit"]
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args(given))
    arguments.deepspeed_fields_from_accelerate_config = ""
    if arguments.use_deepspeed:
        return arguments, prepare_deepspeed_cmd_env(arguments)[1]
    return arguments, prepare_multi_gpu_env(arguments)


def engine_environment(engine: str) -> dict[str, str]:
    """The variables by which a launched process knows how weights are divided."""
    _, environment = read_configuration(ENGINES[engine])
    chosen = {name: value for name, value in environment.items() if name.startswith(_SWITCHES)}
    return {**chosen, "DS_ACCELERATOR": "cpu"} if engine.startswith("zero") else chosen


@dataclass(frozen=True)
class Fault:
    """What happens to one process of a run.

    Args:
        kind: A key of ``FAULTS``.
        step: After which step it comes.
        rank: To which process; None for all.
    """

    kind: str
    step: int = 3
    rank: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """How a process is told."""
        rank = "" if self.rank is None else str(self.rank)
        return {"FAULT": self.kind, "FAULT_STEP": str(self.step), "FAULT_RANK": rank}


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Args:
        status: Its exit status; negative for a signal.
        errors: What it said on standard error.
    """

    status: int
    errors: str

    @property
    def sentences(self) -> list[str]:
        """What it said as errors of facekit."""
        return [line for line in self.errors.splitlines() if line.startswith("facekit: error:")]


class Engines:
    """A process that has imported all that runs need, and forks their processes from itself.

    Importing takes longer than a run, so it is done once. The processes of a run end as others do.
    """

    def __init__(self) -> None:
        path = os.pathsep.join([SEARCH_PATH, os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": path}
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve"], env=environment, cwd=PROJECT, text=True, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip

    def close(self) -> None:
        """End it."""
        self._process.communicate()

    def run(
        self,
        arguments: Sequence[str | Path],
        engine: str,
        folder: Path,
        *,
        processes: int = 2,
        fault: Fault | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> list[Ended]:
        """Run ``facekit`` in several processes and return how each ended; a hang ends all and fails.

        Args:
            arguments: Of ``facekit``.
            engine: A key of ``ENGINES``.
            folder: For what the processes say.
            processes: How many.
            fault: What happens to them.
            environment: Further variables.
        """
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {
            **(engine_environment(engine) if processes > 1 else {}), **(environment or {}),
            **(fault.environment if fault else {}), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes),
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        said = [folder / f"said-{rank}.txt" for rank in range(processes)]
        each = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        alone: dict[str, str] = dict(environment or {})
        order = {
            "arguments": [str(argument) for argument in arguments],
            "environments": each if processes > 1 else [alone],
            "errors": [str(path) for path in said],
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        statuses = json.loads(self._process.stdout.readline())
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in said]
        hung = [rank for rank, status in enumerate(statuses) if status is None]
        assert not hung, f"processes {hung} hang; they said:\n" + "\n--\n".join(text[-3000:] for text in texts)
        return [Ended(status, text) for status, text in zip(statuses, texts, strict=True)]


def _serve() -> bool:
    """Fork the processes of one run after the other; returns True in each of them."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for module in ("facekit.cli.main", "facekit.training.recipes.stages"):
        importlib.import_module(module)
    _prepare_deepspeed()
    for line in sys.stdin:
        order = json.loads(line)
        running = []
        for environment, errors in zip(order["environments"], order["errors"], strict=True):
            process = os.fork()
            if not process:
                _become(order["arguments"], environment, errors)
                return True
            running.append(process)
        answers.write(json.dumps(_wait(running)) + "\n")
        answers.flush()
    return False


def _prepare_deepspeed() -> None:
    """Import DeepSpeed, where it is installed, and build what its processes share; it is kept beside the package."""
    found = importlib.util.find_spec("deepspeed")
    if found is None or found.origin is None:
        return
    built = Path(found.origin).parents[1] / "extensions"
    for left in built.glob("*/lock"):  # of a build that was killed, which the next one would wait for
        left.unlink()
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(built))
    built.mkdir(exist_ok=True)
    from deepspeed.comm.torch import build_shm_op

    build_shm_op()


def _become(arguments: list[str], environment: dict[str, str], errors: str) -> None:
    """Be a process of a run."""
    os.environ.update(environment)
    sys.argv = ["facekit", *arguments]
    nothing = os.open(os.devnull, os.O_RDWR)
    told = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for source, target in ((nothing, 0), (nothing, 1), (told, 2)):
        os.dup2(source, target)


def _wait(running: list[int]) -> list[int | None]:
    """Statuses of processes; None for those that had to be ended."""
    statuses: dict[int, int | None] = dict.fromkeys(running)
    deadline = time.monotonic() + PATIENCE
    while None in statuses.values() and time.monotonic() < deadline:
        for process in [process for process, status in statuses.items() if status is None]:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                statuses[process] = os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    for process in [process for process, status in statuses.items() if status is None]:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return list(statuses.values())


def _after_step(action: Callable[[], None]) -> None:
    """Do something at the end of the fault's step, before a checkpoint of it can be saved."""
    from facekit.training.watching.run_watcher import RunWatcher

    end = RunWatcher.on_step_end

    def on_step_end(self, args, state, control, **named):
        end(self, args, state, control, **named)
        if state.global_step == int(os.environ["FAULT_STEP"]):
            action()

    RunWatcher.on_step_end = on_step_end


def _lose_loss() -> None:
    """Make the loss of the next step NaN."""
    from facekit.training.loop import face_trainer

    compute, comes = face_trainer.supervised_loss, []
    _after_step(lambda: comes.append(True))
    face_trainer.supervised_loss = lambda *given, **named: compute(*given, **named) * (float("nan") if comes else 1)


def _lose_gradient() -> None:
    """Make the gradients of the next step NaN, of a loss that is a number."""
    from facekit.training.loop.face_trainer import FaceTrainer

    compute, comes = FaceTrainer.compute_loss, []
    _after_step(lambda: comes.append(True))
    FaceTrainer.compute_loss = lambda *given, **named: compute(*given, **named) * (float("nan") if comes else 1)


def _limit_files() -> None:
    """Let no file grow beyond a few kilobytes, as on a disk without room."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))


def _fill_disk() -> None:
    """Leave no room on the disk of ``FAULT_FOLDER``."""
    filler = Path(os.environ["FAULT_FOLDER"]) / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass


def _wait_for_signal() -> None:
    """Go on when SIGTERM has come, which a busy machine may take its time to send."""
    from facekit.training.loop.interruption import SaveOnSignal

    come, note = [], SaveOnSignal._note

    def note_and_go_on(self, number, frame):
        note(self, number, frame)
        come.append(number)

    def wait() -> None:
        (Path(os.environ["FAULT_FOLDER"]) / f"waits-{os.environ['RANK']}").touch()
        deadline = time.monotonic() + 2 * PATIENCE
        while not come and time.monotonic() < deadline:
            time.sleep(0.1)

    SaveOnSignal._note = note_and_go_on
    _after_step(wait)


def _fail() -> None:
    raise OSError(5, "Input/output error", "reporter")


FAULTS: dict[str, Callable[[], None]] = {
    "kill": lambda: _after_step(lambda: os.kill(os.getpid(), signal.SIGKILL)),
    "term": lambda: _after_step(lambda: os.kill(os.getpid(), signal.SIGTERM)),
    "wait": _wait_for_signal,
    "callback": lambda: _after_step(_fail),
    "limit": lambda: _after_step(_limit_files),
    "full": lambda: _after_step(_fill_disk),
    "nan": _lose_loss,
    "gradient": _lose_gradient,
}

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        is_process = _serve()
    else:  # "run", and the words of a command
        del sys.argv[1]
        is_process = True
    if is_process:
        if os.environ.get("FAULT") and os.environ["FAULT_RANK"] in ("", os.environ["RANK"]):
            FAULTS[os.environ["FAULT"]]()
        from facekit.cli.main import main

        main()
