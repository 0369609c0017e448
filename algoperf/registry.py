"""Finds workloads: folders of the `workloads` package and entry points of the group `algoperf.workloads`.

A workload package holds `definition.py` with `DEFINITIONS`, and its components, which are imported only when asked
for: `prepare.py`, `data.py`, `jax_model.py`, `torch_model.py` and, where the declared metrics are more than means of
the model's outputs, `metrics.py`; where the raw dataset can be downloaded, `sources.py` says from where.
`definition.py` may name modules that stand in for some of them, under `COMPONENTS`.
"""

import dataclasses
import difflib
import functools
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Any

from algoperf.dataset_source import DatasetSource
from algoperf.definition import Suite, WorkloadDefinition, split_horizon
from algoperf.edition import V0_6
from algoperf.errors import UserError

ENTRY_POINT_GROUP = "algoperf.workloads"
_NOT_WORKLOADS = frozenset({"common"})
_DEFAULT_COMPONENTS = MappingProxyType({"metrics": "algoperf.metrics.declared"})


def suites(edition: str = V0_6.name) -> Mapping[str, Suite]:
    """The suites of an edition by name; the names are the same in every edition."""
    declared: Mapping[str, Mapping[str, Suite]] = importlib.import_module("workloads.suites").SUITES
    return declared[edition]


class UnknownWorkloadError(UserError, LookupError):
    """No workload has the requested name."""


class MissingComponentError(UserError, ImportError):
    """A workload package lacks one of its modules."""


class DuplicateWorkloadError(ValueError):
    """Two packages declare the same workload name."""


class Registry:
    """Workload definitions by name. Packages are found and read on first use."""

    def __init__(
        self,
        packages: tuple[str, ...] | None = None,
        *,
        entries: Mapping[str, tuple[WorkloadDefinition, str]] | None = None,
    ) -> None:
        self._packages = packages
        self._given_entries = entries

    def __getstate__(self) -> dict[str, Any]:
        """For another process: what it was made of."""
        given = self._given_entries
        return {"_packages": self._packages, "_given_entries": None if given is None else dict(given)}

    def altered(self, changes: Mapping[str, Mapping[str, Any]]) -> "Registry":
        """A copy in which the named definitions have other values in some fields: for experiments on the harness."""
        entries = dict(self._entries)
        for name, fields in changes.items():
            definition, package = self._entry(name)
            entries[name] = (dataclasses.replace(definition, **fields), package)
        return Registry(entries=entries)

    @functools.cached_property
    def _entries(self) -> Mapping[str, tuple[WorkloadDefinition, str]]:
        if self._given_entries is not None:
            return MappingProxyType(dict(self._given_entries))
        entries: dict[str, tuple[WorkloadDefinition, str]] = {}
        for package in self._packages if self._packages is not None else _installed_packages():
            for definition in importlib.import_module(f"{package}.definition").DEFINITIONS:
                if definition.name in entries:
                    raise DuplicateWorkloadError(
                        f"workload {definition.name!r} is declared by {entries[definition.name][1]!r} and by "
                        f"{package!r}; rename one of them"
                    )
                entries[definition.name] = (definition, package)
        return MappingProxyType(entries)

    def names(self) -> list[str]:
        return sorted(self._entries)

    def definitions(self) -> list[WorkloadDefinition]:
        return [self._entries[name][0] for name in self.names()]

    def get(self, name: str) -> WorkloadDefinition:
        """Returns the definition called `name`; raises UnknownWorkloadError with the closest names otherwise.

        `<workload>_horizon<K>` is the workload at K times its step hint.

        Raises:
          UserError: a horizon that no targets are kept for.
        """
        if name in self._entries:
            return self._entries[name][0]
        workload, factor = split_horizon(name)
        return self._entry(workload if factor != 1 else name)[0].at_horizon(factor)

    def _entry(self, name: str) -> tuple[WorkloadDefinition, str]:
        if name not in self._entries:
            close = difflib.get_close_matches(name, self.names(), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else f"known workloads: {', '.join(self.names())}"
            raise UnknownWorkloadError(f"unknown workload {name!r}; {hint}")
        return self._entries[name]

    def package(self, name: str) -> str:
        """Dotted name of the package that declares workload `name`, at any horizon."""
        return self._entry(name if name in self._entries else split_horizon(name)[0])[1]

    def module(self, name: str, component: str) -> ModuleType:
        """Imports a component (`prepare`, `data`, `metrics`, `jax_model`, `torch_model`) of workload `name`.

        Raises:
          MissingComponentError: its package has no such module and names none.
        """
        package = self.package(name)
        named = getattr(importlib.import_module(f"{package}.definition"), "COMPONENTS", {})
        module_name = named.get(component, f"{package}.{component}")
        try:
            return importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            if component in _DEFAULT_COMPONENTS and component not in named:
                return importlib.import_module(_DEFAULT_COMPONENTS[component])
            raise MissingComponentError(
                f"workload {name!r} needs the module {module_name}, which does not exist; write it, or name another "
                f"in COMPONENTS of {package}.definition"
            ) from error

    def dataset_source(self, name: str) -> DatasetSource | None:
        """Where the raw dataset of workload `name` comes from; None where its package does not say (minis)."""
        try:
            sources: tuple[DatasetSource, ...] = self.module(name, "sources").SOURCES
        except MissingComponentError:
            return None
        dataset = self.get(name).dataset
        return next((source for source in sources if source.dataset == dataset), None)


def _installed_packages() -> tuple[str, ...]:
    workloads = importlib.import_module("workloads")
    local = [
        f"workloads.{member.name}"
        for member in pkgutil.iter_modules(workloads.__path__)
        if member.ispkg and member.name not in _NOT_WORKLOADS
    ]
    plugins = [point.value for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)]
    return tuple(dict.fromkeys(sorted(local) + sorted(plugins)))


REGISTRY = Registry()
