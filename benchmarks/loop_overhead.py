"""Prints what the timed loop costs per step over a bare loop that calls the same submission with the same batches.

  python benchmarks/loop_overhead.py [--framework=numpy|jax|pytorch] [--steps=5000] [--repeats=7] [--against=PATH]

numpy runs the toy workload, jax and pytorch run mnist_mini with the reference NadamW. Bare and timed loops alternate;
the fastest of each are compared, since other work on the machine can only add time.

With --against, a checkout of another commit (`git worktree add PATH COMMIT`) and this one are measured in turns, each
by its own copy of this benchmark, in a process of its own for each round; prints the ratio of their overheads.
"""

import argparse
import dataclasses
import io
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from algoperf.backends import base
from algoperf.data.pipeline import TrainPipeline
from algoperf.definition import EXTERNAL, FRAMEWORKS, Budget, Split
from algoperf.harness.clock import Clock
from algoperf.harness.loop import LoopPlan, LoopPorts, TrainingLoop
from algoperf.harness.progress import Progress
from algoperf.harness.run_state import RunState, TrainingState
from algoperf.harness.schedule import EvaluationSchedule
from algoperf.harness.seeds import Seeds
from algoperf.harness.stopping import Stopping
from algoperf.prepare import ensure_prepared
from algoperf.records.recorder import NullRecorder
from algoperf.registry import REGISTRY, Registry
from algoperf.runner.run_config import default_submission
from algoperf.submissions.loading import load_submission, resolve_batch_size
from algoperf.submissions.tuning import SearchSpace


class CyclingQueue:
    """A few batches that lie on the device already, again and again."""

    def __init__(self, batches: list[Any]) -> None:
        self._batches = itertools.cycle(batches)
        self.batches_taken = 0

    def __iter__(self) -> "CyclingQueue":
        return self

    def __next__(self) -> Any:
        self.batches_taken += 1
        return next(self._batches)

    def state_dict(self) -> dict[str, Any]:
        return {"batches_taken": self.batches_taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches_taken = state["batches_taken"]


class Bench:
    def __init__(self, framework: str, data_dir: Path) -> None:
        self.framework = framework
        self.nowhere = io.StringIO()
        if framework == "numpy":
            from algoperf.testing.fake_backend import FakeBackend

            registry = Registry(("algoperf.testing.toy_workload",))
            definition = registry.get("toy_mini")
            self.backend: Any = FakeBackend()
            self.submission = load_submission("algoperf.testing.numpy_submission")
            model_module, self.hyperparameters = "numpy_model", SimpleNamespace(learning_rate=1e-4, momentum=0.5)
        else:
            registry = REGISTRY
            definition = registry.get("mnist_mini")
            self.backend = base.load(framework)
            path = default_submission(framework)
            self.submission = load_submission(str(path))
            model_module = base.model_module(framework)
            space = path.parent / "search_spaces" / "default.json"
            self.hyperparameters = SearchSpace.load(space).draw(1)[0]
        self.definition = dataclasses.replace(
            definition, budget=Budget(max_runtime_s=1e6, eval_period_s=1e6, step_hint=10**6)
        )
        ensure_prepared(definition, data_dir, report=print, registry=registry)
        model = registry.module(definition.name, model_module).build(self.definition)
        self.workload = self.backend.build_workload(self.definition, model)
        source = registry.module(definition.name, "data").open_split(definition, Split.TRAIN, data_dir)
        size = resolve_batch_size(self.submission, definition, self.backend.num_devices)
        pipeline = TrainPipeline(source, batch_size=size, seed=0)
        self.batches = [self.backend.put_batch(next(pipeline)) for _ in range(8)]
        self.seeds = Seeds(self.backend, 0)

    def fresh_state(self) -> TrainingState:
        params, model_state = self.workload.init_model_fn(self.seeds.model_init)
        params = self.backend.prepare_model(self.workload, params, compile_model=False)
        optimizer_state = self.submission.init_optimizer_state(
            workload=self.workload,
            model_params=params,
            model_state=model_state,
            hyperparameters=self.hyperparameters,
            rng=self.seeds.optimizer_init,
        )
        return TrainingState(params=params, model_state=model_state, optimizer_state=optimizer_state)

    def bare(self, num_steps: int) -> float:
        """Seconds of the loop that a person would write without a harness."""
        state, queue = self.fresh_state(), CyclingQueue(self.batches)
        submission, workload = self.submission, self.workload
        key = self.seeds.step(0)
        results: list[Any] = []
        types = workload.model_params_types
        started = time.perf_counter()
        for step in range(num_steps):
            batch = submission.data_selection(
                workload=workload,
                input_queue=queue,
                optimizer_state=state.optimizer_state,
                current_param_container=state.params,
                model_state=state.model_state,
                hyperparameters=self.hyperparameters,
                global_step=step,
                rng=key.data_selection,
            )
            state.optimizer_state, state.params, state.model_state = submission.update_params(
                workload=workload,
                current_param_container=state.params,
                current_params_types=types,
                model_state=state.model_state,
                hyperparameters=self.hyperparameters,
                batch=batch,
                loss_type=workload.loss_type,
                optimizer_state=state.optimizer_state,
                eval_results=results,
                global_step=step,
                rng=key.update,
            )
        self.backend.fence(state.device_trees)
        return time.perf_counter() - started

    def timed(self, num_steps: int) -> float:
        """Seconds of the harness's loop, with its progress line, for the same steps."""
        stopping = Stopping(definition=self.definition, ruleset=EXTERNAL)
        run_state = RunState(
            seed=0,
            training=self.fresh_state(),
            clock=Clock(fence=self.backend.fence),
            stopping=stopping,
            schedule=EvaluationSchedule(period_s=1e6, last_s=0.0),
            input_queue=CyclingQueue(self.batches),
            recorder=NullRecorder(),
        )
        plan = LoopPlan(
            workload=self.workload,
            submission=self.submission,
            hyperparameters=self.hyperparameters,
            seeds=self.seeds,
            max_global_steps=num_steps,
            skip_evals=True,
        )
        ports = LoopPorts(
            backend=self.backend,
            evaluate=lambda *arguments: {},
            observer=Progress(self.definition, stopping.budget_s, stream=self.nowhere),
        )
        loop = TrainingLoop(plan, run_state, ports)
        started = time.perf_counter()
        result = loop.run()
        elapsed_s = time.perf_counter() - started
        if result.error:
            raise RuntimeError(result.error)
        return elapsed_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=("numpy", *FRAMEWORKS), default="numpy")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--data_dir", type=Path, default=Path("~/data").expanduser())
    parser.add_argument("--against", type=Path, help="checkout of another commit to compare with")
    parser.add_argument("--rounds", type=int, default=5, help="processes for each checkout, with --against")
    options = parser.parse_args()
    if options.against is not None:
        compare(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        # the toy is for tests, and has no place among a person's data
        bench = Bench(options.framework, Path(folder) if options.framework == "numpy" else options.data_dir)
    bench.bare(50)
    pairs = [(bench.bare(options.steps), bench.timed(options.steps)) for _ in range(options.repeats)]
    bare_us, timed_us = (1e6 * min(column) / options.steps for column in zip(*pairs, strict=True))
    print(
        f"{options.framework}: bare loop {bare_us:.1f} us/step, timed loop {timed_us:.1f} us/step, "
        f"overhead {timed_us - bare_us:.1f} us/step"
    )


def compare(options: argparse.Namespace) -> None:
    here = Path(__file__).resolve().parents[1]
    others, ours = [], []
    for number in range(options.rounds):
        pair = [(options.against.resolve(), others), (here, ours)]
        for checkout, measured in pair if number % 2 == 0 else reversed(pair):
            measured.append(in_child(checkout, options))
    bare_us, timed_us = zip(*(map(min, zip(*runs, strict=True)) for runs in (others, ours)), strict=True)
    other_us, our_us = (timed - bare for bare, timed in zip(bare_us, timed_us, strict=True))
    print(
        f"{options.framework}: overhead {our_us:.2f} us/step here, {other_us:.2f} us/step in {options.against}, "
        f"ratio {our_us / other_us:.3f}; timed loops {timed_us[1]:.2f} and {timed_us[0]:.2f} us/step, "
        f"ratio {timed_us[1] / timed_us[0]:.3f}"
    )


def in_child(checkout: Path, options: argparse.Namespace) -> tuple[float, float]:
    """Runs a checkout's own copy of this benchmark; returns microseconds per step of its bare and its timed loop."""
    command = [sys.executable, str(checkout / "benchmarks" / "loop_overhead.py")]
    command += [f"--{name}={getattr(options, name)}" for name in ("framework", "steps", "repeats", "data_dir")]
    done = subprocess.run(
        command, cwd=checkout, env={**os.environ, "PYTHONPATH": str(checkout)}, capture_output=True, text=True
    )
    figures = re.search(r"bare loop ([\d.]+) us/step, timed loop ([\d.]+) us/step", done.stdout)
    if done.returncode or figures is None:
        raise SystemExit(f"{checkout} failed with exit status {done.returncode}:\n{done.stderr}")
    return float(figures[1]), float(figures[2])


if __name__ == "__main__":
    main()
