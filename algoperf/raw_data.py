"""Raw datasets before their preparation: licenses, disk space, downloads, and which folder to read."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from algoperf.data.disk_space import require_free_bytes, written_bytes
from algoperf.data.places import new_store_dir, raw_dir, store_dir, work_dir
from algoperf.data.shards import staging_dir
from algoperf.data.store import is_complete
from algoperf.dataset_source import DatasetSource
from algoperf.definition import WorkloadDefinition
from algoperf.errors import UserError
from algoperf.registry import Registry
from algoperf.reporting import Report


class LicenseError(UserError):
    """A download was asked for without accepting its license; the message names it."""


def url_flags(registry: Registry) -> dict[str, tuple[str, str]]:
    """Flags that take links which a license hands to each user: the dataset and the file of each."""
    sources = filter(None, map(registry.dataset_source, registry.names()))
    return {file.url_flag: (source.dataset, file.name) for source in sources for file in source.files if file.url_flag}


def require_licenses(definitions: Iterable[WorkloadDefinition], data_dir: Path, registry: Registry) -> None:
    """Raises LicenseError that names the licenses of those datasets that are not prepared."""
    sources = [
        registry.dataset_source(definition.name)
        for definition in definitions
        if not is_complete(store_dir(definition, data_dir))
    ]
    terms = [f"{source.dataset}: {source.license}" for source in sources if source]
    if terms:
        raise LicenseError(
            f"expected --accept_licenses, which accepts the terms of {'; '.join(terms)}; read them first"
        )


def required_bytes(definition: WorkloadDefinition, registry: Registry) -> int | None:
    """Disk space that preparation takes beside the raw data; None where the workload does not say."""
    module = registry.module(definition.name, "prepare")
    if hasattr(module, "required_bytes"):
        stated: int = module.required_bytes(definition)
        return stated
    source = registry.dataset_source(definition.name)
    return source.store_bytes if source else None


def require_disk_space(
    definitions: Iterable[WorkloadDefinition], data_dir: Path, *, downloads: bool, registry: Registry
) -> None:
    """Compares the free space with what is missing of all of these datasets, downloads included where asked for.

    Raises:
      DiskSpaceError: there is less.
    """
    missing = [definition for definition in definitions if not is_complete(store_dir(definition, data_dir))]
    needed = sum(_missing_bytes(definition, data_dir, downloads, registry) for definition in missing)
    require_free_bytes(
        data_dir,
        needed,
        task=f"preparing {', '.join(definition.dataset for definition in missing)}",
        remedy="free some, or choose another --data_dir",
    )


def _missing_bytes(definition: WorkloadDefinition, data_dir: Path, downloads: bool, registry: Registry) -> int:
    source, store = registry.dataset_source(definition.name), new_store_dir(definition, data_dir)
    partial = store.with_name(store.name + ".partial")
    generated = [] if source else [raw_dir(definition, data_dir)]  # counts as written where preparation writes it
    written = written_bytes([store, partial, staging_dir(store), work_dir(definition, data_dir), *generated])
    missing = max(0, (required_bytes(definition, registry) or 0) - written)
    if source and downloads:
        from algoperf.downloads.dataset import missing_bytes

        missing += missing_bytes(source, raw_dir(definition, data_dir)) + source.unpacked_bytes
    return missing


def is_begun(definition: WorkloadDefinition, data_dir: Path) -> bool:
    """Whether an interrupted preparation has left something."""
    store = new_store_dir(definition, data_dir)
    left = (staging_dir(store), store.with_name(store.name + ".partial"), work_dir(definition, data_dir))
    return any(path.exists() for path in left)


def raw_data(
    definition: WorkloadDefinition,
    data_dir: Path,
    source: DatasetSource | None,
    source_dir: Path | None,
    links: Mapping[str, str] | None,
    report: Report,
    registry: Registry,
) -> Path | None:
    """The folder that preparation reads: `source_dir`, or that of downloads, after what was asked for is there.

    Args:
      links: given, what is missing is downloaded (see `prepare_dataset`).

    Raises:
      DownloadError: a file cannot be downloaded, or is not the published one.
    """
    if source is None:
        return source_dir
    from algoperf.downloads.dataset import download_dataset, link_existing, missing_files

    downloads = raw_dir(definition, data_dir)
    if links is None:
        return source_dir or (None if missing_files(source, downloads) else downloads)
    if _is_there_in_another_form(definition, source, source_dir or data_dir, downloads, registry):
        report(f"{definition.dataset}: the raw data are there, so nothing is downloaded")
        return source_dir
    if source_dir is not None:
        link_existing(source, source_dir, downloads)
    download_dataset(source, downloads, links=links, report=report)
    return downloads


def _is_there_in_another_form(
    definition: WorkloadDefinition, source: DatasetSource, folder: Path, downloads: Path, registry: Registry
) -> bool:
    """Whether `folder` holds the raw dataset, but not as the files that are downloaded."""
    find_raw = getattr(registry.module(definition.name, "prepare"), "find_raw", None)
    root = find_raw(definition, folder) if find_raw and folder.is_dir() else None
    return root not in (None, downloads) and not any((root / file.name).exists() for file in source.files)
