"""Where a raw dataset comes from, declared as data: `SOURCES` in the `sources.py` of a workload's package.

`python -m algoperf.prepare NAME --download` fetches what is declared here; this module uses the standard library only.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

_CHECKSUM = re.compile(r"(?P<algorithm>md5|sha1|sha256|sha512):(?P<digest>[0-9a-f]+)")


@dataclass(frozen=True, kw_only=True)
class License:
    """Terms under which a publisher gives a dataset away.

    Attributes:
      name: as its publisher or SPDX calls it.
      url: where the terms are.
      note: a restriction that a user should know, such as "research only".
    """

    name: str
    url: str
    note: str = ""

    def __str__(self) -> str:
        return f"{self.name}, {self.url}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One file of a raw dataset.

    Attributes:
      name: path below the folder of downloads, with `/`; what the workload's `prepare.py` reads. Archives stay packed.
      urls: addresses of the same bytes, tried in order; empty where the licence hands a link to each user.
      url_flag: name of the flag that takes the user's own link, without dashes.
      num_bytes: size. An estimate (`size_is_exact` False) serves the disk check and the progress only.
      checksum: `<algorithm>:<hexadecimal digest>` as the publisher gives it; empty means that the SHA-256 is recorded
        with the first download and compared from then on.
    """

    name: str
    urls: tuple[str, ...] = ()
    url_flag: str = ""
    num_bytes: int
    size_is_exact: bool = True
    checksum: str = ""

    def __post_init__(self) -> None:
        path = PurePosixPath(self.name)
        if path.is_absolute() or ".." in path.parts or not path.name:
            raise ValueError(f"expected a path below the folder of downloads, got {self.name!r}")
        if bool(self.urls) == bool(self.url_flag):
            raise ValueError(f"{self.name}: expected either urls or url_flag, got {self.urls} and {self.url_flag!r}")
        if self.num_bytes < 1:
            raise ValueError(f"{self.name}: expected a positive num_bytes, got {self.num_bytes}")
        if self.checksum and not _is_checksum(self.checksum):
            raise ValueError(f"{self.name}: expected <algorithm>:<hexadecimal digest>, got {self.checksum!r}")


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """A raw dataset, and what its preparation costs.

    Attributes:
      dataset: `WorkloadDefinition.dataset` of the workloads that use it.
      title: name of the dataset, for tables.
      creators: who made it.
      homepage: page of its publisher.
      license: what a user accepts with `--accept_licenses`.
      files: everything that preparation reads.
      access: what a user does to get the links of files with a `url_flag`.
      store_bytes: size of the prepared store.
      unpacked_bytes: what preparation unpacks from archives next to them.
      core_hours: hours of preparation on one core, the download left out.
      core_hours_basis: how they are known: `estimated`, or what was measured where.
    """

    dataset: str
    title: str
    creators: str
    homepage: str
    license: License
    files: tuple[RemoteFile, ...]
    access: str = ""
    store_bytes: int
    unpacked_bytes: int = 0
    core_hours: float
    core_hours_basis: str

    def __post_init__(self) -> None:
        names = [file.name for file in self.files]
        if not names or len({*names}) < len(names):
            raise ValueError(f"{self.dataset}: expected files with different names, got {names}")
        if not (self.store_bytes > 0 and self.core_hours > 0):
            raise ValueError(f"{self.dataset}: store_bytes and core_hours are positive")
        if any(file.url_flag for file in self.files) and not self.access:
            raise ValueError(f"{self.dataset}: files with a url_flag need `access`, which says where links come from")

    @property
    def download_bytes(self) -> int:
        """Size of all files."""
        return sum(file.num_bytes for file in self.files)

    def url_flags(self) -> Iterator[str]:
        return (file.url_flag for file in self.files if file.url_flag)


def _is_checksum(text: str) -> bool:
    match = _CHECKSUM.fullmatch(text)
    return match is not None and len(match["digest"]) == 2 * hashlib.new(match["algorithm"]).digest_size
