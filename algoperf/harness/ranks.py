"""Notices ranks that are gone or hang, and gives their trial a typed end, while the main thread may wait for them.

A thread of every process counts up a number in a store that all ranks share, once a second, and reads the numbers of
the others. It takes no part in the steps.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from algoperf.backends.base import Backend
from algoperf.background import THREAD_PREFIX
from algoperf.harness.signals import StopSignals
from algoperf.node import node_name
from algoperf.reporting import Report

_PERIOD_S = 1.0
_SILENT_S = 4.0  # a rank that misses so many seconds is not merely late
_AGREEMENT_S = 6.0  # ranks that fail together do so within this time
_FIRST_REPORT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class BrokenRanks:
    """Why the ranks cannot go on together.

    Attributes:
      reason: names the ranks.
      errors: what other ranks raised, by rank.
      is_writer: whether this rank writes the record; the first that is left does.
    """

    reason: str
    errors: dict[int, str]
    is_writer: bool

    def explain(self, error: str | None) -> str:
        """`error` of this rank with what is known of the others; what another rank raised comes last, as the cause."""
        parts = [self.reason, error or "", *(f"On rank {rank}:\n{text}" for rank, text in self.errors.items())]
        return "\n".join(part for part in parts if part)


class RankWatch:
    """Watches the other ranks of this run; with one process it does nothing.

    Args:
      timeout_s: seconds without a sign of life after which a rank counts as lost.
      report: told that a rank is waited for.
      stop: whose signals cannot be handled while the main thread waits for a rank that is gone.

    Attributes:
      on_lost: called from the watching thread with what is broken; the process ends afterwards with exit status 1.
      is_broken: whether ranks are out of step, so that no collective operation may follow.
    """

    def __init__(self, backend: Backend, *, timeout_s: float, report: Report, stop: StopSignals) -> None:
        self.on_lost: Callable[[BrokenRanks], None] = lambda broken: report(f"error: {broken.reason}")
        self.is_broken = False
        self._rank = backend.rank
        self._store = backend.rank_store()
        self._peers = [rank for rank in range(backend.world_size) if rank != backend.rank]
        self._timeout_s = timeout_s
        self._report_s = min(_FIRST_REPORT_S, timeout_s / 5)
        self._report = report
        self._stop = stop
        self._silent_s = dict.fromkeys(self._peers, 0.0)
        self._counts: dict[int, str | None] = dict.fromkeys(self._peers)
        self._nodes: dict[int, str] = {backend.rank: node_name()}
        self._num_reports = 0
        self._count = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name=f"{THREAD_PREFIX}rank-watch")

    def start(self) -> None:
        if self._store is not None:
            self._set("node", self._nodes[self._rank])
            self._thread.start()

    def close(self) -> None:
        """Says that this rank has ended as it should, or that it leaves the others, and watches no more."""
        if self._store is not None and self._thread.is_alive():
            self._set("left" if self.is_broken else "done", "1")
            self._closed.set()
            self._thread.join(timeout=2 * _PERIOD_S)

    def end_of_trial(self, trial: str, error: str) -> BrokenRanks | None:
        """To be called by a rank whose trial failed: None where it failed on all ranks, so that they stay in step.

        Takes at most six seconds.
        """
        if self._store is None:
            return None
        self._set(f"error/{trial}", error)
        deadline_s = time.monotonic() + _AGREEMENT_S
        missing = self._peers
        while time.monotonic() < deadline_s:
            missing = [rank for rank in self._peers if self._get(rank, f"error/{trial}") is None]
            if not missing or all(self._silent_s[rank] >= _SILENT_S for rank in missing):
                break
            time.sleep(_PERIOD_S / 10)
        left = [rank for rank in self._peers if self._get(rank, "left") is not None]
        if not missing and not left:
            return None
        self.is_broken = True
        reason = (
            f"{self._names(left)} left first" if left else f"{self._names(missing)} did not end this trial or was lost"
        )
        return self._broken(reason, trial)

    def _broken(self, reason: str, trial: str | None = None) -> BrokenRanks:
        errors = {rank: text for rank in self._peers if trial and (text := self._get(rank, f"error/{trial}"))}
        gone = {rank for rank in self._peers if self._silent_s[rank] >= _SILENT_S}
        first_left = min(rank for rank in (self._rank, *self._peers) if rank not in gone)
        return BrokenRanks(reason=reason, errors=errors, is_writer=self._rank == first_left)

    def _watch(self) -> None:
        before_s, stopped_s = time.monotonic(), 0.0
        while not self._closed.wait(_PERIOD_S):
            now_s = time.monotonic()
            passed_s, before_s = min(now_s - before_s, 2 * _PERIOD_S), now_s  # this process may have been stopped
            self._beat(passed_s)
            stopped_s = stopped_s + passed_s if self._stop.has_arrived() else 0.0
            reason = self._reason_to_end(stopped_s)
            if reason is not None and not self.is_broken and not self._closed.is_set():
                self.is_broken = True
                self.on_lost(self._broken(reason))
                os._exit(1)

    def _beat(self, passed_s: float) -> None:
        self._count += 1
        self._set("beat", str(self._count))
        for rank in self._peers:
            count = self._get(rank, "beat")
            has_moved = count is not None and count != self._counts[rank]
            if has_moved or self._get(rank, "done") is not None:
                self._counts[rank], self._silent_s[rank] = count, 0.0
                if rank not in self._nodes and (node := self._get(rank, "node")) is not None:
                    self._nodes[rank] = node
            else:
                self._silent_s[rank] += passed_s

    def _reason_to_end(self, stopped_s: float) -> str | None:
        longest_s = max(self._silent_s.values())
        silent = [rank for rank in self._peers if self._silent_s[rank] >= _SILENT_S]
        num_reports = int(longest_s / self._report_s)
        if num_reports > self._num_reports:
            self._report(f"waiting for {self._names(silent or self._peers)} for {longest_s:.0f} s")
        self._num_reports = num_reports
        if longest_s >= self._timeout_s:
            return f"{self._names(silent)} has not answered for {longest_s:.0f} s"
        if silent and stopped_s >= _SILENT_S:
            return f"stopped while {self._names(silent)} did not answer"
        return None

    def _names(self, ranks: list[int]) -> str:
        """Ranks as a person knows them: with their nodes, where there are several."""
        if len(set(self._nodes.values())) < 2:
            return _rank_names(ranks)
        by_node: dict[str, list[int]] = {}
        for rank in ranks:
            by_node.setdefault(self._nodes.get(rank, "an unknown node"), []).append(rank)
        return " and ".join(f"{_rank_names(there)} on {node}" for node, there in by_node.items())

    def _set(self, key: str, value: str) -> None:
        assert self._store is not None
        try:
            self._store.set(f"{self._rank}/{key}", value)
        except Exception:  # frameworks raise many kinds where the store's process is gone: silence then tells
            return

    def _get(self, rank: int, key: str) -> str | None:
        assert self._store is not None
        try:
            return self._store.get(f"{rank}/{key}")
        except Exception:
            return None


def _rank_names(ranks: list[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
