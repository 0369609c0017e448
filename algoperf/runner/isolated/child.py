"""The process of a submission: takes the steps of training when asked, and hands over what an evaluation needs.

`python -m algoperf.runner.isolated.child ENDS`, started by `process`; see `channel` for ENDS.
"""

import functools
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from algoperf import spec
from algoperf.backends import base
from algoperf.backends.base import WrongModelError
from algoperf.data.prefetch import Prefetcher
from algoperf.harness.clock import Clock, Item
from algoperf.harness.failure import result_of, traceback_text
from algoperf.harness.schedule import RankClockSync
from algoperf.harness.seeds import Seeds, seed_host_generators
from algoperf.harness.signals import StopSignals
from algoperf.harness.trainer import InProcessTrainer, LoopPlan, LoopStatus
from algoperf.records.outcome import Outcome
from algoperf.records.recorder import ScalarLogger
from algoperf.runner.isolated.channel import (
    BatchReceiver,
    ChannelClosedError,
    Ends,
    Page,
    receive_object,
    send_answer,
    write_arrays,
)
from algoperf.runner.isolated.isolation import Import
from algoperf.runner.trial_end import TrialPlan
from algoperf.runner.trial_setup import assemble, build_model, initial_model, initial_training_state
from algoperf.submissions.loading import (
    Submission,
    SubmissionCrashError,
    load_submission,
    locate_submission,
    resolve_batch_size,
)

_LONGEST_TEXT = 20_000


class _Trial:
    """The submission and its state; each method is the answer to a request of the same name."""

    def __init__(self, ends: Ends, control: socket.socket) -> None:
        self._ends = ends
        self._control = control
        self._page = Page(ends.page)

    def answer_start(self, job: Import) -> None:
        self._job = job
        config = job.config
        self.backend = base.load(
            config.framework, matmul_precision=config.precision, deterministic=config.deterministic
        )

    def answer_import(self) -> dict[str, Any]:
        seed_host_generators(self._job.seed)
        self._submission = load_submission(self._job.config.submission_path)
        batch_size = resolve_batch_size(self._submission, self._job.definition, self.backend.num_devices)
        return {"batch_size": batch_size, "has_eval_batch_size": self._submission.has_eval_batch_size}

    def answer_build(
        self, definition: Any, seed: int, hyperparameters: Any, batch_size: int, arrays: list[str]
    ) -> None:
        self._arrays = arrays
        folder = Path(tempfile.gettempdir())
        self.backend.use_compilation_cache(folder / "compilation", is_shared=False)
        self.backend.reset_memory()
        seed_host_generators(seed)
        self._plan = plan = self._trial_plan(definition, seed, hyperparameters, batch_size, folder)
        self._seeds = Seeds(self.backend, seed)
        self._workload = self.backend.build_workload(definition, build_model(plan, self.backend))
        self._model = initial_model(plan, self.backend, self._seeds, self._workload)

    def _trial_plan(self, definition: Any, seed: int, hyperparameters: Any, batch_size: int, folder: Path) -> TrialPlan:
        submission: Submission = self._submission
        return TrialPlan(
            config=self._job.config,
            registry=self._job.registry,
            definition=definition,
            submission_path=locate_submission(self._job.config.submission_path),
            hyperparameters=hyperparameters,
            seed=seed,
            trial_dir=folder,
            submission=submission,
            batch_size=batch_size,
        )

    def answer_init(self) -> None:
        plan, backend = self._plan, self.backend
        clock = Clock(fence=backend.fence)
        training = initial_training_state(plan, backend, self._seeds, self._workload, self._model, clock)
        del self._model
        data = socket.socket(fileno=self._ends.data)
        self._queue = Prefetcher(
            functools.partial(_received, data, (self._ends.odd, self._ends.even)), backend.put_batch
        )
        self._run_state, _ = assemble(plan, backend, clock, training=training, input_queue=self._queue)
        self._workload.metrics_logger = ScalarLogger(self._log)
        self._loop_plan = LoopPlan(
            workload=self._workload,
            submission=plan.submission,
            hyperparameters=plan.hyperparameters,
            seeds=self._seeds,
            max_global_steps=plan.config.max_global_steps,
            skip_evals=plan.config.skip_evals,
        )
        if plan.config.save_checkpoints:
            backend.check_savable(training.device_state())

    def answer_restore(self) -> None:
        training = self._run_state.training
        with open(os.dup(self._ends.state), "rb") as file:
            file.seek(0)
            own = json.loads(file.readline())
            training.load_device_state(self.backend.read_state(file, training.device_state()))
        training.global_step, training.complete = own["step"], own["complete"]
        self._queue.load_state_dict(own["input_queue"])
        self._run_state.host_random.load_state_dict(own["host_random"])

    def answer_train(
        self, status: tuple[Any, Any], ledger_s: Mapping[str, float], last_s: float | None
    ) -> dict[str, Any]:
        self._queue.start()
        self._run_state.schedule.last_s = last_s
        trainer = self._trainer(ledger_s)
        clock, training = self._run_state.clock, self._run_state.training
        before_s = clock.seconds(Item.DATA_SELECTION)
        trainer.train_until_due(_status(status), self._page, _Steps(self._page))
        return {
            "step": training.global_step,
            "complete": training.complete,
            "selecting_s": clock.seconds(Item.DATA_SELECTION) - before_s,
            "batches_taken": self._queue.batches_taken,
        }

    def answer_prepare_for_eval(self, status: tuple[Any, Any], ledger_s: Mapping[str, float]) -> None:
        self._trainer(ledger_s).prepare_for_eval(_status(status))
        self.answer_hand_over()

    def answer_hand_over(self) -> None:
        training = self._run_state.training
        values = self.backend.model_bytes(training.params, training.model_state)
        _check_arrays(list(values), self._arrays)
        write_arrays(self._ends.model, values)
        if not self._plan.config.save_checkpoints:
            return
        own = {
            "step": training.global_step,
            "complete": training.complete,
            "input_queue": self._queue.state_dict(),
            "host_random": self._run_state.host_random.state_dict(),
        }
        os.ftruncate(self._ends.state, 0)
        with open(os.dup(self._ends.state), "wb") as file:
            file.seek(0)
            file.write(json.dumps(own).encode() + b"\n")
            self.backend.write_state(file, training.device_state())

    def _trainer(self, ledger_s: Mapping[str, float]) -> InProcessTrainer:
        """One whose clock stands where that of the harness does."""
        self._run_state.clock = clock = Clock(fence=self.backend.fence)
        clock.load_state_dict({"ledger_s": ledger_s})
        alone = RankClockSync(world_size=1, max_over_ranks=float, slack_s=0.0)
        return InProcessTrainer(self._loop_plan, self._run_state, self.backend, alone)

    def _log(self, metrics: Mapping[str, Any], step: int) -> None:
        numbers = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
        send_answer(self._control, {"told": numbers, "step": int(step)})


class _Steps:
    """Notes the present step."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def update(self, step: int, submission_time_s: float, seconds_to_next_evaluation: float) -> None:
        self._page.set_step(step)

    def evaluation(self, step: int, submission_time_s: float, metrics: Mapping[str, float]) -> None: ...


def _received(data: socket.socket, memory: tuple[int, int], start_batch: int) -> Iterator[spec.Batch]:
    """The batches that the harness sends, which knows where to begin."""
    receiver = BatchReceiver(data, memory)
    while (batch := receiver.receive()) is not None:
        yield batch


def _status(status: tuple[dict[str, Any], list[tuple[int, dict[str, float]]]]) -> LoopStatus:
    train_state, eval_results = status
    return LoopStatus(train_state=train_state, eval_results=eval_results)


def _check_arrays(given: list[str], expected: list[str]) -> None:
    for name, other in zip([*given, *["none"] * len(expected)], expected, strict=False):
        if name != other:
            raise WrongModelError(f"the submission returned other parameters than the workload's: {name}, not {other}")
    if len(given) > len(expected):
        raise WrongModelError(f"the submission returned other parameters than the workload's: {given[-1]} besides")


def _failure(error: BaseException, trial: _Trial) -> dict[str, Any]:
    if isinstance(error, SubmissionCrashError) or not hasattr(trial, "backend"):
        return {"failure": Outcome.CRASHED, "error": traceback_text(error.__cause__ or error)[-_LONGEST_TEXT:]}
    result = result_of(error, trial.backend, StopSignals())
    if result is None:
        return {"refused": str(error)[-_LONGEST_TEXT:]}
    return {"failure": result.outcome, "error": (result.error or "")[-_LONGEST_TEXT:]}


def main(argv: list[str]) -> int:
    ends = Ends.parse(argv[1])
    control = socket.socket(fileno=ends.control)
    trial = _Trial(ends, control)
    while True:
        try:
            request = receive_object(control)
        except ChannelClosedError:
            return 0
        try:
            answer = getattr(trial, f"answer_{request.pop('request')}")(**request) or {}
        except BaseException as error:  # a submission may call sys.exit
            send_answer(control, _failure(error, trial))
            return 1
        send_answer(control, answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv))
