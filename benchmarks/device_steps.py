"""Step times of the full-size models on this device: the harness's path against a bare step and the device's limits.

  python benchmarks/device_steps.py --output=steps.json [--workloads=wmt,ogbg] [--frameworks=jax,pytorch]
      [--budget_s=540] [--compile_jobs=3] [--evaluate] [--no-bare] [--torch_compile=auto|on|off]

Each workload and framework has a process of its own. Processes compile side by side, `--compile_jobs` at a time; while
one of them measures, the others are stopped. What has not been measured when the budget is spent is listed as skipped.
Prints a table and writes JSON, from which `python benchmarks/device_table.py` makes the table of docs/performance.md.
"""

import argparse
import contextlib
import datetime
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from algoperf import nvidia
from algoperf.definition import FRAMEWORKS
from algoperf.edition import MatmulPrecision
from algoperf.records import provenance
from algoperf.registry import REGISTRY

HERE = Path(__file__).resolve().parent
# For one device; those that take longest to compile come first.
BATCH_SIZES = {
    "finewebedu_lm": 16,
    "wmt": 64,
    "librispeech_conformer": 32,
    "librispeech_deepspeech": 32,
    "imagenet_vit": 256,
    "ogbg": 512,
    "imagenet_resnet": 256,
    "fastmri": 8,
    "criteo1tb": 65_536,
}
GRAPHS = ("ogbg",)  # many small kernels: CUDA graphs are measured as well
_EVALUATION_DEVICES = 4  # a device evaluates this share of the evaluation batch


class Child:
    """One process that builds, compiles, says that it is ready, and measures when it is told to."""

    def __init__(self, request: dict[str, Any], environment: dict[str, str], events: queue.Queue[Any]) -> None:
        self.request = request
        self.name = f"{request['workload']} {request['framework']}"
        self.figures: dict[str, Any] | None = None
        self._stops: list[tuple[int, float]] = []
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "device_programs.py"), json.dumps(request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
            start_new_session=True,
        )
        threading.Thread(target=self._read, args=(events,), daemon=True).start()

    def _read(self, events: queue.Queue[Any]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            if "ready" in reply:
                events.put((self, "ready"))
            else:
                self.figures = reply | self._seconds(reply.pop("spans", {}))
        self._process.wait()
        events.put((self, "end"))

    def measure(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write("\n")
            self._process.stdin.flush()

    def signal(self, number: int) -> None:
        """To the process and to those that it started, a compiler's for example."""
        self._stops.append((number, time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _seconds(self, spans: Any) -> Any:
        """Seconds of each (start, end), less those in which the process was stopped."""
        if isinstance(spans, dict):
            return {name: self._seconds(span) for name, span in spans.items()}
        start, end = spans
        stops = [
            (at, next((later for n, later in self._stops[i:] if n == signal.SIGCONT), end))
            for i, (number, at) in enumerate(self._stops)
            if number == signal.SIGSTOP
        ]
        return round(end - start - sum(max(0.0, min(end, to) - max(start, at)) for at, to in stops), 1)

    def last_words(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:]


class Measurement:
    """Takes requests in order: several compile, one measures."""

    def __init__(self, requests: list[dict[str, Any]], environment: dict[str, str], compile_jobs: int) -> None:
        self._waiting = list(requests)
        self._environment = environment
        self._compile_jobs = compile_jobs
        self._events: queue.Queue[tuple[Child, str]] = queue.Queue()
        self._children: list[Child] = []
        self.measured: list[dict[str, Any]] = []
        self.failed: list[dict[str, str]] = []

    @property
    def skipped(self) -> list[str]:
        return [f"{r['workload']} {r['framework']}" for r in self._waiting] + [child.name for child in self._children]

    def run(self, deadline: float) -> None:
        """Until everything is measured or the deadline (of `time.monotonic`) has passed."""
        try:
            for child, event in self._next_events(deadline):
                if event == "ready":
                    self._measure_alone(child, deadline)
                else:
                    self._ended(child)
        finally:
            for child in self._children:
                child.signal(signal.SIGKILL)

    def _next_events(self, deadline: float) -> Iterator[tuple[Child, str]]:
        while True:
            while self._waiting and len(self._children) < self._compile_jobs:
                self._children.append(Child(self._waiting.pop(0), self._environment, self._events))
            if not self._children:
                return
            try:
                yield self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return

    def _measure_alone(self, child: Child, deadline: float) -> None:
        """Lets `child` measure and end while the others are stopped; events of the others wait."""
        others = [other for other in self._children if other is not child]
        for other in others:
            other.signal(signal.SIGSTOP)
        child.measure()
        later = []
        try:
            while True:
                event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
                if event == (child, "end"):
                    self._ended(child)
                    return
                later.append(event)
        except queue.Empty:
            return
        finally:
            for event in later:
                self._events.put(event)
            for other in others:
                other.signal(signal.SIGCONT)

    def _ended(self, child: Child) -> None:
        self._children.remove(child)
        if child.figures is None:
            self.failed.append({"name": child.name, "last_words": child.last_words()})
            print(f"{child.name} FAILED\n{child.last_words()}", file=sys.stderr, flush=True)
        else:
            self.measured.append(child.figures)
            print(_line(child.figures), flush=True)


def _line(figures: dict[str, Any]) -> str:
    steps = ", ".join(f"{name} {p['step_ms']:.1f} ms" for name, p in figures["programs"].items())
    return (
        f"{figures['workload']:24}{figures['framework']:9}{steps}; first step {figures['first_step_s']['harness']} s, "
        f"peak {figures['peak_gb']} GB" + (f"; evaluation {figures['evaluation']}" if "evaluation" in figures else "")
    )


def ceilings() -> dict[str, Any]:
    """What the device gives at most: products of large matrices in each precision, and a copy in its memory."""
    import torch

    if not torch.cuda.is_available():
        return {}

    def seconds(work: Any, count: int) -> float:
        work()
        times = []
        for _ in range(5):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(count):
                work()
            end.record()
            torch.cuda.synchronize()
            times.append(start.elapsed_time(end) / 1e3 / count)
        return sorted(times)[2]

    size, figures = 8192, {}
    for name, dtype, precision in (
        ("float32", torch.float32, "highest"),
        ("tf32", torch.float32, "high"),
        ("bfloat16", torch.bfloat16, "highest"),
    ):
        torch.set_float32_matmul_precision(precision)
        left, right = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
        figures[f"{name}_tflops"] = round(2 * size**3 / seconds(lambda a=left, b=right: a @ b, 4) / 1e12, 1)
    source = torch.randn(2**30, device="cuda")
    target = torch.empty_like(source)
    figures["copy_gb_per_s"] = round(2 * 4 * 2**30 / seconds(lambda: target.copy_(source), 4) / 1e9)
    host = torch.empty(2**26, pin_memory=True)
    on_device = torch.empty(2**26, device="cuda")
    figures["host_to_device_gb_per_s"] = round(
        4 * 2**26 / seconds(lambda: on_device.copy_(host, non_blocking=True), 4) / 1e9, 1
    )
    return {"device": torch.cuda.get_device_name(), **figures}


def requests(options: argparse.Namespace) -> list[dict[str, Any]]:
    chosen = []
    for workload in options.workloads.split(","):
        definition = REGISTRY.get(workload)
        batch_size = options.batch_size or BATCH_SIZES.get(workload, definition.reference_batch_size)
        for framework in options.frameworks.split(","):
            chosen.append(
                {
                    "workload": workload,
                    "framework": framework,
                    "batch_size": batch_size,
                    "matmul_precision": options.matmul_precision,
                    "compile_model": {"auto": None, "on": True, "off": False}[options.torch_compile],
                    "graphs": workload in GRAPHS,
                    "bare": options.bare,
                    "repeats": options.repeats,
                    "block_s": options.block_s,
                    "eval_batch_size": _share(definition.eval_batch_size) if options.evaluate else 0,
                }
            )
    return chosen


def _share(eval_batch_size: int) -> int:
    return max(1, eval_batch_size // _EVALUATION_DEVICES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workloads", default=",".join(BATCH_SIZES))
    parser.add_argument("--frameworks", default=",".join(FRAMEWORKS))
    parser.add_argument("--batch_size", type=int, help="instead of the benchmark's own")
    parser.add_argument("--budget_s", type=float, default=540.0)
    parser.add_argument("--compile_jobs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--block_s", type=float, default=0.3)
    parser.add_argument("--torch_compile", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--matmul_precision", choices=tuple(MatmulPrecision), default=MatmulPrecision.TF32)
    parser.add_argument("--bare", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--evaluate", action="store_true", help="time an evaluation batch too")
    parser.add_argument("--ceilings", action="store_true", help="only measure the device's limits, and print them")
    parser.add_argument("--note", default="", help="a sentence for the page, of what else ran for example")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.ceilings:
        print(json.dumps(ceilings()))
        return
    deadline = time.monotonic() + options.budget_s
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    limits = subprocess.run(
        [sys.executable, __file__, "--ceilings"], check=True, capture_output=True, text=True, env=environment
    )
    measurement = Measurement(requests(options), environment, options.compile_jobs)
    measurement.run(deadline)
    result = {
        "schema_version": 1,
        "date": datetime.date.today().isoformat(),
        "note": options.note,
        "device": json.loads(limits.stdout).get("device") or provenance.cpu_model(),
        "driver": nvidia.driver_version(),
        "python": sys.version.split()[0],
        "packages": {name: v for name, v in provenance.package_versions().items() if name in _PACKAGES},
        "ceilings": json.loads(limits.stdout),
        "compile_jobs": options.compile_jobs,
        "measured": measurement.measured,
        "failed": measurement.failed,
        "skipped": measurement.skipped,
    }
    print(f"skipped, as the budget was spent: {', '.join(measurement.skipped) or 'nothing'}")
    if options.output is not None:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


_PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "triton")

if __name__ == "__main__":
    main()
