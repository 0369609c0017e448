"""All files of a raw dataset into one folder, with a record of what was downloaded from where.

The record, `downloads.json`, keeps the checksum of each file: a file that is fetched again has to be the same.
"""

import datetime
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf.dataset_source import DatasetSource, RemoteFile
from algoperf.downloads.fetch import DownloadError, Expected, FetchPolicy, fetch, without_query
from algoperf.downloads.partial import DEFAULT_ALGORITHM, file_checksum, partial_bytes, read_json, write_json
from algoperf.reporting import Report

RECORD = "downloads.json"


class MissingLinkError(DownloadError):
    """Files whose links the license hands to each user were asked for without a link."""


def missing_files(source: DatasetSource, folder: Path) -> list[RemoteFile]:
    """The files of a dataset that `folder` does not have yet."""
    return [file for file in source.files if not (folder / file.name).is_file()]


def missing_bytes(source: DatasetSource, folder: Path) -> int:
    """How much is still to be downloaded."""
    return sum(max(0, file.num_bytes - partial_bytes(folder / file.name)) for file in missing_files(source, folder))


def require_links(source: DatasetSource, folder: Path, links: Mapping[str, str]) -> None:
    """Raises MissingLinkError unless each missing file has an address, its own or one in `links` (by `url_flag`)."""
    lacking = [file for file in missing_files(source, folder) if file.url_flag and not links.get(file.url_flag)]
    if lacking:
        flags = " ".join(f"--{file.url_flag}=URL" for file in lacking)
        raise MissingLinkError(
            f"{source.dataset}: expected {flags}, got none: its license hands links to each user ({source.access}); "
            f"or put {', '.join(file.name for file in lacking)} into a folder and add --source_dir=FOLDER"
        )


def link_existing(source: DatasetSource, given: Path, folder: Path) -> None:
    """Makes links in `folder` to files of the dataset that a user has in `given`, which stays as it is."""
    for file in missing_files(source, folder):
        if (given / file.name).is_file():
            (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.name).symlink_to((given / file.name).absolute())


def download_dataset(
    source: DatasetSource,
    folder: Path,
    *,
    report: Report,
    links: Mapping[str, str] | None = None,
    policy: FetchPolicy | None = None,
) -> None:
    """Fetches what is missing of a dataset, and compares what is there with its sizes and checksums.

    Args:
      folder: where files go, under their names.
      links: addresses that a user was given, by `url_flag`.

    Raises:
      MissingLinkError: a file is missing whose link the license hands to each user.
      DownloadError: a file cannot be fetched, or one that is there is not the published one; none is removed.
    """
    links = links or {}
    require_links(source, folder, links)
    folder.mkdir(parents=True, exist_ok=True)
    record = _Record(folder)
    for file in source.files:
        path = folder / file.name
        if path.is_file():
            record.check(file, path, report)
            continue
        urls = file.urls or (links[file.url_flag],)
        report(f"{file.name}: downloading from {without_query(urls[0])}")
        size = file.num_bytes if file.size_is_exact else None
        expected = Expected(num_bytes=size, checksum=file.checksum or record.checksum(file.name))
        record.add(file.name, path, fetch(urls, path, expected, report=report, policy=policy), without_query(urls[0]))


class _Record:
    """`downloads.json`: for each file its address, size, checksum, and time of download."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECORD
        self._files: dict[str, dict[str, Any]] = read_json(self._path).get("files", {})

    def checksum(self, name: str) -> str:
        """The checksum at first sight; empty before."""
        checksum: str = self._files.get(name, {}).get("checksum", "")
        return checksum

    def add(self, name: str, path: Path, checksum: str, address: str) -> None:
        status = path.stat()
        self._files[name] = {
            "address": address,
            "num_bytes": status.st_size,
            "modified_ns": status.st_mtime_ns,
            "checksum": checksum,
            "recorded": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(self._path, {"files": self._files})

    def check(self, file: RemoteFile, path: Path, report: Report) -> None:
        """Compares a file that is there; one that has not changed since it was last compared is not read again."""
        known, status = self._files.get(file.name, {}), path.stat()
        if [known.get("num_bytes"), known.get("modified_ns")] == [status.st_size, status.st_mtime_ns]:
            return
        expected = file.checksum or self.checksum(file.name)
        if file.size_is_exact and status.st_size != file.num_bytes:
            raise self._not_the_file(path, f"{status.st_size:,} bytes", f"{file.num_bytes:,}")
        report(f"{file.name}: is there; reading it to compare its checksum")
        actual = file_checksum(path, expected.partition(":")[0] or DEFAULT_ALGORITHM)
        if expected not in ("", actual):
            raise self._not_the_file(path, actual, expected)
        self.add(file.name, path, actual, known.get("address", os.fspath(path.resolve())))

    def _not_the_file(self, path: Path, actual: str, expected: str) -> DownloadError:
        return DownloadError(
            f"{path} has {actual}, expected {expected}: it is damaged or another file; move it elsewhere and try again"
        )
