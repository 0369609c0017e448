"""Prepares datasets: `algoperf prepare NAME ... --data_dir=DIR [--download | --source_dir=DIR]`.

Without a name, lists every dataset, whether it is prepared, and what that takes. Also what a run calls before it
starts: minis are generated on the spot, a missing full dataset is an error that says how to get it.
"""

import argparse
import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from algoperf import __version__
from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.cores import usable_cores
from algoperf.croissant import write_metadata
from algoperf.data.places import new_store_dir, store_dir
from algoperf.data.shards import resume_parts
from algoperf.data.store import (
    Store,
    StoreError,
    check_replaceable,
    is_complete,
    record_settings,
)
from algoperf.dataset_overview import definitions_by_names, listing
from algoperf.dataset_source import DatasetSource
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.preparation_times import record_time
from algoperf.prepared_data import (
    OtherSettingsError,
    check_settings,
    has_settings,
    is_intact,
    is_readable,
    verify_dataset,
)
from algoperf.raw_data import is_begun, raw_data, require_disk_space, require_licenses, url_flags
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

    Of a mini every checksum is compared, of a full dataset the sizes of files (`verify_dataset` compares the rest). A
    store that was prepared with other settings counts as none for a mini, which is generated anew.

    Raises:
      MissingDatasetError: a full dataset is not there.
      StoreError: a full dataset is damaged, of another format version, or prepared with other settings.
      PreparationError, DiskSpaceError, ForeignFilesError: as `prepare_dataset`.
    """
    path = store_dir(definition, data_dir)
    if is_complete(path):
        try:
            if definition.tier is Tier.MINI:
                verify_dataset(definition, data_dir)
            else:
                Store(path)
            check_settings(definition, path)
            return
        except StoreError as error:
            if definition.tier is not Tier.MINI:
                raise
            why = "made with other settings" if isinstance(error, OtherSettingsError) else "damaged"
            report(f"{definition.dataset}: {why}, so generating it again ({error})")
    if definition.tier is Tier.MINI:
        prepare_dataset(definition, data_dir, report=report, registry=registry, is_usable=is_intact)
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
    links: Mapping[str, str] | None = None,
) -> Path:
    """Prepares one dataset unless it is complete, and returns its store. One process at a time per dataset.

    An interrupted preparation resumes; what it has written counts towards the disk space that is needed.

    Args:
      source_dir: where the raw dataset is; without one, what was downloaded before is taken.
      is_usable: whether the store at a path can stay as it is; by default, whether it can be opened.
      links: given, what `source_dir` lacks is downloaded first, from the declared addresses and from these, by
        `url_flag` of a `RemoteFile`. A dataset that declares no addresses is prepared without.

    Raises:
      DownloadError: a file cannot be downloaded, or is not the published one.
      DiskSpaceError: too little disk space for what is missing.
      ForeignFilesError: where the store goes there are files that this program did not write; all are left alone.
      PreparationError: a failure of the disk, no permission, or the store is not complete afterwards.
    """
    is_usable = is_usable or is_readable
    with _only_one_process(new_store_dir(definition, data_dir), definition.dataset, report):
        store = store_dir(definition, data_dir)
        if is_usable(store) and has_settings(definition, store):
            report(f"{definition.dataset}: already prepared at {store}")
            return store
        store = new_store_dir(definition, data_dir)
        module, source = registry.module(definition.name, "prepare"), registry.dataset_source(definition.name)
        num_workers = num_workers or _default_workers()
        started = time.monotonic()
        try:
            is_resumed = is_begun(definition, data_dir)
            check_replaceable(store)
            resume_parts(store)
            require_disk_space([definition], data_dir, downloads=links is not None, registry=registry)
            source_dir = raw_data(definition, data_dir, source, source_dir, links, report, registry)
            report(f"{definition.dataset}: preparing at {store}")
            started = time.monotonic()
            module.prepare(definition, data_dir, source_dir=source_dir, num_workers=num_workers, report=report)
            if is_complete(store):
                record_settings(store, definition.store_digest())
        except OSError as error:
            raise PreparationError(f"preparing {definition.name} at {store} failed: {error}") from error
        store = store_dir(definition, data_dir)
        if not is_complete(store):
            raise PreparationError(f"preparing {definition.name} ended without a complete store at {store}")
        seconds = time.monotonic() - started
        _describe(definition, source, store, None if is_resumed else seconds, num_workers)
        report(f"{definition.dataset}: prepared in {seconds:.1f} s")
    return store


def _describe(
    definition: WorkloadDefinition, source: DatasetSource | None, store: Path, seconds: float | None, num_workers: int
) -> None:
    """Writes what other programs and the list of datasets say about a store; a full disk does not undo the store."""
    with contextlib.suppress(OSError):
        write_metadata(definition, source, store, __version__)
        if seconds is not None:
            record_time(store, seconds, num_workers)


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


def _default_workers() -> int:
    return min(_MAX_DEFAULT_WORKERS, len(usable_cores()))


def parser(registry: Registry = REGISTRY) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf prepare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="workloads, datasets or suites, or `all`; none: list all datasets"
    )
    parser.add_argument("--data_dir", type=Path, default=Path("~/data"), help="where prepared datasets live")
    parser.add_argument("--source_dir", type=Path, default=None, help="where the raw dataset lies")
    parser.add_argument("--num_workers", type=int, default=None, help="worker processes (default: one per core)")
    parser.add_argument("--verify", action="store_true", help="compare checksums of prepared datasets, prepare nothing")
    parser.add_argument("--how_to_get", action="store_true", help="say where the raw dataset comes from, and stop")
    parser.add_argument("--download", action="store_true", help="download what --source_dir lacks; resumes")
    parser.add_argument(
        "--accept_licenses", action="store_true", help="accept the licenses of what is downloaded (without: names them)"
    )
    for flag, (dataset, name) in url_flags(registry).items():
        parser.add_argument(f"--{flag}", metavar="URL", help=f"your own link to {name} of {dataset}")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None, *, registry: Registry = REGISTRY) -> int:
    """Runs the command; returns the exit status. With several names, one that fails does not stop the others."""
    return answer_command("prepare", parser(registry), arguments, functools.partial(_run, registry))


def _run(registry: Registry, options: argparse.Namespace, answer: Answer) -> int:
    options.data_dir = options.data_dir.expanduser()
    options.source_dir = options.source_dir and options.source_dir.expanduser()
    options.links = {flag: url for flag in url_flags(registry) if (url := getattr(options, flag))}
    options.download = options.download or bool(options.links)
    answer.result = {"data_dir": str(options.data_dir), "datasets": []}
    started = time.monotonic()

    def report(message: str) -> None:
        print(f"[{time.monotonic() - started:7.1f} s] {message}", flush=True)

    if not options.names:
        print("\n".join(listing(options.data_dir, options.source_dir, registry)))
        print(f"\nunder {options.data_dir}; prepare one with: python -m algoperf.prepare NAME --data_dir=...")
        answer.result["datasets"] = [_dataset(name, options, registry) for name in registry.names()]
    status = 0
    try:
        definitions = definitions_by_names(options.names, registry)
        if options.download:
            if not options.accept_licenses:
                require_licenses(definitions, options.data_dir, registry)
            require_disk_space(definitions, options.data_dir, downloads=True, registry=registry)
    except UserError as error:
        return answer.fail(str(error), status=1)
    for definition in definitions:
        try:
            _handle(definition, options, registry, report)
        except UserError as error:
            status = answer.fail(str(error), status=1)
        answer.result["datasets"].append(_dataset(definition.name, options, registry))
    return status


def _handle(definition: WorkloadDefinition, options: argparse.Namespace, registry: Registry, report: Report) -> None:
    """Does with one dataset what the command asks for."""
    if options.how_to_get:
        print(registry.module(definition.name, "prepare").how_to_get(definition))
    elif options.verify:
        count = verify_dataset(definition, options.data_dir)
        report(f"{definition.dataset}: intact ({count} store{'s' if count > 1 else ''})")
    else:
        prepare_dataset(
            definition,
            options.data_dir,
            report=report,
            source_dir=options.source_dir,
            num_workers=options.num_workers,
            registry=registry,
            links=options.links if options.download else None,
        )


def _dataset(name: str, options: argparse.Namespace, registry: Registry) -> dict[str, Any]:
    """The state of a dataset after the command, in types of JSON."""
    definition = registry.get(name)
    store = store_dir(definition, options.data_dir)
    text = registry.module(name, "prepare").how_to_get(definition) if options.how_to_get else None
    return {
        "workload": name,
        "dataset": definition.dataset,
        "is_prepared": is_complete(store),
        "store": str(store),
        "how_to_get": text,
    }


if __name__ == "__main__":
    sys.exit(main())
