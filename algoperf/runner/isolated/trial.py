"""The harness's side of a trial whose submission has a process of its own."""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from algoperf import spec
from algoperf.backends.base import Backend
from algoperf.background import THREAD_PREFIX
from algoperf.harness.clock import Clock, Item
from algoperf.harness.failure import TrainingFailedError
from algoperf.harness.run_state import RunState, TrainingState
from algoperf.harness.seeds import Seeds
from algoperf.harness.trainer import LoopStatus, Observer, StopRequest
from algoperf.records import columns
from algoperf.records.outcome import Outcome
from algoperf.records.recorder import NullRecorder, Recorder
from algoperf.runner.isolated.channel import AnswerError, BatchesError, BatchSender, Page, number, read_arrays
from algoperf.runner.isolated.checkpoints import IsolatedStates
from algoperf.runner.isolated.isolation import Isolation
from algoperf.runner.isolated.process import IsolatedProcess
from algoperf.runner.trial_end import TrialPlan
from algoperf.runner.trial_setup import TrialSetup, assemble, build_model, checkpointer_of, train_batches

_GRACE_S = 60.0  # beyond the budget, or after a request to stop
_MOST_STEPS = 2**53
_POLL_S = 0.5


def build_isolated(
    plan: TrialPlan,
    isolation: Isolation,
    backend: Backend,
    seeds: Seeds,
    clock: Clock,
    cleanup: contextlib.ExitStack,
) -> TrialSetup:
    """As `trial_setup.build`; the model of the submission is drawn in its process, and one like it here."""
    process = isolation.process(clock)
    cleanup.callback(isolation.close)
    workload = backend.build_workload(plan.definition, build_model(plan, backend))
    params, model_state = workload.init_model_fn(seeds.model_init)
    sizes = {name: len(values) for name, values in backend.model_bytes(params, model_state).items()}
    process.request(
        "build",
        definition=plan.definition,
        seed=plan.seed,
        hyperparameters=plan.hyperparameters,
        batch_size=plan.batch_size,
        arrays=list(sizes),
    )
    with clock.paused_for(Item.INIT_OPTIMIZER_STATE):
        process.request("init")
    process.freeze()
    training = TrainingState(params=params, model_state=model_state, optimizer_state=None)
    input_queue = BatchServer(functools.partial(train_batches, plan, backend, seeds.data), process)
    run_state, recorder = assemble(plan, backend, clock, training=training, input_queue=input_queue)
    trainer = IsolatedTrainer(plan, process, backend, run_state, sizes, input_queue, recorder)
    return TrialSetup(
        workload=workload,
        run_state=run_state,
        recorder=recorder,
        input_queue=input_queue,
        checkpointer=checkpointer_of(plan, IsolatedStates(backend, process, trainer.hand_over)),
        trainer=trainer,
    )


class BatchServer:
    """Reads training batches in a thread and sends them to the submission's process, as it takes them.

    Args:
      open_at: returns the batches from a position on.

    Attributes:
      error: of reading; None where there was none.
    """

    def __init__(self, open_at: Callable[[int], Iterator[spec.Batch]], process: IsolatedProcess) -> None:
        self.batches_taken = 0
        self.error: Exception | None = None
        self._open_at = open_at
        self._connection = process.data
        self._sender = BatchSender(process.data, process.batches)
        self._thread: threading.Thread | None = None

    def state_dict(self) -> dict[str, Any]:
        return {"batches_taken": self.batches_taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches_taken = state["batches_taken"]

    def __iter__(self) -> Iterator[spec.Batch]:
        raise AssertionError("batches are for the process of the submission")

    def __next__(self) -> spec.Batch:
        raise AssertionError("batches are for the process of the submission")

    def start(self) -> None:
        """Begins to read."""
        if self._thread is None:
            name = f"{THREAD_PREFIX}batches"
            self._thread = threading.Thread(target=self._serve, args=(self.batches_taken,), name=name, daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Ends the thread after the batch it is working on."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(2)
        if self._thread is not None:
            self._thread.join()

    def _serve(self, position: int) -> None:
        try:
            batches = iter(self._open_at(position))
        except Exception as error:
            self._fail(error)
            return
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                self._fail(error)
                return
            try:
                self._sender.send(batch)
            except Exception:  # the other end is closed
                return
            if batch is None:
                return

    def _fail(self, error: Exception) -> None:
        self.error = error
        with contextlib.suppress(Exception):
            self._sender.send(BatchesError(str(error)))


class IsolatedTrainer:
    """Lets the submission's process take the steps, on the clock of this one.

    It works only while time is charged: it hands over what an evaluation needs before the pause begins, and is stopped
    in it.

    Args:
      sizes: bytes of each array that an evaluation needs.
    """

    def __init__(
        self,
        plan: TrialPlan,
        process: IsolatedProcess,
        backend: Backend,
        run_state: RunState,
        sizes: dict[str, int],
        batches: BatchServer,
        recorder: Recorder | NullRecorder,
    ) -> None:
        self._plan = plan
        self._process = process
        self._backend = backend
        self._run_state = run_state
        self._sizes = sizes
        self._batches = batches
        self._recorder = recorder
        self._handed_over_at: int | None = None

    def train_until_due(self, status: LoopStatus, stop: StopRequest, observer: Observer) -> None:
        clock, state, page = self._run_state.clock, self._run_state.training, self._process.page
        page.ask_to_stop(False)
        self._handed_over_at = None
        last_s = self._run_state.schedule.last_s
        clock.start_steps()
        wait = Wait(self._run_state, page, stop, observer, evaluates=not self._plan.config.skip_evals)
        answer = self._charged("train", status, wait, last_s=last_s)
        clock.add_data_selection(number(answer, "selecting_s"))
        clock.stop_steps()
        step = int(min(number(answer, "step"), _MOST_STEPS))
        if step <= state.global_step:
            raise AnswerError(f"step {step} after step {state.global_step}")
        state.global_step = step
        state.complete = answer.get("complete") is True
        self._batches.batches_taken = int(min(number(answer, "batches_taken"), _MOST_STEPS))
        status.train_state[columns.SUBMISSION_TIME] = clock.submission_time_s()

    def prepare_for_eval(self, status: LoopStatus) -> None:
        clock = self._run_state.clock
        with clock.preparing_for_eval():
            self._charged("prepare_for_eval", status, Wait(self._run_state, self._process.page))
        self._process.freeze()
        self._take_over()

    def rest(self) -> None:
        self._process.freeze()

    def hand_over(self) -> None:
        """Takes the present model and state over, where that was not done since the last step."""
        if self._handed_over_at != self._run_state.training.global_step:
            self._process.request("hand_over")
            self._process.freeze()
            self._take_over()

    def _take_over(self) -> None:
        state = self._run_state.training
        values = read_arrays(self._process.model, self._sizes)
        state.params, state.model_state = self._backend.with_model_bytes(values, state.params, state.model_state)
        self._handed_over_at = state.global_step

    def _charged(self, name: str, status: LoopStatus, wait: "Wait", **content: Any) -> dict[str, Any]:
        """A request on the clock."""
        ledger_s = self._run_state.clock.ledger_s()
        told = (status.train_state, status.eval_results)
        try:
            return self._process.request(name, wait_s=wait, told=self._log, status=told, ledger_s=ledger_s, **content)
        except TrainingFailedError:
            if self._batches.error is not None:
                raise self._batches.error from None
            if wait.failure is not None:
                raise wait.failure from None
            raise

    def _log(self, message: dict[str, Any]) -> None:
        metrics = message["told"]
        self._recorder.append_scalar_metrics(dict(metrics), int(number(message, "step")))


class Wait:
    """How long to wait for an answer on the clock. When it is due, the process is asked for it.

    Attributes:
      failure: why no answer is waited for any more.
    """

    def __init__(
        self,
        run_state: RunState,
        page: Page,
        stop: StopRequest | None = None,
        observer: Observer | None = None,
        *,
        evaluates: bool = False,
    ) -> None:
        self.failure: TrainingFailedError | None = None
        self._run_state = run_state
        self._page = page
        self._stop = stop
        self._observer = observer
        self._evaluates = evaluates
        self._asked_s: float | None = None

    def __call__(self) -> float | None:
        elapsed_s = self._run_state.clock.submission_time_s()
        budget_left_s = self._run_state.stopping.budget_s - elapsed_s
        left_s = min(budget_left_s, self._run_state.schedule.seconds_left(elapsed_s) if self._evaluates else math.inf)
        stopped = self._stop is not None and self._stop.is_set()
        if stopped and self._asked_s is None:
            self._asked_s = time.monotonic()
        if left_s <= 0 or stopped:
            self._page.ask_to_stop(True)
        if self._observer is not None:
            self._observer.update(self._page.step(), elapsed_s, max(left_s, 0.0))
        if budget_left_s < -_GRACE_S:
            self.failure = _unanswered(Outcome.OUT_OF_TIME, "the end of the budget")
        elif self._asked_s is not None and time.monotonic() - self._asked_s > _GRACE_S:
            self.failure = _unanswered(Outcome.INTERRUPTED, "the request to stop")
        return None if self.failure is not None else min(left_s if left_s > 0 else _POLL_S, _POLL_S)


def _unanswered(outcome: Outcome, what: str) -> TrainingFailedError:
    return TrainingFailedError(
        outcome, f"the process of the submission gave no answer within {_GRACE_S:.0f} s of {what} and was ended"
    )
