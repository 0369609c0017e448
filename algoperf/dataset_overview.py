"""Which datasets there are, by which names, in what state, and what each takes: what `algoperf.prepare` lists."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from algoperf.cores import usable_cores
from algoperf.data.disk_space import format_bytes
from algoperf.data.places import new_store_dir, raw_dir, store_dir
from algoperf.data.store import is_complete
from algoperf.dataset_source import DatasetSource
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.preparation_times import read_time
from algoperf.raw_data import required_bytes
from algoperf.registry import REGISTRY, Registry, UnknownWorkloadError, suites

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class DatasetState:
    """A dataset, and what preparing it takes.

    Attributes:
      dataset: its name.
      workload: one that uses it.
      is_prepared: whether there is a complete store.
      is_generated: whether a run makes it where it is missing (minis).
      required_bytes: disk space that preparation takes beside the raw data; None where the workload does not say.
      source: where the raw dataset comes from; None where that is not declared.
      raw: `-`, `partly`, or `there`: whether the raw dataset was downloaded or is in a given folder.
      hours: how long preparation takes, the download left out; None where that is not known.
      is_measured: whether it took so long on this machine; otherwise `hours` is an estimate.
    """

    dataset: str
    workload: str
    is_prepared: bool
    is_generated: bool
    required_bytes: int | None
    source: DatasetSource | None
    raw: str
    hours: float | None
    is_measured: bool

    @property
    def peak_bytes(self) -> int | None:
        """Disk space from nothing to prepared: downloads, what is unpacked of them, store and intermediate results."""
        if self.required_bytes is None:
            return None
        return self.required_bytes + (self.source.download_bytes + self.source.unpacked_bytes if self.source else 0)


def dataset_states(
    definitions: Iterable[WorkloadDefinition],
    data_dir: Path,
    *,
    source_dir: Path | None = None,
    registry: Registry = REGISTRY,
) -> list[DatasetState]:
    """The datasets of some workloads, each once, in order; prepares nothing.

    Args:
      source_dir: a folder that may hold raw datasets, looked at as well as the folders of downloads; None means
        `data_dir`, which may be AlgoPerf's.
    """
    first_of: dict[str, WorkloadDefinition] = {}
    for definition in definitions:
        first_of.setdefault(definition.dataset, definition)
    return [_state(definition, data_dir, source_dir, registry) for definition in first_of.values()]


def _state(definition: WorkloadDefinition, data_dir: Path, source_dir: Path | None, registry: Registry) -> DatasetState:
    module = registry.module(definition.name, "prepare")
    source = registry.dataset_source(definition.name)
    seconds = read_time(new_store_dir(definition, data_dir))
    estimate = source.core_hours / len(usable_cores()) if source else None
    return DatasetState(
        dataset=definition.dataset,
        workload=definition.name,
        is_prepared=is_complete(store_dir(definition, data_dir)),
        is_generated=definition.tier is Tier.MINI,
        required_bytes=required_bytes(definition, registry),
        source=source,
        raw=_raw(definition, source, [raw_dir(definition, data_dir), source_dir or data_dir], module),
        hours=estimate if seconds is None else seconds / 3600,
        is_measured=seconds is not None,
    )


def _raw(definition: WorkloadDefinition, source: DatasetSource | None, folders: list[Path], module: ModuleType) -> str:
    """Whether one of `folders` holds the raw dataset: the published files, or another form that preparation reads."""
    if definition.tier is Tier.MINI:
        return "-"
    find_raw = getattr(module, "find_raw", lambda definition, folder: None)
    if any(find_raw(definition, folder) for folder in folders if folder.is_dir()):
        return "there"
    present = [sum((folder / file.name).is_file() for file in source.files) for folder in folders] if source else [0]
    if source and max(present) == len(source.files):
        return "there"
    return "partly" if max(present) else "-"


def definitions_by_names(names: Iterable[str], registry: Registry = REGISTRY) -> list[WorkloadDefinition]:
    """The workloads whose datasets are meant, each dataset once.

    Args:
      names: of workloads, datasets or suites; `all` stands for every dataset that is not generated.

    Raises:
      UnknownWorkloadError: with the closest names.
    """
    groups = _groups(registry)
    chosen: dict[str, WorkloadDefinition] = {}
    for name in names:
        if name not in groups:
            close = difflib.get_close_matches(name, groups, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(close)}?" if close else f"known names: {', '.join(groups)}"
            raise UnknownWorkloadError(f"unknown workload, dataset or suite {name!r}; {hint}")
        for definition in groups[name]:
            chosen.setdefault(definition.dataset, definition)
    return list(chosen.values())


def _groups(registry: Registry) -> Mapping[str, list[WorkloadDefinition]]:
    definitions = registry.definitions()
    groups = {
        name: [registry.get(workload) for workload in suite.workloads]
        for name, suite in suites().items()
        if {*suite.workloads} <= {*registry.names()}
    }
    groups[ALL] = [definition for definition in definitions if definition.tier is not Tier.MINI]
    groups |= {definition.dataset: [definition] for definition in reversed(definitions)}
    return groups | {definition.name: [definition] for definition in definitions}


_HEADER = ("dataset", "store", "raw data", "download", "size", "peak disk", "preparation", "used by")


def listing(data_dir: Path, source_dir: Path | None, registry: Registry = REGISTRY) -> Iterator[str]:
    """Lines of a table of all datasets."""
    users: dict[str, list[str]] = {}
    for definition in registry.definitions():
        users.setdefault(definition.dataset, []).append(definition.name)
    states = dataset_states(registry.definitions(), data_dir, source_dir=source_dir, registry=registry)
    rows = [_HEADER, *(_row(state, users[state.dataset]) for state in sorted(states, key=lambda state: state.dataset))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    for row in rows:
        yield "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _row(state: DatasetState, users: list[str]) -> tuple[str, ...]:
    source = state.source
    hours = "-" if state.hours is None else f"{format_hours(state.hours)} {'measured' if state.is_measured else 'est.'}"
    more = f" and {len(users) - 1} more" if len(users) > 1 else ""
    return (
        state.dataset,
        "prepared" if state.is_prepared else "-",
        "generated" if state.is_generated else state.raw,
        format_bytes(source.download_bytes) if source else "-",
        format_bytes(source.store_bytes) if source else "-",
        "-" if state.peak_bytes is None else format_bytes(state.peak_bytes),
        hours,
        state.workload + more,
    )


def format_hours(hours: float) -> str:
    """Two significant digits and a unit: 12 s, 3.5 min, 27 h."""
    for seconds, unit in ((3600, "h"), (60, "min")):
        if hours * 3600 >= seconds:
            return f"{float(f'{hours * 3600 / seconds:.2g}'):g} {unit}"
    return f"{float(f'{hours * 3600:.2g}'):g} s"
