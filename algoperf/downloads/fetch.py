"""One file over HTTP: resumed after cuts, whole and checked under its name, partial under another.

The bytes of an unfinished file are in `NAME.part`; `NAME.part.json` says what they are the beginning of.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from urllib3.util import Retry

import algoperf
from algoperf.data.disk_space import format_bytes
from algoperf.downloads.partial import PartialFile
from algoperf.downloads.progress import Progress, RateWatch
from algoperf.downloads.reasons import is_untrusted, short_reason
from algoperf.errors import UserError
from algoperf.reporting import Report

_CHUNK_BYTES = 1 << 20
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+|\*)")


class DownloadError(UserError):
    """A file could not be fetched; the message says from where, why, and what to do."""


class _RefusedError(Exception):
    """This address does not give the file; another one may."""


class _InterruptedError(Exception):
    """The transfer failed in a way that another attempt may not.

    Attributes:
      response: what the server answered, where it did.
    """

    def __init__(self, message: str, response: urllib3.BaseHTTPResponse | None = None) -> None:
        super().__init__(message)
        self.response = response


@dataclass(frozen=True, kw_only=True)
class FetchPolicy:
    """How patient a download is.

    Attributes:
      attempts: failures in a row, none of which came further than before, after which an address is given up.
      backoff_s, max_backoff_s: wait after the second failure in a row, doubled with each further one, and its limit. A
        server's Retry-After is followed, up to `max_retry_after_s`.
      connect_timeout_s: longest wait for a connection.
      stall_s: longest wait for the next bytes; and if over such a time fewer than `min_bytes_per_s` arrive, the
        connection is made anew.
    """

    attempts: int = 8
    backoff_s: float = 1.0
    max_backoff_s: float = 120.0
    max_retry_after_s: int = 600
    connect_timeout_s: float = 20.0
    stall_s: float = 60.0
    min_bytes_per_s: float = 100.0

    def retries(self) -> Retry:
        return Retry(
            total=self.attempts - 1,
            backoff_factor=self.backoff_s,
            backoff_max=self.max_backoff_s,
            backoff_jitter=self.backoff_s / 2,
            retry_after_max=self.max_retry_after_s,
        )


DEFAULT_POLICY = FetchPolicy()


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What is known of a file before it is fetched: its exact size, if any, and the checksum, if any."""

    num_bytes: int | None
    checksum: str


def fetch(
    urls: Sequence[str], destination: Path, expected: Expected, *, report: Report, policy: FetchPolicy | None = None
) -> str:
    """Fetches one file and returns its checksum, `<algorithm>:<digest>` (SHA-256 unless another is expected).

    The first of `urls` that gives the file serves; they are addresses of the same bytes. What an earlier, interrupted
    call has fetched is not fetched again, unless the server does not support it or the file has changed.

    Raises:
      DownloadError: no address gives the file, or its size or checksum is wrong. Nothing is at `destination` then.
      OSError: the disk is full or cannot be written; what was fetched stays for the next call.
    """
    policy = policy or DEFAULT_POLICY
    refusals = []
    with requests.Session() as session, PartialFile(destination, expected.checksum) as partial:
        session.headers.update({"User-Agent": f"algoperf/{algoperf.__version__}", "Accept-Encoding": "identity"})
        for url in urls:
            transfer = _Transfer(session, url, partial, expected, policy, report)
            try:
                return transfer.run()
            except _RefusedError as error:
                refusals.append(f"{without_query(url)}: {error}")
        so_far = f" ({format_bytes(partial.num_bytes)} are kept)" if partial.num_bytes else ""
    raise DownloadError(
        f"cannot download {destination.name}: {'; '.join(refusals)}; try again later, which resumes{so_far}, or fetch "
        "it yourself and give its folder as --source_dir"
    )


def without_query(url: str) -> str:
    """The address for messages: what follows `?` may be a personal key."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


class _Transfer:
    """One file from one address, in as many attempts as it takes."""

    def __init__(
        self,
        session: requests.Session,
        url: str,
        partial: PartialFile,
        expected: Expected,
        policy: FetchPolicy,
        report: Report,
    ) -> None:
        self._session, self._url, self._partial = session, url, partial
        self._expected, self._policy, self._report = expected, policy, report

    def run(self) -> str:
        """Returns the checksum of the file, which is in place. Raises _RefusedError when the address is given up."""
        for is_last_copy in (False, True):
            self._fetch_whole()
            if self._partial.has_expected_checksum():
                return self._partial.finish()
            actual = self._partial.checksum()
            self._partial.restart()
            if not is_last_copy:
                self._report(f"{self._partial.name}: its checksum is wrong; downloading it once more")
        raise _RefusedError(f"the file has {actual}, expected {self._expected.checksum}")

    def _fetch_whole(self) -> None:
        """Attempts until the file is whole; gives up after some in a row that came no further than one before."""
        retries, furthest = self._policy.retries(), self._partial.num_bytes
        while True:
            try:
                self._attempt()
                return
            except _InterruptedError as error:
                if self._partial.num_bytes > furthest:
                    retries, furthest = self._policy.retries(), self._partial.num_bytes
                self._report(f"{self._partial.name}: {error}, at {format_bytes(self._partial.num_bytes)}; trying again")
                retries = self._wait(retries, error)

    def _wait(self, retries: Retry, error: _InterruptedError) -> Retry:
        try:
            retries = retries.increment("GET", self._url, error=error)
        except urllib3.exceptions.MaxRetryError:
            raise _RefusedError(f"{error} ({self._policy.attempts} times in a row)") from error
        retries.sleep(error.response)
        return retries

    def _attempt(self) -> None:
        """One request, from where the partial file ends. Returns when the file is whole."""
        if self._expected.checksum and self._partial.num_bytes == self._expected.num_bytes:
            return
        headers = self._partial.resume_headers(self._url)
        with self._request(headers) as response:
            total = self._accept(response, resumes="Range" in headers)
            if response.status_code != 416:
                self._receive(response.raw, total)
        if total is not None and self._partial.num_bytes != total:
            raise _InterruptedError("the connection was cut")

    def _request(self, headers: Mapping[str, str]) -> requests.Response:
        timeout = (self._policy.connect_timeout_s, self._policy.stall_s)
        try:
            return self._session.get(self._url, headers=headers, stream=True, timeout=timeout)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if is_untrusted(error):
                raise _RefusedError(short_reason(error)) from error
            raise _InterruptedError(short_reason(error)) from error
        except requests.RequestException as error:
            raise _RefusedError(short_reason(error)) from error

    def _accept(self, response: requests.Response, *, resumes: bool) -> int | None:
        """Looks at status and headers, and returns the size of the file; None where the server does not say."""
        if response.status_code in _TRANSIENT:
            raise _InterruptedError(f"the server answers {response.status_code} {response.reason}", response.raw)
        if response.status_code == 416 and resumes:
            return self._all_there_was(response)
        if response.status_code not in (200, 206):
            hint = "; has the link expired?" if response.status_code in (401, 403) and "?" in self._url else ""
            raise _RefusedError(f"the server answers {response.status_code} {response.reason}{hint}")
        total = self._continued(response) if response.status_code == 206 else self._from_the_start(response)
        self._check_offer(response, total)
        total = self._expected.num_bytes if total is None else total
        self._partial.record_origin(self._url, response.headers, total)
        return total

    def _all_there_was(self, response: requests.Response) -> int:
        """There is nothing after the bytes so far: they are the whole file, or more than it has now."""
        if response.headers.get("Content-Range", "") != f"bytes */{self._partial.num_bytes}":
            self._partial.restart()
            raise _InterruptedError("the server has less than was fetched before, so it starts again")
        return self._partial.num_bytes

    def _continued(self, response: requests.Response) -> int | None:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not match or int(match["start"]) != self._partial.num_bytes or self._partial.is_of_another(response.headers):
            self._partial.restart()
            raise _InterruptedError("the server continued elsewhere than asked, so it starts again")
        return None if match["total"] == "*" else int(match["total"])

    def _from_the_start(self, response: requests.Response) -> int | None:
        if self._partial.num_bytes:
            self._report(f"{self._partial.name}: the server does not resume this file, so it starts again")
        self._partial.restart()
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None

    def _check_offer(self, response: requests.Response, total: int | None) -> None:
        expected = self._expected.num_bytes
        if total is not None and expected is not None and total != expected:
            raise _RefusedError(f"it has {total:,} bytes, expected {expected:,}")
        if response.headers.get("Content-Type", "").startswith("text/html") and not self._expected.checksum:
            raise _RefusedError("it is a web page, not the file")
        is_chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
        if total is None and expected is None and not self._expected.checksum and not is_chunked:
            raise _InterruptedError("the server does not say how long the file is, so that a cut could not be noticed")

    def _receive(self, raw: urllib3.BaseHTTPResponse, total: int | None) -> None:
        watch = RateWatch(self._policy.stall_s, self._policy.min_bytes_per_s)
        with Progress(self._partial.name, self._partial.num_bytes, total, self._report) as progress:
            try:
                while chunk := raw.read1(_CHUNK_BYTES, decode_content=False):
                    if total is not None and self._partial.num_bytes + len(chunk) > total:
                        self._partial.restart()
                        raise _InterruptedError("the server sent more than it said, so it starts again")
                    self._partial.write(chunk)
                    progress.add(len(chunk))
                    if watch.is_too_slow(len(chunk)):
                        raise _InterruptedError("the server hardly sends anything")
            except urllib3.exceptions.HTTPError as error:
                raise _InterruptedError(short_reason(error)) from error
