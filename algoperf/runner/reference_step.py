"""The reference step of a workload as a process of its own, which measures its cost whenever it is asked.

`python -m algoperf.runner.reference_step REQUEST`, of which REQUEST is JSON with `workload`, `framework`, `data_dir`
and `matmul_precision`, builds the workload with the reference algorithm and answers each line of its input with the
cost of a step, one line of JSON. It keeps the compiled step in memory, and waits without using the processor; it ends
when its input does.
"""

import dataclasses
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from algoperf.backends import base
from algoperf.definition import Budget
from algoperf.edition import MatmulPrecision
from algoperf.harness.clock import Clock
from algoperf.harness.seeds import Seeds
from algoperf.harness.timed_steps import TimedSteps
from algoperf.records.calibration import StepCost
from algoperf.records.recorder import ScalarLogger
from algoperf.registry import REGISTRY, Registry
from algoperf.runner.run_config import RunConfig, default_submission
from algoperf.runner.trial_end import TrialPlan
from algoperf.runner.trial_setup import build
from algoperf.submissions.loading import load_submission
from algoperf.submissions.tuning import make_hyperparameters

BLOCKS = 5
# Longer than the periods by which operating systems share processors out (about 0.1 s).
BLOCK_S = 0.4
# Compiling happens within the first steps; some reference algorithms compile twice.
_WARM_UP_STEPS = 3
_NEVER_S = 1e9


def measure(run_steps: Callable[[int], float], *, blocks: int = BLOCKS, block_s: float = BLOCK_S) -> StepCost:
    """The cost of a step in a burst.

    Args:
      run_steps: runs so many steps and returns the seconds they took; is compiled.
      blocks, block_s: number of blocks, and seconds that each lasts, of at least one step.
    """
    run_steps(1)
    size = max(1, math.ceil(block_s / max(run_steps(1), 1e-6)))
    return StepCost.of_blocks([run_steps(size) / size for _ in range(blocks)])


class ReferenceStep:
    """The reference algorithm on a workload, in this process: the loop, data and clock of a run, and no evaluation.

    Attributes:
      run: takes so many steps and returns their seconds; see `TimedSteps`.
    """

    def __init__(
        self,
        workload: str,
        framework: str,
        data_dir: Path,
        registry: Registry = REGISTRY,
        *,
        matmul_precision: MatmulPrecision = MatmulPrecision.FLOAT32,
    ) -> None:
        self._backend = backend = base.load(framework, matmul_precision=matmul_precision)
        definition = registry.get(workload)
        step_hint = definition.budget.step_hint
        endless = Budget(max_runtime_s=_NEVER_S, eval_period_s=_NEVER_S, step_hint=step_hint)
        submission = load_submission(str(default_submission(framework)))
        config = RunConfig(
            workload=workload,
            framework=framework,
            submission_path=str(submission.path),
            data_dir=data_dir,
            save_checkpoints=False,
            use_tensorboard=False,
        )
        plan = TrialPlan(
            config=config,
            registry=registry,
            definition=dataclasses.replace(definition, budget=endless),
            submission_path=submission.path,
            submission=submission,
            hyperparameters=make_hyperparameters(definition.reference_hyperparameters),
            batch_size=definition.reference_batch_size,
            seed=0,
            trial_dir=Path(tempfile.gettempdir()),
        )
        seeds = Seeds(backend, plan.seed)
        self._setup = setup = build(plan, backend, seeds, Clock(fence=backend.fence))
        setup.workload.metrics_logger = ScalarLogger(lambda metrics, global_step: None)
        self.run = TimedSteps(
            backend=backend,
            workload=setup.workload,
            submission=submission,
            hyperparameters=plan.hyperparameters,
            seeds=seeds,
            run_state=setup.run_state,
        )

    def close(self) -> None:
        self._setup.input_queue.close()
        self._backend.close()


def main(argv: list[str]) -> int:
    request = json.loads(argv[1])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, whose end is the end of the input
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what frameworks print is no reply
    step = ReferenceStep(
        request["workload"],
        request["framework"],
        Path(request["data_dir"]),
        matmul_precision=MatmulPrecision(request["matmul_precision"]),
    )
    try:
        step.run(_WARM_UP_STEPS)
        for _ in sys.stdin:
            print(json.dumps(dataclasses.asdict(measure(step.run))), file=replies, flush=True)
    finally:
        step.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
