"""What the harness and the process of a submission say to each other.

The harness sends pickled objects. What comes back is not trusted: JSON of limited length, and bytes in memory that both
have open, of which the harness reads as many as it expects.
"""

import json
import math
import mmap
import os
import pickle
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, BinaryIO, Self

import numpy as np

from algoperf import spec

_LENGTH = struct.Struct("<Q")
_BATCH_HEADER = struct.Struct("<QQB")  # bytes of the layout and of the arrays, and where the arrays are
_INLINE = 255  # after the layout; else the number of a piece of memory
_LONGEST_ANSWER = 1 << 20
_INLINE_BYTES = 1 << 16  # smaller batches are sent at once
_ALIGNMENT = 64  # of arrays in a batch
_MESSAGE_S = 30.0  # for the rest of an answer that has begun
_STOP, _STEP = 0, 8  # offsets in the page
_PAGE_BYTES = 16
_BLOCK_BYTES = 512  # of st_blocks, see stat(2)


class ChannelClosedError(Exception):
    """The other process has gone."""


class BatchesError(Exception):
    """The harness cannot read the next batch."""


class AnswerError(ValueError):
    """An answer is not what was asked for."""


@dataclass(frozen=True, kw_only=True)
class Ends:
    """File descriptors of one process of the pair.

    Attributes:
      control, data: sockets: requests and answers; training batches.
      page: memory: whether to stop, and the present step.
      model, state: memory: what an evaluation needs; what a resumed process of the submission needs.
      odd, even: memory that large batches are copied through.
    """

    control: int
    data: int
    page: int
    model: int
    state: int
    odd: int
    even: int

    @classmethod
    def parse(cls, text: str) -> Self:
        return cls(**dict(zip((f.name for f in fields(cls)), map(int, text.split(",")), strict=True)))

    def __str__(self) -> str:
        return ",".join(map(str, self.numbers))

    @property
    def numbers(self) -> tuple[int, ...]:
        return tuple(getattr(self, entry.name) for entry in fields(self))


def send_object(connection: socket.socket, value: Any) -> None:
    """Only the harness sends this way."""
    message = pickle.dumps(value, protocol=5)
    _send(connection, message)


def receive_object(connection: socket.socket) -> Any:
    """Only the process of the submission receives this way."""
    return pickle.loads(_receive(connection, 2**63))


def send_answer(connection: socket.socket, answer: Mapping[str, Any]) -> None:
    _send(connection, json.dumps(answer).encode())


def receive_answer(connection: socket.socket, wait_s: Callable[[], float | None]) -> dict[str, Any] | None:
    """The next answer; None where there is none in time.

    Args:
      wait_s: asked before each wait: for how many seconds; None gives up.

    Raises:
      AnswerError: it is no JSON object, or too long.
      ChannelClosedError: the process has gone.
    """
    while True:
        seconds = wait_s()
        if seconds is None:
            return None
        if select.select([connection], [], [], seconds)[0]:
            break
    message = _receive(connection, _LONGEST_ANSWER, until_s=time.monotonic() + _MESSAGE_S)
    try:
        answer = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise AnswerError(f"no JSON ({type(error).__name__})") from error
    if not isinstance(answer, dict):
        raise AnswerError("no JSON object")
    return answer


@dataclass(frozen=True)
class _Array:
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int


class BatchSender:
    """Sends batches, arrays in containers: their layout, where it is another than the last, and their bytes.

    Args:
      memory: descriptors of memory that large batches are copied through, one after the other.
    """

    def __init__(self, connection: socket.socket, memory: Sequence[int]) -> None:
        self._connection = connection
        self._memory = memory
        self._free = list(range(len(memory)))
        self._layout: Any = None

    def send(self, batch: spec.Batch | BatchesError | None) -> None:
        """Sends a batch, None after the last, or why there is none."""
        parts: list[Any] = []
        layout = batch if batch is None or isinstance(batch, BatchesError) else _laid_out(batch, parts)
        size = sum(len(part) for part in parts)
        description = b"" if layout is not None and layout == self._layout else pickle.dumps(layout)
        self._layout = layout
        number = _INLINE if size < _INLINE_BYTES else self._write(parts)
        header = _BATCH_HEADER.pack(len(description), size, number)
        self._connection.sendall(b"".join([header, description, *(parts if number == _INLINE else ())]))

    def _write(self, parts: Sequence[Any]) -> int:
        """Copies a batch into memory that the receiver has read; returns its number."""
        if not self._free:
            answer = self._connection.recv(len(self._memory))
            if not answer:
                raise ChannelClosedError
            self._free += {number % len(self._memory) for number in answer}
        number = self._free.pop()
        offset = 0
        for part in parts:
            offset = _write_at(self._memory[number], part, offset)
        return number


class BatchReceiver:
    """Receives what a `BatchSender` sends, each batch in memory of its own.

    Args:
      memory: as the sender's.
    """

    def __init__(self, connection: socket.socket, memory: Sequence[int]) -> None:
        self._connection = connection
        self._memory = memory
        self._maps: dict[int, mmap.mmap] = {}
        self._layout: Any = None

    def receive(self) -> spec.Batch | None:
        """The next batch; None after the last.

        Raises:
          BatchesError: the harness cannot read it.
        """
        length, size, number = _BATCH_HEADER.unpack(self._bytes(_BATCH_HEADER.size))
        if length:
            self._layout = pickle.loads(self._bytes(length))
        if isinstance(self._layout, BatchesError):
            raise self._layout
        memory = np.empty(size, np.uint8)
        if number == _INLINE:
            _receive_into(self._connection, memory.data)
        else:
            memory[:] = np.frombuffer(self._map(number, size), np.uint8, size)
            self._connection.sendall(bytes([number]))
        batch: spec.Batch | None = None if self._layout is None else _filled(self._layout, memory)
        return batch

    def _map(self, number: int, size: int) -> mmap.mmap:
        if number not in self._maps or len(self._maps[number]) < size:
            self._maps[number] = mmap.mmap(self._memory[number], size, prot=mmap.PROT_READ)
        return self._maps[number]

    def _bytes(self, length: int) -> bytearray:
        received = bytearray(length)
        _receive_into(self._connection, memoryview(received))
        return received


def _laid_out(tree: Any, parts: list[Any]) -> Any:
    """The containers with layouts for arrays, whose bytes and padding are appended to `parts`."""
    if isinstance(tree, Mapping):
        return {name: _laid_out(value, parts) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_laid_out(value, parts) for value in tree)
    array = np.ascontiguousarray(tree)
    offset = sum(len(part) for part in parts)
    parts += array.reshape(-1).view(np.uint8).data, bytes(-array.nbytes % _ALIGNMENT)
    return _Array(array.dtype, np.shape(tree), offset)


def _filled(layout: Any, memory: np.ndarray) -> Any:
    """The containers with arrays that share `memory`."""
    if isinstance(layout, _Array):
        end = layout.offset + math.prod(layout.shape) * layout.dtype.itemsize
        return memory[layout.offset : end].view(layout.dtype).reshape(layout.shape)
    if isinstance(layout, dict):
        return {name: _filled(value, memory) for name, value in layout.items()}
    return type(layout)(_filled(value, memory) for value in layout)


class Page:
    """A few numbers that both sides read and write at any time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def clear(cls, descriptor: int) -> Self:
        os.pwrite(descriptor, bytes(_PAGE_BYTES), 0)
        return cls(descriptor)

    def ask_to_stop(self, asked: bool) -> None:
        self._write(_STOP, int(asked))

    def is_set(self) -> bool:
        """Whether the harness asks to stop."""
        return self._read(_STOP) != 0

    def set_step(self, step: int) -> None:
        self._write(_STEP, step)

    def step(self) -> int:
        return self._read(_STEP)

    def _write(self, offset: int, value: int) -> None:
        os.pwrite(self._descriptor, value.to_bytes(8, "little"), offset)

    def _read(self, offset: int) -> int:
        return int.from_bytes(os.pread(self._descriptor, 8, offset), "little")


def write_arrays(descriptor: int, values: Mapping[str, np.ndarray]) -> None:
    """Writes the bytes of `Backend.model_bytes`, one after the other."""
    offset = 0
    for array in values.values():
        offset = _write_at(descriptor, array.data, offset)


def read_arrays(descriptor: int, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Reads as many bytes as `sizes` says, into memory of this process.

    Raises:
      AnswerError: there are fewer.
    """
    offset, arrays = 0, {}
    for name, size in sizes.items():
        arrays[name] = array = np.empty(size, np.uint8)
        view = array.data
        while len(view):
            count = os.preadv(descriptor, [view], offset)
            if count == 0:
                raise AnswerError("fewer parameters than the model has")
            view, offset = view[count:], offset + count
    return arrays


def open_state(descriptor: int) -> BinaryIO:
    """The memory of the state as a file, at its beginning, for reading.

    Raises:
      AnswerError: it says that it is larger than what it holds.
    """
    status = os.fstat(descriptor)
    if status.st_size > status.st_blocks * _BLOCK_BYTES:
        raise AnswerError(f"a state of {status.st_size} bytes, most of which are not there")
    file = open(os.dup(descriptor), "rb")  # noqa: SIM115
    file.seek(0)
    return file


def number(answer: Mapping[str, Any], name: str) -> float:
    """A finite number of an answer that is not negative.

    Raises:
      AnswerError: there is none.
    """
    value = answer.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise AnswerError(f"no {name}")
    return float(value)


def _write_at(descriptor: int, part: Any, offset: int) -> int:
    """Writes all of it; returns where it ends."""
    view = memoryview(part)
    while len(view):
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
    return offset


def _send(connection: socket.socket, message: bytes) -> None:
    try:
        connection.sendall(_LENGTH.pack(len(message)) + message)
    except OSError as error:
        raise ChannelClosedError from error


def _receive(connection: socket.socket, longest: int, *, until_s: float = math.inf) -> bytes:
    header = bytearray(_LENGTH.size)
    _receive_into(connection, memoryview(header), until_s)
    (length,) = _LENGTH.unpack(header)
    if length > longest:
        raise AnswerError(f"{length} bytes")
    message = bytearray(length)
    _receive_into(connection, memoryview(message), until_s)
    return bytes(message)


def _receive_into(connection: socket.socket, view: memoryview, until_s: float = math.inf) -> None:
    while len(view):
        if until_s < math.inf and not select.select([connection], [], [], max(until_s - time.monotonic(), 0.0))[0]:
            raise AnswerError("only a part")
        try:
            count = connection.recv_into(view)
        except OSError as error:
            raise ChannelClosedError from error
        if count == 0:
            raise ChannelClosedError
        view = view[count:]
