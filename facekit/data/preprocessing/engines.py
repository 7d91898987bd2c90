"""Execution engines of preprocessing: this process, a process pool, or a Ray cluster.

An engine takes a stream of tasks, keeps a bounded number of them under way, and gives results as they come. A process
that dies, by a fault in native code or for want of memory, does not end the run: its task comes back as ``Crashed``.
Workers end with the process that started them, also where that is killed.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import wait as wait_for_end
from typing import Any, Generic, TypeVar

from facekit.errors import ConfigurationError, MissingExtraError

Task = TypeVar("Task")
Result = TypeVar("Result")

ENGINES = ("local", "ray")
"""Where pictures are preprocessed: in processes of this machine, or on a Ray cluster."""
_UNDER_WAY_PER_WORKER = 2


@dataclass(frozen=True)
class Crashed(Generic[Task]):
    """A task during which a worker process died; not necessarily by its fault.

    Args:
        task: The task, to be tried again.
    """

    task: Task


def check_engine(engine: str, workers: int = 1) -> None:
    """Refuse an engine that there is not, or fewer than one worker; see ``run_tasks``."""
    if engine not in ENGINES:
        raise ConfigurationError(f"the engine is one of {', '.join(ENGINES)}, not '{engine}'")
    if workers < 1:
        raise ConfigurationError(f"there is at least one worker, not {workers}")
    if engine == "ray":
        _require_ray()


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    engine: str = "local",
    workers: int = 1,
    address: str | None = None,
) -> Iterator[Result | Crashed[Task]]:
    """Call a function on every task.

    Args:
        function: What is called; for processes it and the tasks must be picklable.
        tasks: The tasks; taken from the stream only as workers become free.
        engine: ``local`` or ``ray``.
        workers: Processes; 1 with ``local`` works in this process.
        address: The Ray cluster to join; None for the one that ``RAY_ADDRESS`` names, else a local one.

    Returns:
        The results, as they come.

    Raises:
        ConfigurationError: There is no such engine, or fewer than one worker.
        MissingExtraError: Ray is not installed.
    """
    check_engine(engine, workers)
    if engine == "ray":
        return _run_on_ray(function, tasks, workers, address)
    return _run_in_processes(function, tasks, workers) if workers > 1 else map(function, tasks)


def run_alone(function: Callable[[Task], Result], task: Task) -> Result | Crashed[Task]:
    """Call a function in a process of its own."""
    with _start_pool(1) as pool:
        try:
            return pool.submit(function, task).result()
        except BrokenProcessPool:
            return Crashed(task)


def _start_pool(workers: int) -> ProcessPoolExecutor:
    # Not forked: native libraries that have started threads do not survive it.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process stops its workers
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """End this process when another has: a killed run stops none of its workers, who would wait for tasks for ever."""
    wait_for_end([sentinel])
    os._exit(1)


def _run_in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Result | Crashed[Task]]:
    stream = iter(tasks)
    pool = _start_pool(workers)
    under_way: dict[Future[Result], Task] = {}
    try:
        while True:
            for task in islice(stream, _UNDER_WAY_PER_WORKER * workers - len(under_way)):
                under_way[pool.submit(function, task)] = task
            if not under_way:
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                yield from _collect_after_crash(under_way)
                under_way = {}
                pool.shutdown(wait=False, cancel_futures=True)
                pool = _start_pool(workers)
                continue
            for future in done:
                del under_way[future]
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect_after_crash(under_way: dict[Future[Result], Task]) -> Iterator[Result | Crashed[Task]]:
    wait(under_way)
    for future, task in under_way.items():
        yield Crashed(task) if isinstance(future.exception(), BrokenProcessPool) else future.result()


def _require_ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("the engine 'ray' needs Ray; pip install 'facekit-mllm[ray]'") from error
    return ray


def _run_on_ray(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int, address: str | None
) -> Iterator[Result | Crashed[Task]]:
    ray = _require_ray()
    was_running = ray.is_initialized()
    if not was_running:
        options: dict[str, Any] = {} if address else {"include_dashboard": False}
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)

    def call(task: Task) -> Result:
        return function(task)

    remote = ray.remote(num_cpus=1, max_retries=0)(call)
    stream = iter(tasks)
    under_way: dict[Any, Task] = {}
    try:
        while True:
            for task in islice(stream, _UNDER_WAY_PER_WORKER * workers - len(under_way)):
                under_way[remote.remote(task)] = task
            if not under_way:
                return
            done, _ = ray.wait(list(under_way), num_returns=1)
            for reference in done:
                task = under_way.pop(reference)
                try:
                    result: Result | Crashed[Task] = ray.get(reference)
                except (
                    ray.exceptions.WorkerCrashedError,
                    ray.exceptions.NodeDiedError,
                    ray.exceptions.OutOfMemoryError,
                ):
                    result = Crashed(task)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                yield result
    finally:
        for reference in under_way:
            ray.cancel(reference, force=False)
        if not was_running:
            ray.shutdown()
