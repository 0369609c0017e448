"""Runs a submission with known sleeps and queued device work, and prints what the ledger says about them.

  python benchmarks/clock_selftest.py --framework=jax [--steps=60]

Every step sleeps 4 ms in `data_selection` and 6 ms in `update_params`; `prepare_for_eval` sleeps 30 ms. In JAX every
step also queues a chain of matrix products and returns at once; sleeping and computing overlap. Fails unless the items
add up to the wall time within 1 %, what was slept and queued is charged (within 15 %), and evaluation holds none of it.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from algoperf.definition import FRAMEWORKS, JAX, Budget
from algoperf.records.layout import EVALUATIONS
from algoperf.records.trial import TrialRecord
from algoperf.registry import Registry
from algoperf.runner import driver
from algoperf.runner.run_config import RunConfig

SELECTION_S, UPDATE_S, PREPARE_S = 0.004, 0.006, 0.03

SUBMISSION = """
import time

{imports}

def get_batch_size(workload_name):
    return 16

def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {initial}

def data_selection(workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters,
                   global_step, rng):
    time.sleep({selection_s})
    return next(input_queue)

def update_params(workload, current_param_container, current_params_types, model_state, hyperparameters, batch,
                  loss_type, optimizer_state, eval_results, global_step, rng):
    time.sleep({update_s})
    optimizer_state = {work}
    return optimizer_state, current_param_container, model_state

def prepare_for_eval(workload, current_param_container, current_params_types, model_state, hyperparameters, loss_type,
                     optimizer_state, eval_results, global_step, rng):
    time.sleep({prepare_s})
    return optimizer_state, current_param_container, model_state
"""

JAX_PARTS = {
    "imports": """
import jax
import jax.numpy as jnp

@jax.jit
def chain(matrix):
    return jax.lax.fori_loop(0, 20, lambda i, m: jnp.tanh(m @ m), matrix)
""",
    "initial": "(jnp.ones((400, 400)), None)",
    "work": "(chain(optimizer_state[0]), None)",
}
TORCH_PARTS = {"imports": "", "initial": "{}", "work": "optimizer_state"}


def seconds_of_queued_work() -> float:
    """Seconds of one chain of products when it is waited for."""
    scope: dict = {}
    exec(JAX_PARTS["imports"], scope)
    matrix = scope["jnp"].ones((400, 400))
    times = []
    for _ in range(8):
        started = time.perf_counter()
        matrix = scope["chain"](matrix).block_until_ready()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), required=True)
    parser.add_argument("--steps", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        check(options, Path(folder))


def check(options: argparse.Namespace, root: Path) -> None:
    path = root / "sleeping.py"
    parts = JAX_PARTS if options.framework == JAX.name else TORCH_PARTS
    path.write_text(SUBMISSION.format(selection_s=SELECTION_S, update_s=UPDATE_S, prepare_s=PREPARE_S, **parts))
    registry = Registry(("algoperf.testing.toy_workload",)).altered(
        {
            "toy_mini": {
                "validation_target": -1.0,
                "test_target": None,
                "budget": Budget(max_runtime_s=600.0, eval_period_s=0.2, step_hint=100),
            }
        }
    )
    values = {
        "workload": "toy_mini",
        "framework": options.framework,
        "submission_path": str(path),
        "tuning_ruleset": "self",
        "experiment_dir": str(root),
        "experiment_name": "clock",
        "data_dir": str(root / "data"),
        "max_global_steps": options.steps,
    }
    queued_s = seconds_of_queued_work() if options.framework == JAX.name else 0.0
    started = []
    [result] = driver.run(
        RunConfig.from_flags(values), registry=registry, report=lambda message: started.append(time.monotonic())
    )
    wall_s = time.monotonic() - started[-1]
    if result.outcome != "completed":
        raise SystemExit(result.record.error)
    report(result.record, options.steps, wall_s, queued_s, result.trial_dir)


def report(record: TrialRecord, steps: int, wall_s: float, queued_s: float, trial_dir: Path) -> None:
    ledger = record.ledger.seconds()
    evaluations = len((trial_dir / EVALUATIONS).read_text().splitlines()) - 1
    # A sleep lasts at least as long as asked for; the time that the scheduler adds is measured beside it.
    late = seconds_late()
    slept_s = steps * (SELECTION_S + UPDATE_S + 2 * late)
    selection_s, prepare_s = steps * (SELECTION_S + late), evaluations * (PREPARE_S + late)
    expected = {
        "data_selection_s": (selection_s, selection_s),
        "update_s": (max(slept_s, steps * queued_s) - selection_s, slept_s + steps * queued_s - selection_s),
        "prepare_for_eval_s": (prepare_s, prepare_s + evaluations * queued_s),
    }
    for item, seconds in ledger.items():
        low, high = expected.get(item, (0.0, 0.0))
        known = f"expected {low:.3f} s to {high:.3f} s" if item in expected else ""
        print(f"{item.removesuffix('_s'):18s} {seconds:8.3f} s  {known}")
    total_s = sum(ledger.values())
    print(f"{'sum':18s} {total_s:8.3f} s  wall time {wall_s:.3f} s ({total_s / wall_s:.2%})")
    print(f"queued device work: {queued_s * 1e3:.1f} ms a step; evaluations: {evaluations}")
    failures = [item for item, (low, high) in expected.items() if not 0.85 * low < ledger[item] < 1.15 * high]
    if failures or abs(total_s / wall_s - 1) > 0.01 or ledger["evaluation_s"] > 0.5 * total_s:
        raise SystemExit(f"FAILED: {', '.join(failures) or 'the sum'}")


def seconds_late() -> float:
    """How much longer than asked for a sleep of a few milliseconds lasts on this machine."""
    lateness = []
    for _ in range(50):
        started = time.perf_counter()
        time.sleep(0.005)
        lateness.append(time.perf_counter() - started - 0.005)
    return statistics.median(lateness)


if __name__ == "__main__":
    main()
