"""Everything that changes during a run, in components that save and restore themselves."""

import random
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from algoperf import __version__, spec
from algoperf.edition import V0_6
from algoperf.errors import UserError
from algoperf.harness.clock import Clock
from algoperf.harness.pauses import PauseMonitor
from algoperf.harness.schedule import EvaluationSchedule
from algoperf.harness.stopping import Stopping
from algoperf.records.run_state import COMPONENTS, RunStateRecord, Stateful


@dataclass(kw_only=True)
class TrainingState:
    """What the submission's hooks return, and how far they are.

    Attributes:
      params, model_state, optimizer_state: on the devices; the backend saves them.
      global_step: calls of `update_params` so far.
      complete: whether the submission said that it has finished.
      eval_results: (global step, row) of each evaluation so far.
    """

    params: Any
    model_state: Any
    optimizer_state: Any
    global_step: int = 0
    complete: bool = False
    eval_results: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    @property
    def device_trees(self) -> tuple[Any, Any, Any]:
        return self.params, self.model_state, self.optimizer_state

    def device_state(self) -> dict[str, Any]:
        """The state on the devices, as `Backend.save_state` takes it."""
        return {
            "model_params": self.params,
            "model_state": self.model_state,
            "optimizer_state": self.optimizer_state,
        }

    def load_device_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `Backend.load_state` returned."""
        self.params = state["model_params"]
        self.model_state = state["model_state"]
        self.optimizer_state = state["optimizer_state"]

    def copied_eval_results(self) -> list[tuple[int, dict[str, float]]]:
        """What hooks are given: changing it changes nothing here."""
        return [(step, dict(row)) for step, row in self.eval_results]

    def state_dict(self) -> dict[str, Any]:
        return {
            "global_step": self.global_step,
            "complete": self.complete,
            "eval_results": self.copied_eval_results(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.global_step = state["global_step"]
        self.complete = state["complete"]
        self.eval_results = [(step, dict(row)) for step, row in state["eval_results"]]


class HostRandom:
    """Python's and NumPy's global generators, which a submission may draw from."""

    def state_dict(self) -> dict[str, Any]:
        version, internal, gauss = random.getstate()
        name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
        return {
            "python": [version, list(internal), gauss],
            "python_version": list(sys.version_info[:2]),
            "numpy": [name, np.asarray(keys).tolist(), int(position), int(has_gauss), float(cached)],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        version, internal, gauss = state["python"]
        random.setstate((version, tuple(internal), gauss))
        name, keys, *rest = state["numpy"]
        np.random.set_state((name, np.asarray(keys, np.uint32), *rest))


class OtherSettingsError(UserError):
    """A run is resumed with other settings than it was started with."""


class BatchQueue(Stateful, Protocol):
    """Training batches on the devices; its state says how many were taken."""

    def __iter__(self) -> Iterator[spec.Batch]: ...

    def __next__(self) -> spec.Batch: ...


class EvaluationLog(Stateful, Protocol):
    """The part of the recorder that the loop needs; its state says how many rows are on the disk."""

    def append_evaluation(self, row: Mapping[str, float], global_step: int) -> None: ...


@dataclass(kw_only=True)
class RunState:
    """The state of one run. A checkpoint holds all of it, and a resumed process continues from it.

    Attributes:
      seed: of the trial.
      edition, matmul_precision: that the run was asked for; they stay the same until its end.
      preemption_count: how often the run was resumed.
    """

    seed: int
    edition: str = V0_6.name
    matmul_precision: str = V0_6.matmul_precision
    training: TrainingState
    clock: Clock
    stopping: Stopping
    schedule: EvaluationSchedule
    input_queue: BatchQueue
    recorder: EvaluationLog
    host_random: HostRandom = field(default_factory=HostRandom)
    pauses: PauseMonitor = field(default_factory=PauseMonitor)
    preemption_count: int = 0

    def record(self) -> RunStateRecord:
        """All but the state on the devices, for `run.json`."""
        components: dict[str, Any] = {name: part.state_dict() for name, part in self._components().items()}
        return RunStateRecord(
            seed=self.seed,
            edition=self.edition,
            matmul_precision=self.matmul_precision,
            algoperf_version=__version__,
            preemption_count=self.preemption_count,
            **components,
        )

    def restore(self, record: RunStateRecord, device_state: Mapping[str, Any]) -> None:
        """Takes over what an earlier process saved; counts one more resume.

        Raises:
          OtherSettingsError: it ran in another edition or precision.
        """
        for flag in ("edition", "matmul_precision"):
            earlier, present = getattr(record, flag), getattr(self, flag)
            if earlier not in (None, present):
                raise OtherSettingsError(
                    f"the checkpoint to resume from was written with --{flag}={earlier}, got {present}; resume with "
                    f"--{flag}={earlier}, or choose another --experiment_name"
                )
        self.training.load_device_state(device_state)
        for name, component in self._components().items():
            component.load_state_dict(getattr(record, name))
        self.preemption_count = record.preemption_count + 1

    def _components(self) -> dict[str, Stateful]:
        return {name: getattr(self, name) for name in COMPONENTS}
