"""What every benchmark shares: timing, peak memory, the two ceilings of a device, and the results file.

Peers of one point are timed in turns, not one after the other, so that a drift of the machine meets all of them.
"""

from __future__ import annotations

import gc
import json
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

RESULTS_FOLDER = Path(__file__).parent / "results"
MEBIBYTE = 2**20


class Sample(NamedTuple):
    """One call, in seconds of the clock, and of the processor where it is the one that computes."""

    clock: float
    processor: float | None


@dataclass(frozen=True)
class Timing:
    """Seconds of one callable: the median, the fastest, the quartiles around the median, and how often it ran.

    ``processor_median`` is the median of the processor time of all threads, which a busy machine stretches less than
    the clock; None on a GPU.
    """

    median: float
    fastest: float
    lower_quartile: float
    upper_quartile: float
    repeats: int
    processor_median: float | None

    @classmethod
    def from_samples(cls, samples: list[Sample]) -> Timing:
        """Summarise at least one sample."""
        clock = [sample.clock for sample in samples]
        processor = [sample.processor for sample in samples if sample.processor is not None]
        lower, _, upper = statistics.quantiles(clock, n=4, method="inclusive") if len(clock) > 1 else clock * 3
        middle = statistics.median(processor) if processor else None
        return cls(statistics.median(clock), min(clock), lower, upper, len(clock), middle)


@dataclass(frozen=True)
class Ceilings:
    """What the device reached in the two simplest tasks, in the benchmark's dtype.

    Attributes:
        bytes_per_second: of a large copy, read and written bytes counted.
        flops_per_second: of a large square matrix product.
    """

    bytes_per_second: float
    flops_per_second: float


def device_name(device: torch.device) -> str:
    """The accelerator's name, or the processor's with the number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    threads = torch.get_num_threads()
    return f"{models[0] if models else platform.processor() or 'CPU'}, {threads} thread{'s' if threads > 1 else ''}"


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Stopwatch:
    """Times single calls on a device; on a GPU with events, and with its caches flushed before each call."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._flush = torch.empty(256 * MEBIBYTE, dtype=torch.int8, device=device) if device.type == "cuda" else None

    def time_once(self, call: Callable[[], object]) -> Sample:
        """Time one call, its result freed within."""
        if self._flush is None:
            start, processor_start = time.perf_counter(), time.process_time()
            call()
            return Sample(time.perf_counter() - start, time.process_time() - processor_start)
        self._flush.zero_()
        before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        before.record()
        call()
        after.record()
        after.synchronize()
        return Sample(before.elapsed_time(after) / 1000, None)

    def time_in_turns(
        self, calls: Mapping[str, Callable[[], object]], seconds: float, least: int = 3, most: int = 50
    ) -> dict[str, Timing]:
        """Time every call once per round, for about ``seconds`` in all, with ``least`` to ``most`` rounds."""
        samples: dict[str, list[Sample]] = {name: [] for name in calls}
        start = time.perf_counter()
        for round_index in range(most):
            if round_index >= least and time.perf_counter() - start > seconds:
                break
            for name, call in calls.items():
                samples[name].append(self.time_once(call))
        return {name: Timing.from_samples(values) for name, values in samples.items()}


def peak_memory(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that a call holds at its peak beyond what was held before it, its result included.

    On a GPU the allocator's count; on Linux the process's resident peak, which knows pages, not tensors, and misses
    memory that the process had kept for reuse. None where neither can be had.
    """
    gc.collect()
    if device.type == "cuda":
        synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        call()
        return _resident("VmHWM") - before
    except OSError:
        return None


def _resident(field: str) -> int:
    match = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if match is None:
        raise OSError(f"/proc/self/status has no {field}")
    return int(match[1]) * 1024


def measure_ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Measure the bandwidth of a copy and the FLOP/s of a matrix product; a few seconds."""
    stopwatch = Stopwatch(device)
    on_gpu = device.type == "cuda"
    source = torch.ones((2048 if on_gpu else 256) * MEBIBYTE // 4, device=device)
    target = torch.empty_like(source)
    side = 8192 if on_gpu else 2048
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    calls = {"copy": lambda: target.copy_(source), "product": lambda: left @ right}
    for call in calls.values():
        call()
    timings = stopwatch.time_in_turns(calls, seconds=3.0, least=5, most=30)
    return Ceilings(
        2 * source.numel() * source.element_size() / timings["copy"].fastest,
        2 * side**3 / timings["product"].fastest,
    )


def environment(device: torch.device) -> dict[str, Any]:
    """What a reader needs to judge the numbers: device, software, threads."""
    facts = {
        "device": device_name(device),
        "device_type": device.type,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "load_average_at_start": Path("/proc/loadavg").read_text().split()[0]
        if Path("/proc/loadavg").exists()
        else None,
    }
    try:
        import triton

        facts["triton"] = triton.__version__
    except ImportError:
        facts["triton"] = None
    return facts


def results_path(benchmark: str, device: torch.device, suffix: str) -> Path:
    """``benchmarks/results/BENCHMARK-DEVICE.SUFFIX``."""
    slug = re.sub(r"[^a-z0-9]+", "-", device_name(device).lower()).strip("-")
    return RESULTS_FOLDER / f"{benchmark}-{slug}.{suffix}"


def write_results(path: Path, facts: Mapping[str, Any], ceilings: Ceilings | None, rows: list[dict[str, Any]]) -> None:
    """Write one JSON document, replacing what an earlier run left; without ceilings where none were measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {} if ceilings is None else {"ceilings": asdict(ceilings)}
    document = {"environment": dict(facts), **measured, "results": rows}
    path.write_text(json.dumps(document, indent=1) + "\n")
