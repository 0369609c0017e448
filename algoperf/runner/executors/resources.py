"""What each trial of a suite asks of a cluster, read from a TOML file: nodes, GPUs, cores, memory and time."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from algoperf.errors import UserError
from algoperf.runner.suite_plan import EVALUATION_SHARE, SET_UP_S

_DEFAULT, _WORKLOADS, _SITE = "default", "workloads", "site"


class ResourcesError(UserError):
    """The resources file cannot be used; one line that says where and what was expected."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one trial asks for.

    Attributes:
      partition: of the cluster; None leaves it to the site.
      nodes: machines of a trial.
      gpus, cores, memory: of each node; None leaves them to the site. Memory as SLURM writes it, for example "64G".
      exclusive: whether no other job may run on the nodes; what is timed should not share a machine.
      evaluation_share: seconds of evaluations, checkpoints and logging for each second of the budget.
      set_up_min: minutes for imports, models, compilation and data.
      time_min: minutes of a job; None derives them from budget, share and set-up.
      options: further options of sbatch by name, without dashes.
    """

    partition: str | None = None
    nodes: int = 1
    gpus: int | None = None
    cores: int | None = None
    memory: str | None = None
    exclusive: bool = True
    evaluation_share: float = EVALUATION_SHARE
    set_up_min: float = SET_UP_S / 60
    time_min: int | None = None
    options: Mapping[str, str | int | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("nodes", "gpus", "cores", "time_min"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ResourcesError(f"{name} must be a whole number of at least 1, got {value!r}")
        for name in ("evaluation_share", "set_up_min"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise ResourcesError(f"{name} must be a number of at least 0, got {value!r}")
        if not isinstance(self.exclusive, bool) or not isinstance(self.options, Mapping):
            raise ResourcesError(
                f"exclusive must be true or false and options a table, got {self.exclusive!r} and {self.options!r}"
            )

    def minutes(self, budget_s: float) -> int:
        """Minutes of a job whose trial may use `budget_s` seconds of submission time."""
        if self.time_min is not None:
            return self.time_min
        return max(1, math.ceil(budget_s * (1 + self.evaluation_share) / 60 + self.set_up_min))


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a cluster allows.

    Attributes:
      array_limit: elements of a job array; None asks the scheduler.
      parallel: jobs of the suite that run at once.
      max_starts: how often a trial is started or resumed in all, before it is left alone.
      warning_s: seconds before its time limit at which a job is told; a step and a checkpoint must fit in.
      setup: shell commands before each job.
    """

    array_limit: int | None = None
    parallel: int = 256
    max_starts: int = 20
    warning_s: int = 180
    setup: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("array_limit", "parallel", "max_starts", "warning_s"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ResourcesError(f"[{_SITE}] {name} must be a whole number of at least 1, got {value!r}")


@dataclass(frozen=True, kw_only=True)
class ResourceTable:
    """A resources file: what all workloads ask for, what some ask for instead, and what the site allows."""

    default: Mapping[str, Any] = field(default_factory=dict)
    workloads: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    site: Site = field(default_factory=Site)

    @classmethod
    def read(cls, path: Path | None, workloads: tuple[str, ...]) -> Self:
        """From a file; without one, everything is left to the site.

        Raises:
          ResourcesError: the file is missing, no TOML, or has a key or a workload that there is not.
        """
        if path is None:
            return cls()
        try:
            content = tomllib.loads(path.expanduser().read_text())
        except (OSError, ValueError) as error:
            raise ResourcesError(f"--resources={path}: expected a TOML file, got {error}") from error
        _check_keys(path, content, (_DEFAULT, _WORKLOADS, _SITE), "the file")
        by_workload = content.get(_WORKLOADS, {})
        _check_keys(path, by_workload, workloads, f"[{_WORKLOADS}]")
        site = dict(content.get(_SITE, {}))
        _check_keys(path, site, _names(Site), f"[{_SITE}]")
        table = cls(
            default=content.get(_DEFAULT, {}),
            workloads=by_workload,
            site=Site(**{**site, "setup": tuple(site.get("setup", ()))}),
        )
        for where, values in ((_DEFAULT, table.default), *by_workload.items()):
            _check_keys(path, values, _names(Resources), f"[{where}]")
        for workload in workloads:
            table.of(workload)
        return table

    def of(self, workload: str) -> Resources:
        """What a trial of `workload` asks for."""
        return Resources(**{**self.default, **self.workloads.get(workload, {})})


def _names(kind: type[Resources] | type[Site]) -> tuple[str, ...]:
    return tuple(entry.name for entry in dataclasses.fields(kind))


def _check_keys(path: Path, given: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if not isinstance(given, Mapping):
        raise ResourcesError(f"--resources={path}: {where} must be a table, got {given!r}")
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ResourcesError(
            f"--resources={path}: {where} has {', '.join(unknown)}; expected some of {', '.join(known)}"
        )
