"""Puts restart markers into JPEG files without loss, so that a crop can be decoded at the cost of the crop.

Coefficients stay as they are. What is coded anew is the constant term of each block, which is a difference that starts
from zero after a marker, in the typical Huffman tables of the standard (T.81, tables K.3 and K.4), since those of a
file may lack the codes. A file grows by about one part in a hundred. Imported only by preparation: Numba compiles.
"""

import functools

import numpy as np
from numba import njit

from workloads.common.compiled import compiled
from workloads.common.imagenet.jpeg_header import JpegHeader, parse_header

_PREFERRED_INTERVALS = (3, 4, 2, 5, 6, 7, 8)  # units; measured: larger ones decode too much, smaller ones cost more
_CATEGORIES = 12
_TYPICAL_DC_COUNTS = (
    bytes((0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0)),
    bytes((0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0)),
)
_TYPICAL_DC_TABLES = tuple(counts + bytes(range(_CATEGORIES)) for counts in _TYPICAL_DC_COUNTS)
_HUFFMAN, _RESTART_INTERVAL, _START_OF_SCAN = 0xC4, 0xDD, 0xDA
_DC, _AC = 0, 1
_MAX_CODE_BITS = 16
_CACHED_TABLES = 16


def with_restart_intervals(encoded: bytes) -> bytes:
    """Returns a file of the same pixels with a restart marker every few units.

    A file that has markers, or that is not coded sequentially in one scan, is returned as it is.
    """
    header = parse_header(encoded)
    if header is None or header.restart_interval or not _has_tables(header):
        return encoded
    interval = _interval(header.units_per_row)
    blocks = [number for number, component in enumerate(header.components) for _ in range(component.blocks)]
    used = sorted({component.dc_table for component in header.components})
    size, coded = _recode(
        np.frombuffer(encoded, np.uint8)[header.scan :],
        np.array(blocks),
        _decoding_tables(tuple(header.tables[_DC, component.dc_table] for component in header.components)),
        _decoding_tables(tuple(header.tables[_AC, component.ac_table] for component in header.components)),
        np.stack([_codes(_typical(used, component.dc_table)) for component in header.components]),
        header.units_per_row * header.rows_of_units,
        interval,
    )
    if size < 0:
        return encoded
    return b"".join([_new_header(encoded, header, used, interval), coded[:size].tobytes(), b"\xff\xd9"])


def _interval(units_per_row: int) -> int:
    return next((interval for interval in _PREFERRED_INTERVALS if units_per_row % interval == 0), 1)


def _has_tables(header: JpegHeader) -> bool:
    return all(
        (_DC, component.dc_table) in header.tables and (_AC, component.ac_table) in header.tables
        for component in header.components
    )


def _typical(used: list[int], table: int) -> bytes:
    return _TYPICAL_DC_TABLES[min(used.index(table), 1)]


def _new_header(encoded: bytes, header: JpegHeader, used: list[int], interval: int) -> bytes:
    parts = [encoded[:2]]
    for marker, start, stop in header.segments:
        if marker == _START_OF_SCAN:
            parts += [_segment(_HUFFMAN, bytes([number]) + _typical(used, number)) for number in used]
            parts += [_segment(_HUFFMAN, bytes([_AC << 4 | n]) + t) for (kind, n), t in header.tables.items() if kind]
            parts.append(_segment(_RESTART_INTERVAL, interval.to_bytes(2, "big")))
        if marker != _HUFFMAN:
            parts.append(encoded[start:stop])
    return b"".join(parts)


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _canonical(table: bytes) -> list[tuple[int, int, int]]:
    """(code, bits, symbol) of a Huffman table, by T.81, annex C."""
    entries, code, position = [], 0, _MAX_CODE_BITS
    for bits, count in enumerate(table[:_MAX_CODE_BITS], 1):
        for symbol in table[position : position + count]:
            entries.append((code, bits, symbol))
            code += 1
        position += count
        code <<= 1
    return entries


@functools.lru_cache(_CACHED_TABLES)  # most files have the typical tables
def _decoding_tables(tables: tuple[bytes, ...]) -> np.ndarray:
    return np.stack([_decoding_table(table) for table in tables])


def _decoding_table(table: bytes) -> np.ndarray:
    """For every 16 bits: bits of the code that they begin with << 8 | its symbol; 0 where there is none."""
    lookup = np.zeros(1 << _MAX_CODE_BITS, np.int32)
    for code, bits, symbol in _canonical(table):
        first = code << (_MAX_CODE_BITS - bits)
        lookup[first : first + (1 << (_MAX_CODE_BITS - bits))] = bits << 8 | symbol
    return lookup


def _codes(table: bytes) -> np.ndarray:
    """For every symbol of a table of the constant term: (code, bits)."""
    codes = np.zeros((_CATEGORIES, 2), np.int64)
    for code, bits, symbol in _canonical(table):
        codes[symbol] = code, bits
    return codes


@njit(inline="always")
def _fill(data, position, held, num_held):
    """Adds bytes to the bits held until there are 32 or the data end, at a marker or without one."""
    while num_held <= 32:
        if position >= len(data):
            break
        byte = np.uint64(data[position])
        if byte == 0xFF:
            if position + 1 >= len(data) or data[position + 1] != 0:
                break
            position += 1
        position += 1
        held = (held << np.uint64(8)) | byte
        num_held += 8
    return position, held, num_held


@njit(inline="always")
def _peek(held, num_held, count):
    """The first `count` of the bits held, zeros where there are fewer."""
    if num_held >= count:
        return np.int64((held >> np.uint64(num_held - count)) & np.uint64((1 << count) - 1))
    return np.int64((held << np.uint64(count - num_held)) & np.uint64((1 << count) - 1))


@njit(inline="always")
def _put(out, size, pending, num_pending, value, count):
    """Appends `count` bits; whole bytes go out, a zero behind each 0xFF."""
    pending = (pending << np.uint64(count)) | np.uint64(value)
    num_pending += count
    while num_pending >= 8:
        byte = np.uint8((pending >> np.uint64(num_pending - 8)) & np.uint64(0xFF))
        out[size] = byte
        size += 1
        if byte == 0xFF:
            out[size] = 0
            size += 1
        num_pending -= 8
    return size, pending, num_pending


@njit(inline="always")
def _category(difference):
    magnitude, bits = abs(difference), 0
    while magnitude:
        magnitude >>= 1
        bits += 1
    return bits


@compiled
def _recode(data, components, dc_tables, ac_tables, dc_codes, num_units, interval):
    """Returns (bytes written, output); -1 bytes where the data are not as the header says."""
    out = np.empty(2 * len(data) + 16 * num_units + 64, np.uint8)
    size, position, num_held, num_pending = 0, 0, 0, 0
    held, pending = np.uint64(0), np.uint64(0)
    read, written = np.zeros(4, np.int64), np.zeros(4, np.int64)
    for unit in range(num_units):
        if unit and unit % interval == 0:
            if num_pending:
                size, pending, num_pending = _put(
                    out, size, pending, num_pending, (1 << (8 - num_pending)) - 1, 8 - num_pending
                )
            out[size], out[size + 1] = 0xFF, 0xD0 + (unit // interval - 1) % 8
            size += 2
            written[:] = 0
        for block in range(len(components)):
            component = components[block]
            position, held, num_held = _fill(data, position, held, num_held)
            entry = dc_tables[component, _peek(held, num_held, 16)]
            bits, category = entry >> 8, entry & 0xFF
            if bits == 0 or category >= _CATEGORIES or bits + category > num_held:
                return -1, out
            num_held -= bits
            extra = _peek(held, num_held, category)
            num_held -= category
            if category and extra < 1 << (category - 1):
                extra -= (1 << category) - 1
            read[component] += extra
            difference = read[component] - written[component]
            written[component] = read[component]
            category = _category(difference)
            if category >= _CATEGORIES:
                return -1, out
            code, bits = dc_codes[component, category]
            size, pending, num_pending = _put(out, size, pending, num_pending, code, bits)
            if difference < 0:
                difference += (1 << category) - 1
            size, pending, num_pending = _put(out, size, pending, num_pending, difference, category)
            coefficient = 1
            while coefficient < 64:
                position, held, num_held = _fill(data, position, held, num_held)
                entry = ac_tables[component, _peek(held, num_held, 16)]
                bits, run, category = entry >> 8, (entry >> 4) & 15, entry & 15
                if bits == 0 or bits + category > num_held:
                    return -1, out
                value = _peek(held, num_held, bits + category)
                num_held -= bits + category
                size, pending, num_pending = _put(out, size, pending, num_pending, value, bits + category)
                if category == 0 and run != 15:
                    break
                coefficient += run + 1
    if num_pending:
        size, pending, num_pending = _put(
            out, size, pending, num_pending, (1 << (8 - num_pending)) - 1, 8 - num_pending
        )
    return size, out
