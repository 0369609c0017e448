"""The archives of statmt.org, read as they are: the pairs, in the order, that TFDS makes of them.

The pairs of `wmt17_translate/de-en` (training) and `wmt14_translate/de-en` (evaluation), version 1.0.0, by
`translate/wmt.py` of tensorflow-datasets 4.9.10: a pair with an empty side is left out, and the others are sorted by
the hash of `<corpus>/0/<line>`.
"""

import functools
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from algoperf.data import StoreError
from algoperf.data.tfds_order import tfds_order

_SEGMENT = re.compile(r'<seg id="\d+">(.*)</seg>')
_SPLIT = re.compile(r"(?P<name>\w+)(?:\[(?P<start>\d+):(?P<stop>\d+)\])?")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Two files of one archive, of which line k of the one translates line k of the other.

    Attributes:
      name: by which TFDS calls it; part of the keys that give the order.
      members: the German and the English file; of SGML files (`.sgm`) the segments count as lines.
    """

    name: str
    archive: str
    members: tuple[str, str]


def _text(name: str, archive: str, stem: str) -> Corpus:
    return Corpus(name=name, archive=archive, members=(f"{stem}.de", f"{stem}.en"))


_SGML = ("dev/newstest2014-deen-src.de.sgm", "dev/newstest2014-deen-ref.en.sgm")
CORPORA: Mapping[str, tuple[Corpus, ...]] = {
    "train": (
        _text("europarl_v7", "training-parallel-europarl-v7.tgz", "training/europarl-v7.de-en"),
        _text("commoncrawl", "training-parallel-commoncrawl.tgz", "commoncrawl.de-en"),
        _text("newscommentary_v12", "training-parallel-nc-v12.tgz", "training/news-commentary-v12.de-en"),
        _text("rapid_2016", "rapid2016.tgz", "rapid2016.de-en"),
    ),
    "validation": (_text("newstest2013", "dev.tgz", "dev/newstest2013"),),
    "test": (Corpus(name="newstest2014", archive="dev.tgz", members=_SGML),),
}
ARCHIVES = tuple(dict.fromkeys(corpus.archive for corpora in CORPORA.values() for corpus in corpora))


def has_archives(folder: Path) -> bool:
    """Whether all archives are in `folder`."""
    return all((folder / name).is_file() for name in ARCHIVES)


class ArchivePairs:
    """Sentence pairs from the archives in a folder. A split that was opened stays in memory (training: 2 GB).

    Args:
      folder: with `ARCHIVES`.
      keys: names of the German and the English side in examples.
    """

    def __init__(self, folder: Path, keys: tuple[str, str]) -> None:
        self._folder, self._keys = folder, keys
        self._split = functools.cache(self._read_split)

    def open_split(self, split: str) -> "PairSplit":
        """Opens `train`, `validation`, `test`, or a slice such as `train[0:1000]`.

        Raises:
          StoreError: an archive is missing or damaged, or its two files have different numbers of lines.
        """
        match = _SPLIT.fullmatch(split)
        assert match is not None
        whole = self._split(match["name"])
        return whole if match["start"] is None else whole.part(int(match["start"]), int(match["stop"]))

    def _read_split(self, split: str) -> "PairSplit":
        corpora = [_read_corpus(self._folder, corpus) for corpus in CORPORA[split]]
        keys = (f"{corpus.name}/0/{line}" for corpus in corpora for line in corpus.lines)
        order = tfds_order(split, keys)
        numbers = np.repeat(np.arange(len(corpora)), [len(corpus.lines) for corpus in corpora])
        rows = np.concatenate([np.arange(len(corpus.lines)) for corpus in corpora])
        return PairSplit(self._keys, corpora, numbers[order], rows[order])


@dataclass(frozen=True, kw_only=True)
class CorpusText:
    """A corpus in memory.

    Attributes:
      texts: the bytes of both files.
      bounds: int64 [pairs, 2, 2]: of each pair and side, where it starts and ends.
      lines: int64 [pairs]: their line numbers, from 0.
    """

    name: str
    path: Path
    texts: tuple[bytes, bytes]
    bounds: np.ndarray
    lines: np.ndarray


class PairSplit:
    """Some pairs in order. An example has the bytes of both sides, by the keys."""

    def __init__(self, keys: tuple[str, str], corpora: list[CorpusText], numbers: np.ndarray, rows: np.ndarray) -> None:
        self._keys, self._corpora, self._numbers, self._rows = keys, corpora, numbers, rows

    def part(self, start: int, stop: int) -> "PairSplit":
        return PairSplit(self._keys, self._corpora, self._numbers[start:stop], self._rows[start:stop])

    def __len__(self) -> int:
        return len(self._rows)

    def located(self) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Yields where a pair comes from (for messages), and the pair."""
        for number, row in zip(self._numbers.tolist(), self._rows.tolist(), strict=True):
            corpus = self._corpora[number]
            sides = zip(self._keys, corpus.texts, corpus.bounds[row].tolist(), strict=True)
            pair = {key: text[start:stop] for key, text, (start, stop) in sides}
            yield f"{corpus.path}, {corpus.name}, line {corpus.lines[row] + 1}", pair


def _read_corpus(folder: Path, corpus: Corpus) -> CorpusText:
    path = folder / corpus.archive
    german, english = _members(path, corpus.members)
    bounds = [_line_bounds(text) for text in (german, english)]
    if len(bounds[0]) != len(bounds[1]):
        raise StoreError(
            f"{path}: {corpus.members[0]} has {len(bounds[0])} lines, {corpus.members[1]} has {len(bounds[1])}; "
            "fetch it again"
        )
    both = np.stack(bounds, axis=1)
    lines = np.flatnonzero((both[:, :, 0] < both[:, :, 1]).all(axis=1))
    return CorpusText(name=corpus.name, path=path, texts=(german, english), bounds=both[lines], lines=lines)


def _line_bounds(text: bytes) -> np.ndarray:
    """Start and end of each line, int64 [lines, 2]; what follows the last newline is a line too."""
    newlines = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    return np.stack([np.append(0, newlines + 1), np.append(newlines, len(text))], axis=1)


def _members(path: Path, names: tuple[str, str]) -> list[bytes]:
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).as_posix()
                file = archive.extractfile(member) if name in names else None
                if file is not None:
                    contents[name] = _segments(file.read()) if name.endswith(".sgm") else file.read()
                if len(contents) == len(names):
                    break
    except (tarfile.TarError, EOFError, zlib.error, OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} cannot be read ({error}); fetch it again") from error
    missing = [name for name in names if name not in contents]
    if missing:
        raise StoreError(f"{path} has no file {missing[0]}; fetch it again")
    return [contents[name] for name in names]


def _segments(sgml: bytes) -> bytes:
    """The segments of an SGML file, one a line. The files are no valid XML."""
    lines = sgml.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    matches = (_SEGMENT.match(line) for line in lines)
    return "\n".join(match[1] for match in matches if match).encode()
