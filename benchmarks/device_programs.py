"""One workload in one framework for benchmarks/device_steps.py: builds the programs, compiles them, measures in turns.

  python benchmarks/device_programs.py '{"workload": "wmt", "framework": "jax", "batch_size": 64, ...}'

prints one line of JSON when everything is compiled, waits for a line of input, measures, and prints the figures.
Batches are the workload's `fake_batch`: real shapes, no files.
"""

import dataclasses
import functools
import itertools
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from algoperf.backends import base
from algoperf.data.prefetch import Prefetcher
from algoperf.definition import EXTERNAL, FRAMEWORKS, JAX, Budget
from algoperf.edition import MatmulPrecision
from algoperf.harness.clock import Clock
from algoperf.harness.run_state import RunState, TrainingState
from algoperf.harness.schedule import EvaluationSchedule
from algoperf.harness.seeds import Seeds
from algoperf.harness.stopping import Stopping
from algoperf.harness.timed_steps import TimedSteps
from algoperf.records.recorder import NullRecorder
from algoperf.registry import REGISTRY
from algoperf.submissions.loading import load_submission

HYPERPARAMETERS = SimpleNamespace(
    learning_rate=1e-3, one_minus_beta1=0.1, beta2=0.999, weight_decay=0.01, warmup_factor=0.05
)
_NUM_BATCHES = 3  # different ones, taken in turn
_NEVER_S = 1e9
_WARM_UP_STEPS = 3
_EVALUATED_BATCHES = 3
_LEAST_STEPS = 8  # in a block: in the harness's the device runs dry twice, in a run log2(n) times in n steps

# Start and end on the clock that processes share; the parent, which may have stopped this process, makes seconds of it.
Span = tuple[float, float]
# Runs so many steps and returns their seconds, device work included.
Program = Callable[[int], float]


class Bench:
    """What both paths of a workload share: definition, model, batches, backend."""

    def __init__(self, workload: str, framework: str, batch_size: int, matmul_precision: str) -> None:
        self.framework = framework
        self.backend = base.load(framework, matmul_precision=MatmulPrecision(matmul_precision))
        definition = REGISTRY.get(workload)
        budget = Budget(max_runtime_s=_NEVER_S, eval_period_s=_NEVER_S, step_hint=definition.budget.step_hint)
        self.definition = dataclasses.replace(definition, budget=budget)
        self.data = REGISTRY.module(workload, "data")
        self.batch_size = batch_size
        self.batches = [self.data.fake_batch(definition, batch_size, seed) for seed in range(_NUM_BATCHES)]
        self.model = REGISTRY.module(workload, base.model_module(framework)).build(self.definition)
        self.workload = self.backend.build_workload(self.definition, self.model)
        self.seeds = Seeds(self.backend, 0)

    def fresh_parameters(self) -> tuple[Any, Any]:
        """Parameters as a submission is given them, and the model state."""
        params, model_state = self.workload.init_model_fn(self.seeds.model_init)
        return params, model_state


class HarnessPath:
    """The benchmark's own loop with the reference AdamW; batches go through the prefetcher and `put_batch`."""

    def __init__(self, bench: Bench, compile_model: bool | None) -> None:
        package = FRAMEWORKS[bench.framework].package
        submission = load_submission(f"reference_algorithms.adamw.{package}_submission")
        params, model_state = bench.fresh_parameters()
        started = time.monotonic()
        params = bench.backend.prepare_model(
            bench.workload,
            params,
            compile_model=compile_model,
            sample_batch=lambda: bench.data.fake_batch(bench.definition, bench.batch_size, 0),
        )
        self.preparation: Span = (started, time.monotonic())
        optimizer_state = submission.init_optimizer_state(
            workload=bench.workload,
            model_params=params,
            model_state=model_state,
            hyperparameters=HYPERPARAMETERS,
            rng=bench.seeds.optimizer_init,
        )
        self._run_state = RunState(
            seed=0,
            training=TrainingState(
                params=params, model_state=model_state, optimizer_state=bench.backend.place_state(optimizer_state)
            ),
            clock=Clock(fence=bench.backend.fence),
            stopping=Stopping(definition=bench.definition, ruleset=EXTERNAL),
            schedule=EvaluationSchedule(period_s=_NEVER_S, last_s=0.0),
            input_queue=Prefetcher(lambda start: itertools.cycle(bench.batches), bench.backend.put_batch),
            recorder=NullRecorder(),
        )
        self._timed_steps = TimedSteps(
            backend=bench.backend,
            workload=bench.workload,
            submission=submission,
            hyperparameters=HYPERPARAMETERS,
            seeds=bench.seeds,
            run_state=self._run_state,
        )

    @property
    def parameters(self) -> tuple[Any, Any]:
        training = self._run_state.training
        return training.params, training.model_state

    def __call__(self, steps: int) -> float:
        return self._timed_steps(steps)

    def close(self) -> None:
        self._run_state.input_queue.close()


def jax_bare_step(bench: Bench) -> tuple[dict[str, Program], dict[str, Any]]:
    """A step as a person writes it: one jitted function, batches on the device; and XLA's account of it."""
    import jax
    import optax

    model, rate = bench.model, bench.definition.default_dropout or 0.0
    optimizer = optax.adamw(1e-4, b1=0.9, b2=0.999, weight_decay=0.01)

    def step(params: Any, model_state: Any, optimizer_state: Any, batch: Any, key: Any) -> Any:
        def mean_loss(params: Any) -> Any:
            logits, new_state = model.forward(
                params, batch, model_state, train=True, rng=key, update_batch_norm=True, dropout_rate=rate
            )
            loss = model.loss(batch["targets"], logits, batch.get("weights"), 0.0)
            return loss["summed"] / loss["n_valid_examples"], new_state

        (loss, new_state), gradients = jax.value_and_grad(mean_loss, has_aux=True)(params)
        updates, optimizer_state = optimizer.update(gradients, optimizer_state, params)
        return optax.apply_updates(params, updates), new_state, optimizer_state, loss

    params, model_state = jax.jit(model.init)(jax.random.key_data(jax.random.key(0)))
    state = [params, model_state, jax.jit(optimizer.init)(params)]
    batches = [bench.backend.put_batch(batch) for batch in bench.batches]
    keys = [jax.random.key_data(jax.random.key(number)) for number in range(_NUM_BATCHES)]
    compiled = jax.jit(step, donate_argnums=(0, 1, 2)).lower(*state, batches[0], keys[0]).compile()

    def run(steps: int) -> float:
        started = time.perf_counter()
        for number in range(steps):
            index = number % _NUM_BATCHES
            *state[:], loss = compiled(*state, batches[index], keys[index])
        loss.block_until_ready()
        return time.perf_counter() - started

    cost = compiled.cost_analysis() or {}
    return {"bare": run}, {"xla_flops": cost.get("flops"), "xla_bytes": cost.get("bytes accessed")}


def torch_bare_step(bench: Bench, is_compiled: bool, graphs: bool) -> tuple[dict[str, Program], dict[str, Any]]:
    """A step as a person writes it, eager and (where the harness compiles) compiled, with CUDA graphs if asked for."""
    import torch

    torch.manual_seed(0)
    with torch.device(bench.backend.device):
        module, _ = bench.model.init(None)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
    batches = [bench.backend.put_batch(batch) for batch in bench.batches]
    rate = bench.definition.default_dropout or 0.0

    def loss_of(forward_module: Any, loss_fn: Any, batch: Any) -> Any:
        logits, _ = bench.model.forward(
            forward_module, batch, None, train=True, rng=None, update_batch_norm=True, dropout_rate=rate
        )
        loss = loss_fn(batch["targets"], logits, batch.get("weights"), 0.0)
        return loss["summed"] / loss["n_valid_examples"]

    def program(forward_module: Any, loss_fn: Any) -> Program:
        def run(steps: int) -> float:
            started = time.perf_counter()
            for number in range(steps):
                optimizer.zero_grad(set_to_none=True)
                loss_of(forward_module, loss_fn, batches[number % _NUM_BATCHES]).backward()
                optimizer.step()
            bench.backend.fence()
            return time.perf_counter() - started

        return run

    programs = {"bare_eager" if is_compiled else "bare": program(module, bench.model.loss)}
    if is_compiled:
        compiled_loss = torch.compile(bench.model.loss)
        programs["bare"] = program(torch.compile(module), compiled_loss)
        if graphs:
            programs["bare_graphs"] = program(torch.compile(module, mode="reduce-overhead"), compiled_loss)
    flops = torch_flops(lambda: loss_of(module, bench.model.loss, batches[0]).backward())
    optimizer.zero_grad(set_to_none=True)
    return programs, {"model_flops": flops}


def torch_flops(step: Callable[[], Any]) -> int:
    """Floating-point operations of matrix products, convolutions, attention and LSTMs, forward and backward."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    def lstm(input_shape: Any, weight_shapes: Any, *arguments: Any, out_shape: Any = None, **options: Any) -> int:
        """Two operations for each weight of a matrix and each step of each row."""
        matrices = [shape for shape in weight_shapes if len(shape) == 2]
        return int(2 * input_shape[0] * input_shape[1] * sum(rows * columns for rows, columns in matrices))

    def lstm_backward(
        input_shape: Any, weight_shapes: Any, *arguments: Any, out_shape: Any = None, **options: Any
    ) -> int:
        return 2 * lstm(input_shape, weight_shapes)

    mapping = {torch.ops.aten._cudnn_rnn: lstm, torch.ops.aten._cudnn_rnn_backward: lstm_backward}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        step()
    return counter.get_total_flops()


def num_compilations(framework: str) -> int:
    """Programs that this process has compiled so far."""
    if framework == JAX.name:
        from algoperf.backends.jax import _compilations

        return int(_compilations().count)
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


def memory_gb(bench: Bench) -> float:
    """Peak memory of the devices; of the process on a CPU, where the devices do not say."""
    report = bench.backend.device_report()
    peak = (report.get("peak_memory_bytes") or [None])[0]
    return (peak if peak is not None else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1e9


def measure(programs: dict[str, Program], *, repeats: int, block_s: float) -> dict[str, dict[str, float]]:
    """Milliseconds of a step of each program, the median of blocks that alternate, and the spread of the blocks."""
    sizes = {name: max(_LEAST_STEPS, round(block_s / max(run(1), 1e-6))) for name, run in programs.items()}
    blocks: dict[str, list[float]] = {name: [] for name in programs}
    for repeat in range(repeats):
        for name in programs if repeat % 2 == 0 else reversed(programs):
            blocks[name].append(1e3 * programs[name](sizes[name]) / sizes[name])
    return {
        name: {
            "step_ms": round(statistics.median(steps), 3),
            "spread": round((max(steps) - min(steps)) / statistics.median(steps), 3),
        }
        for name, steps in blocks.items()
    }


def evaluation(bench: Bench, parameters: Callable[[], tuple[Any, Any]], batch_size: int, num_batches: int) -> Span:
    """Evaluates so many batches with the present parameters."""
    batch = bench.data.fake_batch(bench.definition, batch_size, 0)
    started = time.monotonic()
    for _ in bench.backend.evaluate(bench.workload, *parameters(), iter([batch] * num_batches)):
        pass
    return started, time.monotonic()


def warmed_up(program: Program) -> Span:
    """The first step."""
    started = time.monotonic()
    program(1)
    first = started, time.monotonic()
    program(_WARM_UP_STEPS)
    return first


def main(argv: list[str]) -> None:
    request = json.loads(argv[1])
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    started = time.monotonic()
    bench = Bench(*(request[name] for name in ("workload", "framework", "batch_size", "matmul_precision")))
    start_up = started, time.monotonic()
    harness = HarnessPath(bench, request["compile_model"])
    programs: dict[str, Program] = {"harness": harness}
    first_steps = {"harness": warmed_up(harness)}
    harness_peak_gb = memory_gb(bench)
    if bench.framework == JAX.name:
        bare, account = jax_bare_step(bench)
    else:
        is_compiled = hasattr(harness.parameters[0], "_orig_mod")
        bare, account = torch_bare_step(bench, is_compiled, request["graphs"])
        account["is_compiled"] = is_compiled
    programs |= bare if request["bare"] else {}
    if request["bare"]:
        first_steps |= {name: warmed_up(program) for name, program in bare.items()}
    evaluate = functools.partial(evaluation, bench, lambda: harness.parameters, request["eval_batch_size"])
    first_evaluation = evaluate(1) if request["eval_batch_size"] else None
    print(json.dumps({"ready": True}), file=replies, flush=True)
    sys.stdin.readline()
    before = num_compilations(bench.framework)
    measured = measure(programs, repeats=request["repeats"], block_s=request["block_s"])
    figures = {
        "workload": bench.definition.name,
        "framework": bench.framework,
        "batch_size": bench.batch_size,
        "matmul_precision": bench.backend.device_report()["matmul_precision"],
        "programs": measured,
        "num_compilations_while_measuring": num_compilations(bench.framework) - before,
        "spans": {"start_up_s": start_up, "prepare_model_s": harness.preparation, "first_step_s": first_steps},
        "peak_gb": round(harness_peak_gb, 2),
        **account,
    }
    if first_evaluation is not None:
        started, ended = evaluate(_EVALUATED_BATCHES)
        figures["evaluation"] = {
            "batch_size": request["eval_batch_size"],
            "batch_s": round((ended - started) / _EVALUATED_BATCHES, 3),
        }
        figures["spans"]["first_evaluated_batch_s"] = first_evaluation
    print(json.dumps(figures), file=replies, flush=True)
    harness.close()
    bench.backend.close()


if __name__ == "__main__":
    main(sys.argv)
