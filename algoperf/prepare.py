"""Prepares datasets: `python -m algoperf.prepare NAME ... --data_dir=DIR [--source_dir=DIR] [--num_workers=N]`.

Without a name, lists every dataset and whether it is prepared. Also what a run calls before it starts: minis are
generated on the spot, a missing full dataset is an error that says how to get it.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from algoperf.cores import usable_cores
from algoperf.data.disk_space import require_free_bytes, written_bytes
from algoperf.data.places import new_store_dir, raw_dir, store_dir, work_dir
from algoperf.data.shards import resume_parts, staging_dir
from algoperf.data.store import MANIFEST, Store, StoreError, check_replaceable, content_digest, is_complete
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.registry import REGISTRY, Registry
from algoperf.reporting import Report

_MAX_DEFAULT_WORKERS = 32


class MissingDatasetError(UserError):
    """A dataset that a person has to fetch is not prepared; the message says how to get it."""


class PreparationError(UserError):
    """A dataset cannot be prepared: the disk or its permissions are in the way, or no complete store came out."""


def ensure_prepared(
    definition: WorkloadDefinition, data_dir: Path, report: Report, *, registry: Registry = REGISTRY
) -> None:
    """Returns when the store of `definition` can be read; generates it first where that needs no download (minis).

    Of a mini every checksum is compared, of a full dataset the sizes of files (`verify_dataset` compares the rest).

    Raises:
      MissingDatasetError: a full dataset is not there.
      StoreError: a full dataset is damaged, or of another format version.
      PreparationError, DiskSpaceError, ForeignFilesError: as `prepare_dataset`.
    """
    path = store_dir(definition, data_dir)
    if is_complete(path):
        try:
            if definition.tier is Tier.MINI:
                verify_dataset(definition, data_dir)
            else:
                Store(path)
            return
        except StoreError as error:
            if definition.tier is not Tier.MINI:
                raise
            report(f"{definition.dataset}: damaged, so generating it again ({error})")
    if definition.tier is Tier.MINI:
        prepare_dataset(definition, data_dir, report=report, registry=registry, is_usable=_is_intact)
        return
    module = registry.module(definition.name, "prepare")
    raise MissingDatasetError(f"no prepared data for {definition.name} at {path}\n{module.how_to_get(definition)}")


def prepare_dataset(
    definition: WorkloadDefinition,
    data_dir: Path,
    *,
    report: Report,
    source_dir: Path | None = None,
    num_workers: int | None = None,
    registry: Registry = REGISTRY,
    is_usable: Callable[[Path], bool] | None = None,
) -> Path:
    """Prepares one dataset unless it is complete, and returns its store. One process at a time per dataset.

    An interrupted preparation resumes; what it has written counts towards the disk space that is needed.

    Args:
      is_usable: whether the store at a path can stay as it is; by default, whether it can be opened.

    Raises:
      DiskSpaceError: too little disk space for what is missing.
      ForeignFilesError: where the store goes there are files that this program did not write; all are left alone.
      PreparationError: a failure of the disk, no permission, or the store is not complete afterwards.
    """
    is_usable = is_usable or _is_readable
    with _only_one_process(new_store_dir(definition, data_dir), definition.dataset, report):
        store = store_dir(definition, data_dir)
        if is_usable(store):
            report(f"{definition.dataset}: already prepared at {store}")
            return store
        store = new_store_dir(definition, data_dir)
        module = registry.module(definition.name, "prepare")
        started = time.monotonic()
        try:
            check_replaceable(store)
            resume_parts(store)
            if hasattr(module, "required_bytes"):
                _check_disk_space(definition, data_dir, module.required_bytes(definition))
            report(f"{definition.dataset}: preparing at {store}")
            module.prepare(
                definition,
                data_dir,
                source_dir=source_dir,
                num_workers=num_workers or _default_workers(),
                report=report,
            )
        except OSError as error:
            raise PreparationError(f"preparing {definition.name} at {store} failed: {error}") from error
        store = store_dir(definition, data_dir)
        if not is_complete(store):
            raise PreparationError(f"preparing {definition.name} ended without a complete store at {store}")
        report(f"{definition.dataset}: prepared in {time.monotonic() - started:.1f} s")
    return store


@dataclass(frozen=True, kw_only=True)
class DatasetState:
    """Whether a dataset is prepared.

    Attributes:
      dataset: its name.
      workload: one that uses it.
      is_prepared: whether there is a complete store.
      is_generated: whether a run makes it where it is missing (minis).
      required_bytes: disk space that preparation takes; None where the workload does not say.
    """

    dataset: str
    workload: str
    is_prepared: bool
    is_generated: bool
    required_bytes: int | None


def dataset_states(
    definitions: Iterable[WorkloadDefinition], data_dir: Path, *, registry: Registry = REGISTRY
) -> list[DatasetState]:
    """The datasets of some workloads, each once, in order; prepares nothing."""
    states: dict[str, DatasetState] = {}
    for definition in definitions:
        module = registry.module(definition.name, "prepare")
        states.setdefault(
            definition.dataset,
            DatasetState(
                dataset=definition.dataset,
                workload=definition.name,
                is_prepared=is_complete(store_dir(definition, data_dir)),
                is_generated=definition.tier is Tier.MINI,
                required_bytes=module.required_bytes(definition) if hasattr(module, "required_bytes") else None,
            ),
        )
    return list(states.values())


def verify_dataset(definition: WorkloadDefinition, data_dir: Path) -> int:
    """Compares every checksum of a prepared dataset; returns the number of stores it consists of.

    Raises:
      StoreError: it is missing, or a file is damaged (named).
    """
    root = store_dir(definition, data_dir)
    stores = sorted(manifest.parent for manifest in root.rglob(MANIFEST))
    if not stores:
        raise StoreError(f"no prepared data at {root} ({MANIFEST} is missing)")
    for path in stores:
        Store(path).verify()
    return len(stores)


def data_digest(definition: WorkloadDefinition, data_dir: Path) -> str:
    """16 hexadecimal digits that stand for the contents of a prepared dataset, by the checksums of its manifests.

    Raises:
      StoreError: it is missing, or a manifest is damaged.
    """
    return content_digest(store_dir(definition, data_dir))


def _is_intact(path: Path) -> bool:
    try:
        for manifest in sorted(path.rglob(MANIFEST)):
            Store(manifest.parent).verify()
    except StoreError:
        return False
    return is_complete(path)


def _is_readable(path: Path) -> bool:
    try:
        Store(path)
    except StoreError:
        return False
    return True


@contextlib.contextmanager
def _only_one_process(store: Path, dataset: str, report: Report) -> Iterator[None]:
    lock = FileLock(store.with_name(f".{dataset}.lock"))
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        try:
            held = lock.acquire(blocking=False)
        except Timeout:
            report(f"{dataset}: another process is preparing it; waiting")
            held = lock.acquire()
    except OSError as error:
        raise PreparationError(
            f"cannot write {error.filename or store.parent}: {error.strerror or error}; choose another --data_dir"
        ) from error
    with held:
        yield


def _check_disk_space(definition: WorkloadDefinition, data_dir: Path, required_bytes: int) -> None:
    store = new_store_dir(definition, data_dir)
    partial = store.with_name(store.name + ".partial")
    written = written_bytes(
        [store, partial, staging_dir(store), raw_dir(definition, data_dir), work_dir(definition, data_dir)]
    )
    require_free_bytes(
        store.parent,
        max(0, required_bytes - written),
        task=f"preparing {definition.dataset}",
        remedy="free some, or choose another --data_dir",
    )


def _default_workers() -> int:
    return min(_MAX_DEFAULT_WORKERS, len(usable_cores()))


def _list_datasets(data_dir: Path, registry: Registry) -> None:
    workloads_of: dict[str, list[WorkloadDefinition]] = {}
    for definition in registry.definitions():
        workloads_of.setdefault(definition.dataset, []).append(definition)
    width = max(map(len, workloads_of), default=0)
    for dataset, definitions in sorted(workloads_of.items()):
        state = "prepared" if is_complete(store_dir(definitions[0], data_dir)) else "-"
        names = ", ".join(definition.name for definition in definitions)
        print(f"{dataset:<{width}}  {definitions[0].tier:<11}  {state:<8}  used by {names}")
    print(f"\nunder {data_dir}; prepare one with: python -m algoperf.prepare WORKLOAD --data_dir={data_dir}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m algoperf.prepare", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="workloads whose datasets to prepare; none: list all")
    parser.add_argument("--data_dir", type=Path, default=Path("~/data"), help="where prepared datasets live")
    parser.add_argument("--source_dir", type=Path, default=None, help="where the raw dataset lies")
    parser.add_argument("--num_workers", type=int, default=None, help="worker processes (default: one per core)")
    parser.add_argument("--verify", action="store_true", help="compare checksums of prepared datasets, prepare nothing")
    parser.add_argument("--how_to_get", action="store_true", help="say where the raw dataset comes from, and stop")
    return parser


def main(arguments: Sequence[str] | None = None, *, registry: Registry = REGISTRY) -> int:
    """Runs the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    data_dir = options.data_dir.expanduser()
    started = time.monotonic()

    def report(message: str) -> None:
        print(f"[{time.monotonic() - started:7.1f} s] {message}", flush=True)

    try:
        if not options.names:
            _list_datasets(data_dir, registry)
        for name in options.names:
            definition = registry.get(name)
            if options.how_to_get:
                print(registry.module(name, "prepare").how_to_get(definition))
            elif options.verify:
                count = verify_dataset(definition, data_dir)
                report(f"{definition.dataset}: intact ({count} store{'s' if count > 1 else ''})")
            else:
                prepare_dataset(
                    definition,
                    data_dir,
                    report=report,
                    source_dir=options.source_dir and options.source_dir.expanduser(),
                    num_workers=options.num_workers,
                    registry=registry,
                )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
