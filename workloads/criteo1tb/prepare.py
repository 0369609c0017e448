"""Click-log day files to a memory-mapped store; the mini's generated days to the same files first.

The store lists its parts by day, one for each raw file; until all are there, they are next to it. A part holds `labels`
uint8 [n], `integers` float32 [n, 13] and `ids` int32 [n, 26]: 157 bytes for each line of about 250.
"""

import functools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.data import Store, StoreError, StoreWriter, is_complete
from algoperf.data.places import first_folder, new_store_dir, raw_dir
from algoperf.data.shards import adopt_parts, resume_parts, staging_dir
from algoperf.definition import Tier, WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report
from workloads.criteo1tb.data import generator_facts
from workloads.criteo1tb.definition import NUM_CATEGORIES, NUM_INTEGERS

BYTES_PER_ROW = 1 + 4 * NUM_INTEGERS + 4 * NUM_CATEGORIES
_READ_BYTES = 1 << 22  # measured: larger blocks leave the cache
_MAX_LINE_BYTES = 1 << 16
_GZIP = 31
_FILE_NAME = re.compile(r"day_(?P<day>\d+)(?:_(?P<piece>\d+))?(?:\.gz)?")


class BadLineError(StoreError):
    """A line of a raw file is not in the format; the message gives file, line and field."""


@dataclass(frozen=True, kw_only=True)
class DayFile:
    """A raw file: a whole day (`piece` None) or one of the consecutive pieces of a day, plain or gzip."""

    path: Path
    day: int
    piece: int | None

    @property
    def part(self) -> str:
        """Name of the part of the store that the file becomes."""
        return self.path.name.removesuffix(".gz")


def prepare(
    definition: WorkloadDefinition,
    data_dir: Path,
    *,
    source_dir: Path | None,
    num_workers: int,
    report: Report,
) -> None:
    """Writes the store, `num_workers` files at a time, and checks the numbers of rows.

    After an interruption, finished files (in `<dataset>.parts`) are not read again while their size is the same.

    Raises:
      StoreError: a day or a piece is missing or there twice, a gzip file is damaged, or a split has too few rows.
      BadLineError: a line is not in the format.
    """
    if definition.tier is Tier.MINI:
        from workloads.criteo1tb.click_log import write_days

        source_dir = raw_dir(definition, data_dir)
        identity = f"{definition.splits} {definition.data} {generator_facts(definition)}"
        generate_once(source_dir, identity, functools.partial(write_days, definition, source_dir, report))
    source_dir = find_raw(definition, source_dir or data_dir) or source_dir
    if source_dir is None:
        raise StoreError(f"no click logs under {data_dir}. {how_to_get(definition)}")
    files = find_files(source_dir, definition.data.num_days)
    store = new_store_dir(definition, data_dir)
    resume_parts(store)
    parts_dir = staging_dir(store)
    rows = _prepare_files(files, parts_dir, num_workers, report)
    _check_rows(definition, files, rows)
    _assemble(store, parts_dir, files, definition)


def find_raw(definition: WorkloadDefinition, folder: Path) -> Path | None:
    """See `algoperf.data.source.PrepareModule`."""

    def holds(root: Path) -> bool:
        return any(_FILE_NAME.fullmatch(path.name) for path in root.glob("day_0*"))

    return first_folder(folder, ("criteo1tb", "criteo"), holds)


def how_to_get(definition: WorkloadDefinition) -> str:
    sizes = definition.splits
    rows = sizes.train + sizes.validation + (sizes.test or 0)
    return (
        "The Criteo 1TB click logs are 24 files day_0.gz ... day_23.gz, 350 GB "
        "(https://ailab.criteo.com/download-criteo-1tb-click-logs-dataset/); the store takes "
        f"{rows * BYTES_PER_ROW / 1e9:.0f} GB. python -m algoperf.prepare {definition.name} "
        "--download --accept_licenses --data_dir=DIR downloads and prepares them. Or put them, or their pieces "
        "day_<day>_<piece>, into a folder and add --source_dir=FOLDER"
    )


def required_bytes(definition: WorkloadDefinition) -> int:
    """Disk space that the store takes."""
    sizes = definition.splits
    return (sizes.train + sizes.validation + (sizes.test or 0)) * BYTES_PER_ROW


def find_files(source_dir: Path, num_days: int) -> list[DayFile]:
    """Returns the files of days 0 ... num_days - 1 in order: day_<day> or day_<day>_<piece>, each plain or .gz.

    Raises:
      StoreError: names the days that are missing, incomplete or there in two forms.
    """
    present: dict[int, list[DayFile]] = {day: [] for day in range(num_days)}
    for path in sorted(source_dir.glob("day_*")):
        match = _FILE_NAME.fullmatch(path.name)
        if match and int(match["day"]) in present:
            piece = None if match["piece"] is None else int(match["piece"])
            present[int(match["day"])].append(DayFile(path=path, day=int(match["day"]), piece=piece))
    missing = [day for day, files in present.items() if not files]
    if missing:
        days = ", ".join(f"day_{day}" for day in missing)
        raise StoreError(f"{source_dir} lacks {days}; expected day_0 ... day_{num_days - 1}, whole or in pieces")
    return [file for day, files in present.items() for file in _in_order(source_dir, day, files)]


def _in_order(source_dir: Path, day: int, files: list[DayFile]) -> list[DayFile]:
    pieces = sorted(-1 if file.piece is None else file.piece for file in files)
    if pieces != [-1] and pieces != list(range(len(pieces))):
        names = ", ".join(sorted(file.path.name for file in files))
        raise StoreError(
            f"{source_dir}: day {day} must be one whole file or all pieces 00, 01, ..., each once; got {names}"
        )
    return sorted(files, key=lambda file: file.piece or 0)


def _prepare_files(files: Sequence[DayFile], parts_dir: Path, num_workers: int, report: Report) -> dict[str, int]:
    """Prepares every file that is not prepared; returns the rows of each part. The first error stops the others."""
    started = time.monotonic()
    rows: dict[str, int] = {}
    new_rows = 0
    with ThreadPoolExecutor(max(1, num_workers), thread_name_prefix="day-file") as pool:
        try:
            tasks = {pool.submit(_prepare_file, file, parts_dir / file.part): file for file in files}
            for task in as_completed(tasks):
                file, (count, is_new) = tasks[task], task.result()
                rows[file.part] = count
                new_rows += count if is_new else 0
                speed = new_rows / max(time.monotonic() - started, 1e-9)
                detail = f"{speed / 1e6:.2f} M rows/s" if is_new else "prepared before"
                report(f"{file.path.name}: {count:,} rows ({len(rows)} of {len(files)} files, {detail})")
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return rows


def _prepare_file(file: DayFile, path: Path) -> tuple[int, bool]:
    """Returns (rows, whether the part is new)."""
    source = {"source": file.path.name, "source_bytes": file.path.stat().st_size}
    if is_complete(path):
        part = Store(path)
        if all(part.meta.get(key) == value for key, value in source.items()):
            return len(part["labels"]), False
    parse, line_error = _parser()
    with StoreWriter(path, source) as writer:
        labels = writer.appender("labels", np.uint8)
        integers = writer.appender("integers", np.float32, (NUM_INTEGERS,))
        ids = writer.appender("ids", np.int32, (NUM_CATEGORIES,))
        for text in read_lines(file.path):
            try:
                rows = parse(text)
            except line_error as error:
                raise BadLineError(
                    f"{file.path}, line {labels.rows + error.line + 1}, field {error.field + 1}: {error.problem}; "
                    f"got {error.text!r}"
                ) from None
            labels.append(rows.labels)
            integers.append(rows.integers)
            ids.append(rows.ids)
        return labels.rows, True


def read_lines(path: Path, block_bytes: int = _READ_BYTES) -> Iterator[np.ndarray]:
    """Yields the text of a plain or gzip file as uint8 blocks of whole lines; a last line may lack its newline.

    Raises:
      StoreError: the gzip file is cut off or damaged, or a line has no end.
    """
    rest = b""
    for block in _gunzipped(path, block_bytes) if path.suffix == ".gz" else _raw_blocks(path, block_bytes):
        end = block.rfind(b"\n") + 1
        if end:
            yield np.frombuffer(rest + block[:end], np.uint8)
            rest = block[end:]
        else:
            rest += block
            if len(rest) > max(_MAX_LINE_BYTES, block_bytes):
                raise StoreError(f"{path} is no click log: it has a line of more than {len(rest)} bytes")
    if rest:
        yield np.frombuffer(rest + b"\n", np.uint8)


def _raw_blocks(path: Path, block_bytes: int) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while block := file.read(block_bytes):
            yield block


def _gunzipped(path: Path, block_bytes: int) -> Iterator[bytes]:
    """Decompresses large blocks without the GIL; the gzip module works in small ones, which threads cannot share."""
    from isal import isal_zlib  # 2.5 times as fast as zlib

    decompressor = isal_zlib.decompressobj(wbits=_GZIP)
    try:
        for compressed in _raw_blocks(path, max(1, block_bytes // 4)):
            while compressed:
                if decompressor.eof:  # gzip files may follow each other in one file
                    decompressor = isal_zlib.decompressobj(wbits=_GZIP)
                yield decompressor.decompress(compressed, block_bytes)
                compressed = decompressor.unconsumed_tail or decompressor.unused_data
    except isal_zlib.IsalError as error:  # type: ignore[misc]  # its stub says that it is an instance
        raise StoreError(f"{path} is damaged ({error}); fetch it again") from error
    if not decompressor.eof:
        raise StoreError(f"{path} cannot be read to its end, it is cut off; fetch it again")


def _parser() -> tuple[Callable[[np.ndarray], Any], Any]:
    try:
        from workloads.criteo1tb.parser import LineError, parse
    except ImportError as error:
        raise ImportError(f"preparing click logs needs Numba ({error}); pip install 'algoperf[data]'") from error
    return parse, LineError


def _check_rows(definition: WorkloadDefinition, files: Sequence[DayFile], rows: dict[str, int]) -> None:
    last_day = definition.data.num_days - 1
    sizes = definition.splits
    required = {"training": sizes.train, "evaluation": sizes.validation + (sizes.test or 0)}
    present = dict.fromkeys(required, 0)
    for file in files:
        present["evaluation" if file.day == last_day else "training"] += rows[file.part]
    for kind, expected in required.items():
        if present[kind] != expected:
            days = f"day_{last_day}" if kind == "evaluation" else f"day_0 ... day_{last_day - 1}"
            raise StoreError(
                f"{days} have {present[kind]:,} rows, expected {expected:,}; a raw file is cut off or lacks a piece"
            )


def _assemble(path: Path, parts_dir: Path, files: Sequence[DayFile], definition: WorkloadDefinition) -> None:
    """Moves the parts into one store."""
    names: dict[str, list[str]] = {}
    for file in files:
        names.setdefault(str(file.day), []).append(file.part)
    with StoreWriter(path, {"parts": names, "generator": generator_facts(definition)}) as writer:
        adopt_parts(writer, path, [parts_dir / file.part for file in files])
