"""A few steps of a submission on random batches of two workloads, in a process of its own, with guards on.

`python -m algoperf.checking.dry_run REQUEST ANSWER`: REQUEST has `submission`, `framework`, `workloads`, `data_dir`,
`steps` and, where one is given, `tuning_search_space`; ANSWER gets the findings.
"""

import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from algoperf import spec
from algoperf.backends import base
from algoperf.backends.base import Backend, WrongModelError
from algoperf.checking.audit import AuditLog
from algoperf.checking.findings import RuleFinding
from algoperf.checking.phases import CountedCalls
from algoperf.definition import EXTERNAL, SELF_TUNING, Budget, Split, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.harness.clock import Clock
from algoperf.harness.guards import Guard
from algoperf.harness.loop import LoopPlan, LoopPorts, TrainingLoop
from algoperf.harness.pauses import OwnWork
from algoperf.harness.pinned_code import PinnedCode
from algoperf.harness.seeds import Seeds, seed_host_generators
from algoperf.harness.timed_steps import SilentObserver
from algoperf.records.columns import metric_column
from algoperf.records.recorder import NullRecorder, ScalarLogger
from algoperf.registry import REGISTRY, Registry
from algoperf.rules import Level
from algoperf.runner import search_space
from algoperf.runner.child import ChildError, ask
from algoperf.runner.run_config import RunConfig
from algoperf.runner.trial_end import TrialPlan
from algoperf.runner.trial_setup import build
from algoperf.submissions import sources
from algoperf.submissions.loading import Submission, load_submission, resolve_batch_size

STEPS = 3
WORKLOADS = ("mnist_mini", "criteo1tb_mini")
_TIMEOUT_S = 900.0
_PAUSE_S = 1.5  # long enough for work beside it to use more than the idle second
_BUSY_CPU_S = 0.3  # in two pauses; idle workers of a compiler use none
_NEVER_S = 1e9
_LARGEST_UPDATE = 1.0  # norm of the first update over that of the weights; other random weights are at 1.4
_CHECKS = {"C1": "pause_work", "C4": "changed_code", "C5": "interpreter"}


def dry_run(
    submission: Path,
    framework: str,
    workloads: tuple[str, ...],
    data_dir: Path,
    tuning_search_space: str | None = None,
) -> list[RuleFinding]:
    """Findings of the dry run; that it gives no answer is one."""
    request = {
        "submission": str(submission),
        "framework": framework,
        "workloads": workloads,
        "data_dir": str(data_dir),
        "steps": STEPS,
        "tuning_search_space": tuning_search_space,
    }
    try:
        answer = ask("algoperf.checking.dry_run", request, timeout_s=_TIMEOUT_S)
        return [RuleFinding(**{**entry, "level": Level(entry["level"])}) for entry in answer]
    except ChildError as error:
        return [_finding("steps", f"the dry run ended without an answer: {error}", "run it on a mini")]


class DryRun:
    """The run in its process.

    Args:
      request: see the module.
      registry: knows the workloads.
    """

    def __init__(self, request: Mapping[str, Any], registry: Registry = REGISTRY) -> None:
        self._path = Path(request["submission"])
        self._data_dir = Path(request["data_dir"])
        self._steps = int(request["steps"])
        self._search_space: str | None = request.get("tuning_search_space")
        self._registry = registry
        self._definitions = [registry.get(name) for name in request["workloads"]]
        self._backend = base.load(request["framework"])
        self._findings: list[RuleFinding] = []

    def run(self) -> list[RuleFinding]:
        """Imports the submission and takes the steps; returns all findings, sorted."""
        calls = CountedCalls(type(self._workload(self._definitions[0])))
        audit = AuditLog(sources.python_files(self._path), self._data_dir)
        own_work = OwnWork()
        packages = sorted({"algoperf", *(self._registry.package(d.name).partition(".")[0] for d in self._definitions)})
        guard = Guard(PinnedCode(packages), packages)
        audit.install()
        seed_host_generators(0)
        try:
            with calls.phase("the import"):
                submission = load_submission(str(self._path))
            for definition in self._definitions:
                self._run_workload(definition, submission, own_work, guard, calls)
        except UserError as error:
            self._add("steps", str(error), "let it run on a mini first")
        for phase, names in calls.counted.items():
            message = f"{phase} calls {', '.join(names)}, which is not charged"
            self._add("uncharged_work", message, "move the work to update_params")
        return sorted({*self._findings, *audit.findings.values()})

    def _workload(self, definition: WorkloadDefinition) -> spec.Workload:
        return self._backend.build_workload(definition, self._model(definition))

    def _model(self, definition: WorkloadDefinition) -> base.Model:
        module = self._registry.module(definition.name, base.model_module(self._backend.framework))
        model: base.Model = module.build(definition)
        return model

    def _run_workload(
        self,
        definition: WorkloadDefinition,
        submission: Submission,
        own_work: OwnWork,
        guard: Guard,
        calls: CountedCalls,
    ) -> None:
        backend = self._backend
        with calls.phase("get_batch_size"):
            batch_size = resolve_batch_size(submission, definition, backend.num_devices)
        ruleset, point = self._point(definition)
        watched = WatchedWeights(self._model(definition), submission, calls)
        with tempfile.TemporaryDirectory() as folder:
            plan = TrialPlan(
                config=self._config(definition, ruleset),
                registry=self._registry,
                definition=dataclasses.replace(
                    definition,
                    budget=Budget(
                        max_runtime_s=_NEVER_S, eval_period_s=_NEVER_S, step_hint=definition.budget.step_hint
                    ),
                ),
                submission_path=submission.path,
                submission=watched.submission,
                hyperparameters=point,
                batch_size=batch_size,
                seed=0,
                trial_dir=Path(folder),
                own_work=own_work,
                guard=guard,
            )
            self._take_steps(plan, watched)

    def _take_steps(self, plan: TrialPlan, watched: "WatchedWeights") -> None:
        backend, seeds, definition = self._backend, Seeds(self._backend, 0), plan.definition
        try:
            setup = build(plan, backend, seeds, Clock(fence=backend.fence))
        except Exception as error:
            self._crashed(definition, f"{type(error).__name__}: {error}")
            return
        run_state = setup.run_state
        data = self._registry.module(definition.name, "data")
        batches = [data.fake_batch(definition, plan.batch_size, seed) for seed in range(2)]
        run_state.input_queue = RandomBatches(backend, batches)
        run_state.recorder = NullRecorder()
        setup.workload.metrics_logger = ScalarLogger(lambda metrics, global_step: None)
        evaluate = _Evaluation(backend, self._workload(definition), definition, batches[0], watched)
        loop = TrainingLoop(
            LoopPlan(
                workload=setup.workload,
                submission=plan.submission,
                hyperparameters=plan.hyperparameters,
                seeds=seeds,
                max_global_steps=self._steps,
            ),
            run_state,
            LoopPorts(backend=backend, evaluate=evaluate, observer=SilentObserver()),
        )
        run_state.pauses.guard.add(loop, run_state.recorder, run_state.schedule, run_state.stopping)
        before = set(_hooks(run_state.training.params))
        result = loop.run()
        for violation in run_state.pauses.summary.errors:
            rule_id, _, message = violation.partition(": ")
            text, advice = f"on {definition.name}: {message}", "keep the submission to what it is given"
            self._findings.append(_finding(_CHECKS[rule_id], text, advice, rule_id=rule_id))
        summary = run_state.pauses.summary
        if summary.foreign_cpu_s > _BUSY_CPU_S and not summary.is_busy:
            names = ", ".join([*summary.foreign_threads, *summary.foreign_processes])
            self._add("pause_work", f"{names} worked while the clock was paused", "do the work in update_params")
        if evaluate.problem:
            self._add("parameters", f"on {definition.name}: {evaluate.problem}", "return the model that was given")
        elif result.error is not None:
            self._crashed(definition, result.error.strip().splitlines()[-1])
        for check, message in watched.problems:
            level = Level.WARNING if check == "initial_weights" and "first step" in message else None
            self._add(check, f"on {definition.name}: {message}", "start from the weights that are given", level)
        hooks = sorted(set(_hooks(run_state.training.params)) - before)
        if hooks:
            self._add("module_hooks", f"it leaves hooks on {', '.join(hooks[:3])}", "evaluation does not call them")

    def _crashed(self, definition: WorkloadDefinition, why: str) -> None:
        self._add("steps", f"training {definition.name} crashed: {why}", "let it run on a mini first")

    def _config(self, definition: WorkloadDefinition, ruleset: str) -> RunConfig:
        return RunConfig(
            workload=definition.name,
            framework=self._backend.framework,
            submission_path=str(self._path),
            tuning_ruleset=ruleset,
            tuning_search_space=self._search_space if ruleset == EXTERNAL.name else None,
            data_dir=self._data_dir,
            save_checkpoints=False,
            use_tensorboard=False,
        )

    def _point(self, definition: WorkloadDefinition) -> tuple[str, Any]:
        """Tuning rules and the first point of the submission's search space; self-tuning where it has none."""
        config = self._config(definition, EXTERNAL.name)
        try:
            space = search_space.for_single_run(config, definition, self._path, lambda message: None)
            return EXTERNAL.name, next(iter(space.draw(1, study=0)))
        except (UserError, OSError):
            if self._search_space is not None:
                raise
            return SELF_TUNING.name, None

    def _add(self, check: str, message: str, advice: str, level: Level | None = None) -> None:
        self._findings.append(_finding(check, message, advice, level))


class WatchedWeights:
    """Whether the weights are those that were drawn when the first step begins, and how far it moves them."""

    def __init__(self, model: base.Model, submission: Submission, calls: CountedCalls) -> None:
        self.problems: list[tuple[str, str]] = []
        self._model = model
        self._calls = calls
        self._drawn: dict[str, np.ndarray] | None = None
        self._init = submission.init_optimizer_state
        self.submission = dataclasses.replace(submission, init_optimizer_state=self._init_optimizer_state)

    def _init_optimizer_state(self, **arguments: Any) -> Any:
        params, model_state = arguments["model_params"], arguments["model_state"]
        self._drawn = self._weights(params, model_state)
        with self._calls.phase("init_optimizer_state"):
            state = self._init(**arguments)
        if self._drawn is not None and self._distance(self._weights(params, model_state)) > 0:
            self.problems.append(("initial_weights", "init_optimizer_state changes the weights"))
        return state

    def evaluated(self, params: Any, model_state: Any) -> None:
        """At the first evaluation, after one step."""
        distance = self._distance(self._weights(params, model_state))
        if distance > _LARGEST_UPDATE:
            message = f"the first step moves the weights by {distance:.1f} of their length"
            self.problems.append(("initial_weights", message))
        self._drawn = None

    def _weights(self, params: Any, model_state: Any) -> dict[str, np.ndarray] | None:
        try:
            return {n: np.array(v) for n, v in self._model.export_weights(params, model_state).items()}
        except Exception:  # of another model, which the evaluation says
            return None

    def _distance(self, weights: dict[str, np.ndarray] | None) -> float:
        drawn = self._drawn
        if drawn is None or weights is None or weights.keys() != drawn.keys():
            return 0.0
        names = [name for name in drawn if name.startswith("params/")]
        length = sum(float(np.square(drawn[n], dtype=np.float64).sum()) for n in names)
        moved = sum(float(np.square(weights[n] - drawn[n], dtype=np.float64).sum()) for n in names)
        return float(np.sqrt(moved / length)) if length else 0.0


class _Evaluation:
    """A pause in which the model runs on one batch, and its shapes are compared."""

    def __init__(
        self,
        backend: Backend,
        workload: spec.Workload,
        definition: WorkloadDefinition,
        batch: spec.Batch,
        watched: WatchedWeights,
    ) -> None:
        self.problem = ""
        self._backend, self._workload, self._batch, self._watched = backend, workload, batch, watched
        worst = 1e9 if definition.metric.better(0.0, 1.0) else -1e9
        self._metrics = {
            metric_column(split, definition.metric.name): worst for split in (Split.VALIDATION, Split.TEST)
        }

    def __call__(self, params: Any, model_state: Any) -> dict[str, float]:
        try:
            for _ in self._backend.evaluate(self._workload, params, model_state, iter([self._batch])):
                pass
        except WrongModelError as error:
            self.problem = str(error)
            raise
        self._watched.evaluated(params, model_state)
        time.sleep(_PAUSE_S)
        return dict(self._metrics)


class RandomBatches:
    """An endless input queue of a few batches."""

    def __init__(self, backend: Backend, batches: list[spec.Batch]) -> None:
        self._backend, self._batches, self._taken = backend, batches, 0

    def __iter__(self) -> Iterator[spec.Batch]:
        return self

    def __next__(self) -> spec.Batch:
        self._taken += 1
        return self._backend.put_batch(self._batches[self._taken % len(self._batches)])

    def state_dict(self) -> dict[str, Any]:
        return {"batches_taken": self._taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._taken = state["batches_taken"]


def _hooks(params: Any) -> list[str]:
    """Names of modules of a PyTorch model with hooks; nothing for other parameters."""
    names = []
    for name, module in params.named_modules() if hasattr(params, "named_modules") else ():
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        if any(getattr(module, kind, None) for kind in kinds):
            names.append(name or type(module).__name__)
    return names


def _finding(
    check: str, message: str, advice: str, level: Level | None = None, rule_id: str | None = None
) -> RuleFinding:
    return RuleFinding.of(f"dry_run.{check}", " ".join(message.split()), advice, level=level, rule_id=rule_id)


def main(argv: list[str], registry: Registry = REGISTRY) -> int:
    with contextlib.redirect_stdout(sys.stderr):
        findings = DryRun(json.loads(argv[1]), registry).run()
    Path(argv[2]).write_text(json.dumps([finding.as_json() for finding in findings]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
