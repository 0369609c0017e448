"""Reading ahead in a background thread."""

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from algoperf.background import THREAD_PREFIX


class _Item(NamedTuple):
    value: Any


class _End(NamedTuple):
    error: BaseException | None


class Prefetcher:
    """Iterator that takes items from another one and transforms them, `depth` ahead, in a background thread.

    Reading begins with `start()`, or with the first `next()`. An exception of the iterator or of `transform` is raised
    by `next()` in place of the item it prevented, and by every later call. `close()` must be called (or the object be
    used as a context manager) to end the thread.

    Args:
      open_at: returns the items from a position on; called once, by `start`. The background thread alone takes them.
      transform: applied to each item in the background thread, for example `Backend.put_batch`.
      depth: items held ready.
    """

    def __init__(
        self,
        open_at: Callable[[int], Iterator[Any]],
        transform: Callable[[Any], Any] | None = None,
        depth: int = 2,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, got {depth}")
        self.batches_taken = 0
        self._open_at = open_at
        self._transform = transform
        self._ready: queue.SimpleQueue[_Item | _End] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[bool] = queue.SimpleQueue()  # one token per free place; False ends the thread
        for _ in range(depth):
            self._free.put(True)
        self._end: _End | None = None
        self._closing = False
        self._thread: threading.Thread | None = None

    def state_dict(self) -> dict[str, Any]:
        """Says how many batches were taken; those read ahead do not count."""
        return {"batches_taken": self.batches_taken}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to the position of an earlier process; raises RuntimeError where reading has begun."""
        if self._thread is not None:
            raise RuntimeError("the position must be set before reading begins; call load_state_dict before start")
        self.batches_taken = state["batches_taken"]

    def start(self) -> None:
        """Begins to read ahead; does nothing the second time."""
        if self._thread is None and self._end is None:
            items = iter(self._open_at(self.batches_taken))
            self._thread = threading.Thread(
                target=self._fill, args=(items,), name=f"{THREAD_PREFIX}prefetch", daemon=True
            )
            self._thread.start()

    def _fill(self, items: Iterator[Any]) -> None:
        try:
            while self._free.get() and not self._closing:
                value = next(items)
                if self._transform is not None:
                    value = self._transform(value)
                self._ready.put(_Item(value))
        except StopIteration:
            self._ready.put(_End(None))
        except BaseException as error:
            self._ready.put(_End(error))
        else:
            self._ready.put(_End(None))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._thread is None:
            self.start()
        if self._end is None:
            received = self._ready.get()
            if isinstance(received, _Item):
                self._free.put(True)
                self.batches_taken += 1
                return received.value
            self._end = received
        if self._end.error is not None:
            raise self._end.error
        raise StopIteration

    def close(self) -> None:
        """Ends the thread after the item it is working on, and drops what is ready. Later `next()` calls stop."""
        self._end = self._end or _End(None)
        self._closing = True
        self._free.put(False)
        if self._thread is not None:
            self._thread.join()
        while not self._ready.empty():
            self._ready.get_nowait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
