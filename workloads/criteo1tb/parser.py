"""Lines of the click logs to numbers and hashed ids, compiled.

Imported only by preparation: Numba takes a second to import and compiles on first use.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from workloads.criteo1tb.definition import BUCKET_COUNTS, NUM_CATEGORIES, NUM_FIELDS, NUM_INTEGERS

CATEGORY_BYTES = 8
MISSING_CATEGORY = b"00000000"

_TAB, _NEWLINE, _MINUS, _ZERO, _NINE, _A = 9, 10, 45, 48, 57, 97
_MAX_DIGITS = 18
_LOG_TABLE_SIZE = 1 << 16

# Kinds of problems; `PROBLEMS` has their descriptions.
_OK, _SHORT_LINE, _LONG_LINE, _BAD_LABEL, _BAD_INTEGER, _BAD_CATEGORY = range(6)
PROBLEMS = {
    _SHORT_LINE: f"the line ends here, expected {NUM_FIELDS} tab-separated fields",
    _LONG_LINE: f"the line continues, expected {NUM_FIELDS} tab-separated fields",
    _BAD_LABEL: "expected a label 0 or 1, or nothing",
    _BAD_INTEGER: "expected a whole number, or nothing",
    _BAD_CATEGORY: f"expected {CATEGORY_BYTES} hexadecimal digits, or nothing",
}


class Rows(NamedTuple):
    """`labels` uint8 [n], `integers` float32 [n, 13] (log(max(v, 0) + 1)), `ids` int32 [n, 26] (hash buckets)."""

    labels: np.ndarray
    integers: np.ndarray
    ids: np.ndarray


class LineError(ValueError):
    """A line is not in the format. `line` and `field` count from 0, within the parsed text."""

    def __init__(self, line: int, field: int, problem: str, text: str) -> None:
        super().__init__(f"line {line + 1}, field {field + 1}: {problem}; got {text!r}")
        self.line, self.field, self.problem, self.text = line, field, problem, text


def parse(text: np.ndarray) -> Rows:
    """Parses whole lines: uint8 [bytes] that ends with a newline.

    A field that is empty or `-1` is missing: label 0, number 0, category `00000000`. Releases the GIL.

    Raises:
      LineError: the first bad line.
    """
    num_rows = int(np.count_nonzero(text == _NEWLINE))
    rows = Rows(
        labels=np.empty(num_rows, np.uint8),
        integers=np.empty((num_rows, NUM_INTEGERS), np.float32),
        ids=np.empty((num_rows, NUM_CATEGORIES), np.int32),
    )
    kind, row, field, position = _parse(text, *rows, _BUCKETS, _LOGS)
    if kind != _OK:
        rest = text[position : position + 40].tobytes()
        excerpt = rest.split(b"\n")[0].split(b"\t")[0].decode("utf-8", "replace")
        raise LineError(row, field, PROBLEMS[kind], excerpt)
    return rows


def bucket(category: bytes, column: int) -> int:
    """Returns the hash bucket of an 8-byte category in column 0 ... 25."""
    if len(category) != CATEGORY_BYTES:
        raise ValueError(f"a category has {CATEGORY_BYTES} bytes, got {category!r}")
    return int(_bucket(np.uint64(int.from_bytes(category, "little")), column, _BUCKETS[column]))


_BUCKETS = np.array(BUCKET_COUNTS, np.uint64)
_LOGS = np.log(np.arange(_LOG_TABLE_SIZE, dtype=np.float32) + np.float32(1))
_MISSING = np.uint64(int.from_bytes(MISSING_CATEGORY, "little"))
_EACH_BYTE = np.uint64(0x0101010101010101)
_TOP_BITS = np.uint64(0x8080808080808080)
_K2 = np.uint64(0x9AE16A3B2F90404F)


@njit(inline="always")
def _rotate(value, shift):
    return (value >> np.uint64(shift)) | (value << np.uint64(64 - shift))


@njit(inline="always")
def _bucket(category, column, count):
    """FarmHash Fingerprint64 of the 8 bytes followed by the column in decimal, modulo `count`.

    Source: FarmHash (Pike 2014), `HashLen0to16` for 9 and 10 bytes.
    """
    if column < 10:
        length = np.uint64(9)
        last = (category >> np.uint64(8)) | (np.uint64(_ZERO + column) << np.uint64(56))
    else:
        length = np.uint64(10)
        digits = np.uint64(_ZERO + column // 10) | (np.uint64(_ZERO + column % 10) << np.uint64(8))
        last = (category >> np.uint64(16)) | (digits << np.uint64(48))
    multiplier = _K2 + length * np.uint64(2)
    a = category + _K2
    c = _rotate(last, 37) * multiplier + a
    d = (_rotate(a, 25) + last) * multiplier
    a = (c ^ d) * multiplier
    a ^= a >> np.uint64(47)
    b = (d ^ a) * multiplier
    b ^= b >> np.uint64(47)
    return np.int32((b * multiplier) % count)


@njit(inline="always")
def _read_integer(text, position):
    """Reads digits with an optional sign up to a tab or newline; returns (value, number of digits, end)."""
    sign = 1
    if text[position] == _MINUS:
        sign = -1
        position += 1
    start = position
    value = 0
    while _ZERO <= text[position] <= _NINE and position - start < _MAX_DIGITS:
        value = value * 10 + (text[position] - _ZERO)
        position += 1
    return sign * value, position - start, position


@njit(inline="always")
def _read_category(text, position):
    """Reads 8 hexadecimal digits; returns (bytes as a little-endian number, whether they are all there)."""
    category = np.uint64(0)
    if position + CATEGORY_BYTES >= len(text):
        return category, False
    for offset in range(CATEGORY_BYTES):  # becomes one load
        category |= np.uint64(text[position + offset]) << np.uint64(8 * offset)
    return category, _are_hexadecimal(category)


@njit(inline="always")
def _are_hexadecimal(category):
    """Whether all 8 bytes are hexadecimal digits. Adding 128 - c to a byte sets its top bit where it is at least c."""
    is_digit = (category + _at_least(_ZERO)) & ~(category + _at_least(_ZERO + 10))
    lower = category | _EACH_BYTE * np.uint64(0x20)
    is_letter = (lower + _at_least(_A)) & ~(lower + _at_least(_A + 6))
    is_ascii = ~category
    return (is_digit | is_letter) & is_ascii & _TOP_BITS == _TOP_BITS


@njit(inline="always")
def _at_least(byte):
    return _EACH_BYTE * np.uint64(128 - byte)


@njit(inline="always")
def _ends_field(byte):
    return byte in (_TAB, _NEWLINE)


@njit(nogil=True)
def _parse(text, labels, integers, ids, buckets, logs):
    """Fills the rows; returns (problem, row, field, position in `text`) of the first problem."""
    position = 0
    for row in range(len(labels)):
        problem, field, position = _parse_numbers(text, position, labels, integers, logs, row)
        if problem == _OK:
            problem, field, position = _parse_categories(text, position, ids, buckets, row)
        if problem != _OK:
            return problem, row, field, position
    return _OK, 0, 0, 0


@njit
def _parse_numbers(text, position, labels, integers, logs, row):
    """Reads the label and the integers; returns (problem, field, position behind the fields or of the problem)."""
    for field in range(1 + NUM_INTEGERS):
        start, value = position, 0
        if not _ends_field(text[position]):
            value, num_digits, position = _read_integer(text, position)
            if num_digits == 0 or not _ends_field(text[position]) or (field == 0 and not -1 <= value <= 1):
                return (_BAD_INTEGER if field else _BAD_LABEL), field, start
        value = max(value, 0)
        if field == 0:
            labels[row] = value
        elif value < len(logs):
            integers[row, field - 1] = logs[value]
        else:
            integers[row, field - 1] = np.log(np.float32(value) + np.float32(1))
        if text[position] != _TAB:
            return _SHORT_LINE, field, start
        position += 1
    return _OK, 0, position


@njit
def _parse_categories(text, position, ids, buckets, row):
    """Reads the categories and the end of the line; returns as `_parse_numbers`."""
    for column in range(NUM_CATEGORIES):
        start, category, good = position, _MISSING, True
        if not _ends_field(text[position]):
            category, good = _read_category(text, position)
            if good:
                position += CATEGORY_BYTES
            elif text[position] == _MINUS and text[position + 1] == _ZERO + 1:
                position, category, good = position + 2, _MISSING, True
            good = good and _ends_field(text[position])
        field = 1 + NUM_INTEGERS + column
        if not good:
            return _BAD_CATEGORY, field, start
        ids[row, column] = _bucket(category, column, buckets[column])
        if column < NUM_CATEGORIES - 1:
            if text[position] != _TAB:
                return _SHORT_LINE, field, start
        elif text[position] != _NEWLINE:
            return _LONG_LINE, field, position
        position += 1
    return _OK, 0, position
