"""The file of known reference steps: least costs by machine, software, definition and threads."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from algoperf.cores import usable_cores
from algoperf.definition import Budget, ReferenceBudget, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.records import json as records_json
from algoperf.records import provenance
from algoperf.records.calibration import StepCost
from algoperf.records.files import explained

SCHEMA_VERSION = 1
_ENTRIES, _ENVIRONMENT, _COST = "entries", "environment", "cost"
_DEVICES = ("platform", "device_names", "matmul_precision")
_SAME_TASK = ("workload", "framework", "definition_digest")
_SAME_MACHINE = (*_SAME_TASK, "machine", "cores")


class StepCostsError(UserError):
    """A file of reference steps cannot be used."""


@dataclass(frozen=True, kw_only=True)
class StepEnvironment:
    """Where and with what a reference step was taken; costs are known for equal environments alone.

    Attributes:
      cores: processors that this process may use, a quota aside.
      variables: environment variables that limit threads or change speed otherwise.
    """

    workload: str
    framework: str
    definition_digest: str
    machine: str
    cpu: str | None
    cores: int
    cpu_quota: float | None
    devices: Mapping[str, Any]
    packages: Mapping[str, str | None]
    variables: Mapping[str, str]

    @classmethod
    def here(cls, definition: WorkloadDefinition, framework: str, device_report: Mapping[str, Any]) -> Self:
        """This process's."""
        return cls(
            workload=definition.name,
            framework=framework,
            definition_digest=definition.digest(),
            machine=platform.node(),
            cpu=provenance.cpu_model(),
            cores=len(usable_cores()),
            cpu_quota=provenance.cpu_quota(),
            devices={name: device_report.get(name) for name in _DEVICES},
            packages=provenance.package_versions(),
            variables=provenance.environment(),
        )

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def default_file() -> Path:
    """The file of this user, by the XDG Base Directory Specification."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "algoperf" / "reference_steps.json"


def given(path: Path, environment: StepEnvironment) -> StepCost:
    """The cost that a file states for `environment`, or else the only one of the same task in the same framework.

    Raises:
      StepCostsError: the file cannot be read, or states none or several.
    """
    entries = _read(path)
    if environment.key in entries:
        return _cost(path, entries[environment.key])
    task = [asdict(environment)[name] for name in _SAME_TASK]
    costs = [_cost(path, e) for e in entries.values() if [e.get(_ENVIRONMENT, {}).get(n) for n in _SAME_TASK] == task]
    if len(costs) != 1:
        raise StepCostsError(
            f"{path} has {len(costs)} costs of a reference step of {environment.workload} in {environment.framework} "
            "as it is defined now, and none of this machine; expected one. --calibration=auto measures it"
        )
    return costs[0]


def least(path: Path, environment: StepEnvironment) -> StepCost | None:
    """The least cost that is known for `environment`; None where there is none."""
    try:
        entry = _read(path).get(environment.key)
        return None if entry is None else _cost(path, entry)
    except StepCostsError:
        return None


def budget_here(definition: WorkloadDefinition, framework: str, path: Path) -> Budget:
    """The budget in seconds of this machine at its cores, for estimates: by the largest cost that `path` has for it.

    The definition's own where it counts seconds, or where nothing is known.
    """
    budget = definition.budget
    try:
        entries = list(_read(path).values())
        same = (definition.name, framework, definition.digest(), platform.node(), len(usable_cores()))
        here = [entry for entry in entries if tuple(entry[_ENVIRONMENT][name] for name in _SAME_MACHINE) == same]
        costs = [_cost(path, entry).step_s for entry in here]
    except (StepCostsError, KeyError, TypeError):
        return budget
    return budget.at_cost(max(costs)) if costs and isinstance(budget, ReferenceBudget) else budget


def remember(path: Path, environment: StepEnvironment, cost: StepCost) -> None:
    """Keeps `cost` in the file where none as low is known for `environment`.

    Raises:
      RecorderError: the file cannot be written.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            known = least(path, environment)
            if known is not None and known.step_s <= cost.step_s:
                return
            try:
                entries = dict(_read(path))
            except StepCostsError:
                entries = {}
            entries[environment.key] = {_ENVIRONMENT: asdict(environment), _COST: asdict(cost)}
            records_json.write(path, {"schema_version": SCHEMA_VERSION, _ENTRIES: entries})


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = records_json.read_object(path)
        if content.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"schema version {content.get('schema_version')}, expected {SCHEMA_VERSION}")
        entries: Mapping[str, Any] = content[_ENTRIES]
    except (OSError, ValueError, KeyError) as error:
        raise StepCostsError(f"{path}: expected a file of reference steps, got {error}") from error
    return entries


def _cost(path: Path, entry: Mapping[str, Any]) -> StepCost:
    try:
        return StepCost(**entry[_COST])
    except (KeyError, TypeError, ValueError) as error:
        raise StepCostsError(f"{path}: expected step_s, spread and blocks, got {error}") from error
