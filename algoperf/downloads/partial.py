"""The file that a download writes: its bytes so far, their checksum, and what they are the beginning of."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from algoperf.errors import UserError

DEFAULT_ALGORITHM = "sha256"
_READ_BYTES = 1 << 22


class PartialFileError(UserError):
    """There is a file in the way that no download wrote."""


class PartialFile:
    """`NAME.part` next to where the file will be. Its bytes are hashed as they come, those of earlier runs on entry.

    Raises (on entry):
      PartialFileError: `NAME.part` or the file itself is there, and was not written by a download.
    """

    def __init__(self, destination: Path, checksum: str) -> None:
        self._destination = destination
        self._path, self._origin_path = (
            destination.with_name(destination.name + suffix) for suffix in (".part", ".part.json")
        )
        self._algorithm = checksum.partition(":")[0] or DEFAULT_ALGORITHM
        self._expected = checksum
        self._origin: dict[str, Any] = {}
        self.num_bytes = 0

    @property
    def name(self) -> str:
        return self._destination.name

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(self._destination):
            raise PartialFileError(f"{self._destination} is there already; it was not replaced")
        self._origin = read_json(self._origin_path)
        if self._path.exists() and not self._origin:
            raise PartialFileError(
                f"{self._path} is in the way and was not written by a download of this program; move it elsewhere"
            )
        self._file = self._path.open("ab+") if self._origin else None
        self._digest = hashlib.new(self._algorithm)
        if self._file is not None:
            self._file.seek(0)
            while block := self._file.read(_READ_BYTES):
                self._digest.update(block)
                self.num_bytes += len(block)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def resume_headers(self, url: str) -> dict[str, str]:
        """Headers of a request for the rest of the file; none where the bytes so far cannot be relied on.

        They can if the whole will be compared with a checksum, or if the server says whether it is still the same file.
        """
        if not self.num_bytes:
            return {}
        from_here = {"Range": f"bytes={self.num_bytes}-"}
        if self._expected:
            return from_here
        validator = self._origin.get("validator") if self._origin.get("address") == _address(url) else None
        return from_here | {"If-Range": validator} if validator else {}

    def is_of_another(self, headers: Mapping[str, str]) -> bool:
        """Whether a server that ignores If-Range continues a file that has changed."""
        etag, before = headers.get("ETag"), self._origin.get("etag")
        return not self._expected and None not in (etag, before) and etag != before

    def record_origin(self, url: str, headers: Mapping[str, str], total: int | None) -> None:
        """Notes what the bytes belong to. Before the first byte, so that a file without such a note is not ours."""
        etag = headers.get("ETag")
        is_strong = etag is not None and not etag.startswith("W/")
        origin = {
            "address": _address(url),
            "etag": etag,
            "validator": etag if is_strong else headers.get("Last-Modified"),
            "num_bytes": total,
        }
        if origin != self._origin:
            self._origin = origin
            write_json(self._origin_path, origin)
        if self._file is None:
            self._file = self._path.open("ab+")

    def write(self, chunk: bytes) -> None:
        assert self._file is not None
        self._file.write(chunk)
        self._digest.update(chunk)
        self.num_bytes += len(chunk)

    def restart(self) -> None:
        """Drops all bytes."""
        if self._file is not None:
            self._file.truncate(0)
        self.num_bytes, self._digest = 0, hashlib.new(self._algorithm)

    def has_expected_checksum(self) -> bool:
        """True also where no checksum is expected."""
        return self._expected in ("", self.checksum())

    def checksum(self) -> str:
        return f"{self._algorithm}:{self._digest.hexdigest()}"

    def finish(self) -> str:
        """Puts the file in its place, once it is on the disk, and returns its checksum.

        Raises:
          PartialFileError: somebody has put a file there in the meantime.
        """
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        if os.path.lexists(self._destination):
            raise PartialFileError(f"{self._destination} has appeared meanwhile; it was not replaced")
        self._path.rename(self._destination)
        self._origin_path.unlink(missing_ok=True)
        return self.checksum()


def partial_bytes(destination: Path) -> int:
    """How much of an unfinished download is there."""
    path = destination.with_name(destination.name + ".part")
    return path.stat().st_size if path.is_file() else 0


def file_checksum(path: Path, algorithm: str = DEFAULT_ALGORITHM) -> str:
    """`<algorithm>:<digest>` of a file."""
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def _address(url: str) -> str:
    """What stays the same of a link that is handed out anew with another key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is none."""
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
    return {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a file in one go: a reader finds the old one or the new one."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(json.dumps(content, indent=1) + "\n")
    temporary.replace(path)
