"""A Slurm of one machine, of Debian's packages, started by whoever runs the tests and ended with them.

It has two partitions on the same node: jobs of ``urgent`` take the processors from those of ``spare``, which go back
into the queue after a time of grace.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")

_SYSTEM = "/usr/sbin"
_DAEMONS = 3
_CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=batch_sched_delay=1,sched_interval=2
KillWait=60
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=spare Nodes={host} Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime={grace} State=UP
PartitionName=urgent Nodes={host} MaxTime=INFINITE PriorityTier=9 PreemptMode=OFF State=UP
"""


class OneMachineSlurm:
    """The daemons, as long as the object is open.

    Args:
        folder: For their configuration, state and logs; not longer than a socket's path may be.
        grace: Seconds between the signal of a pre-emption and the end.
    """

    def __init__(self, folder: Path, grace: int = 300) -> None:
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        ports = [_free_port(), _free_port()]
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(
            _CONFIGURATION.format(
                host=self.host, user=_user(), folder=folder, grace=grace,
                controller_port=ports[0], node_port=ports[1],
            )
        )  # fmt: skip
        path = os.pathsep.join([os.environ["PATH"], _SYSTEM])
        self.environment = {**os.environ, "PATH": path, "SLURM_CONF": str(self.configuration)}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> OneMachineSlurm:
        files = {
            "socket": "munge.socket",
            "key-file": "munge.key",
            "pid-file": "munged.pid",
            "seed-file": "munged.seed",
        }
        options = [f"--{name}={self.folder / file}" for name, file in files.items()]
        try:
            self._start("munged", "--foreground", "--force", *options, f"--log-file={self.folder / 'munged.log'}")
            self.wait_for("munge.socket", lambda: (self.folder / "munge.socket").exists())
            self._start("slurmctld", "-D", "-i", "-f", str(self.configuration))
            self._start("slurmd", "-D", "-f", str(self.configuration))
            self.wait_for("an idle node", lambda: "idle" in self.call("sinfo", "--noheader", "--format=%t").split())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the jobs, and then the daemons, the last one first."""
        if len(self._daemons) == _DAEMONS:
            self.call("scancel", "--signal=KILL", "--full", f"--user={_user()}")
            self.call("scancel", f"--user={_user()}")
            deadline = time.monotonic() + 60
            while self.call("squeue", "--noheader") and time.monotonic() < deadline:
                time.sleep(0.3)
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()

    def call(self, *command: str | Path) -> str:
        """Run one of Slurm's commands and return what it said; where it failed, nothing."""
        done = subprocess.run(
            [str(word) for word in command],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def submit(self, *command: str | Path) -> str:
        """Submit a job and return its number."""
        done = subprocess.run(
            ["sbatch", "--parsable", *map(str, command)], env=self.environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What Slurm knows of a job, such as its ``JobState`` and how often it was put back, ``Restarts``."""
        words = self.call("scontrol", "show", "job", "--oneliner", number).split()
        return dict(word.partition("=")[::2] for word in words)

    def wait(self, number: str, states: Sequence[str], seconds: float = 600) -> dict[str, str]:
        """Wait until a job is in one of the states."""
        self.wait_for(f"job {number} to be {states}", lambda: self.job(number).get("JobState") in states, seconds)
        return self.job(number)

    def _start(self, program: str, *options: str) -> None:
        with (self.folder / f"{program}.out").open("wb") as out:
            self._daemons.append(
                subprocess.Popen(
                    [program, *options], env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    executable=_find(program, self.environment["PATH"]),
                )
            )  # fmt: skip

    def wait_for(self, what: str, is_so: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is so; fails where it takes too long, or a daemon has ended."""
        deadline = time.monotonic() + seconds
        while not is_so():
            ended = [daemon.args[0] for daemon in self._daemons if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise SlurmError(f"no {what}; ended: {ended}; {self._logs()}")
            time.sleep(0.3)

    def _logs(self) -> str:
        files = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(f"{file.name}: {file.read_text(errors='replace')[-800:]}" for file in files)


class SlurmError(Exception):
    """The daemons do not start, or a job does not come where it should."""


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _find(program: str, path: str) -> str:
    found = shutil.which(program, path=path)
    if found is None:
        raise SlurmError(f"there is no {program}")
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        try:
            with OneMachineSlurm(Path(temporary)):
                pass
        except SlurmError as error:
            sys.exit(f"a Slurm of one machine does not start: {str(error).replace(chr(10), ' ')[:500]}")
