"""Measures the machine's cost of a reference step beside trials, in a child process that the trials do not notice.

The reference step is compiled in a process of its own, so that memory, random numbers and compilations of the run stay
as they are without it. The child lives as long as the command and is idle while a trial runs.
"""

import contextlib
import json
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from algoperf.background import PROCESS_MARK
from algoperf.definition import FRAMEWORKS, ReferenceBudget, WorkloadDefinition, split_horizon
from algoperf.edition import MatmulPrecision
from algoperf.errors import UserError
from algoperf.records.calibration import StepCost
from algoperf.records.step_costs import RelativeStepCost, StepCosts
from algoperf.reporting import Report
from algoperf.runner import step_costs
from algoperf.runner.step_costs import StepEnvironment

AUTO, OFF = "auto", "off"
_MODULE = "algoperf.runner.reference_step"
_TIMEOUT_S = 900.0
# Set by launchers of several processes; the child is a single one.
_LAUNCHER_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class CalibrationError(UserError):
    """The reference step could not be measured; one line that says why."""


class Meter(Protocol):
    """Something that says what a reference step costs now."""

    def measure(self) -> StepCost: ...

    def close(self) -> None: ...


class ReferenceProcess:
    """The child process that measures; started by the first measurement.

    Args:
      workload, framework, data_dir: whose reference step; the data are prepared.
      matmul_precision: as in the run.
      timeout_s: how long a measurement may take, the start of the process included.
    """

    def __init__(
        self,
        workload: str,
        framework: str,
        data_dir: Path,
        *,
        matmul_precision: MatmulPrecision = MatmulPrecision.FLOAT32,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._request = {
            "workload": workload,
            "framework": framework,
            "data_dir": str(data_dir),
            "matmul_precision": matmul_precision,
        }
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()

    def measure(self) -> StepCost:
        """Measures now; raises CalibrationError where the process fails or takes too long."""
        try:
            if self._process is None:
                self._process = self._start()
            assert self._process.stdin is not None
            self._process.stdin.write(b"measure\n")
            self._process.stdin.flush()
            return StepCost(**json.loads(self._reply(self._process)))
        except (OSError, ValueError, TypeError) as error:
            raise CalibrationError(f"the reference step cannot be measured: {self._reason() or error}") from error

    def close(self) -> None:
        """Ends the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()
        self._messages.close()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name not in _LAUNCHER_VARIABLES}
        environment |= {
            PROCESS_MARK: "1",
            "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
            # of a GPU, take what the step needs and no more
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        return subprocess.Popen(
            [sys.executable, "-m", _MODULE, json.dumps(self._request)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            env=environment,
        )

    def _reply(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None
        reply, until_s = b"", time.monotonic() + self._timeout_s
        while not reply.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, until_s - time.monotonic()))
            if not ready:
                raise TimeoutError(f"no answer within {self._timeout_s:.0f} s")
            piece = os.read(process.stdout.fileno(), 4096)
            if not piece:
                raise OSError(f"its process ended with status {process.wait()}")
            reply += piece
        return reply

    def _reason(self) -> str:
        """The last line that the process wrote for people, where it has ended."""
        if self._process is None or self._process.poll() in (None, 0):
            return ""
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


@dataclass(frozen=True, kw_only=True)
class StatedCost:
    """Takes the place of the child where the cost is given."""

    cost: StepCost

    def measure(self) -> StepCost:
        return self.cost

    def close(self) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """Measures for the trials of one command.

    Attributes:
      source: "measured", "file" or "step_costs".
      meter: measures.
      charged: what steps of the submission are charged, where that is stated and not measured.
      environment: of this process; None keeps no least cost.
      costs_file: where least costs are kept.
      report: told how long a trial takes here.
    """

    source: str
    meter: Meter
    charged: RelativeStepCost | None = None
    environment: StepEnvironment | None = None
    costs_file: Path = field(default_factory=step_costs.default_file)
    report: Report

    def measure(self) -> StepCost:
        """Measures now, and remembers the least.

        Raises:
          CalibrationError: it cannot be measured.
        """
        cost = self.meter.measure()
        if self.environment is not None:
            with contextlib.suppress(UserError):  # a cache that cannot be written is none
                step_costs.remember(self.costs_file, self.environment, cost)
        return cost

    def close(self) -> None:
        self.meter.close()

    @property
    def is_stated(self) -> bool:
        """Whether the cost is given: then measuring again says nothing new."""
        return isinstance(self.meter, StatedCost)

    def least(self) -> StepCost | None:
        return None if self.environment is None else step_costs.least(self.costs_file, self.environment)


def calibrator_for(
    definition: WorkloadDefinition,
    framework: str,
    *,
    calibration: str,
    data_dir: Path,
    matmul_precision: MatmulPrecision,
    device_report: Mapping[str, Any],
    world_size: int,
    report: Report,
) -> Calibrator | None:
    """The calibrator of a command; None where budgets stay in the seconds of the definition.

    Args:
      calibration: "auto", "off", or the path of a file of reference steps.
      matmul_precision: asked for in the run.
      device_report: of the backend.
      world_size: processes of the run. The cost is that of one; with several, nothing is measured.
      report: told when nothing is measured although the workload declares reference steps.

    Raises:
      StepCostsError: the file has no cost for this run.
    """
    if calibration == OFF or not isinstance(definition.budget, ReferenceBudget) or framework not in FRAMEWORKS:
        return None
    here = StepEnvironment.here(definition, framework, device_report)
    if calibration != AUTO:
        cost = step_costs.given(Path(calibration).expanduser(), here)
        return Calibrator(source="file", meter=StatedCost(cost=cost), report=report)
    if world_size > 1:
        report(f"{definition.name}: a reference step is one process's; with {world_size} the budget stays in seconds")
        return None
    meter = ReferenceProcess(definition.name, framework, data_dir, matmul_precision=matmul_precision)
    return Calibrator(source="measured", meter=meter, environment=here, report=report)


def stated_calibrator(
    definition: WorkloadDefinition,
    framework: str,
    path: Path,
    *,
    submission_digest: str,
    world_size: int,
    report: Report,
) -> Calibrator:
    """Charges the steps of a submission what a file of `python -m algoperf.step_cost` says they cost.

    Args:
      path: of the file.
      submission_digest: of the submission that runs.
      world_size: processes of the run; the costs are those of one.

    Raises:
      CalibrationError: the file is of another submission, framework or workload, or the workload counts no steps.
    """
    costs, (name, _) = StepCosts.load(path), split_horizon(definition.name)
    if not isinstance(definition.budget, ReferenceBudget):
        raise CalibrationError(f"--step_costs is for minis, whose budgets count reference steps, not for {name}")
    if world_size > 1:
        raise CalibrationError(f"--step_costs states the steps of one process, and this run has {world_size}")
    for what, stated, here in (
        ("framework", costs.framework, framework),
        ("digest of the submission", costs.submission_digest, submission_digest),
    ):
        if stated != here:
            raise CalibrationError(
                f"--step_costs={path}: expected the {what} {here}, got {stated}; "
                "`python -m algoperf.step_cost` measures this one"
            )
    if name not in costs.step_costs:
        raise CalibrationError(f"--step_costs={path} has costs of {', '.join(costs.step_costs)}, and none of {name}")
    cost = costs.step_costs[name]
    spread = cost.log_spread * math.sqrt(cost.cycles)  # so that the mean over the cycles is as uncertain as the cost
    reference = StepCost(step_s=cost.reference_step_s, spread=spread, blocks=cost.cycles)
    return Calibrator(source="step_costs", meter=StatedCost(cost=reference), charged=cost, report=report)
