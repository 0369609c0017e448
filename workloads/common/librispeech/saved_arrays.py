"""LibriSpeech as AlgoPerf's setup leaves it: a table of utterances for each folder, audio and pieces as NumPy files.

| file | what it holds |
|---|---|
| `<folder>.csv` | a header, then for each utterance its number and its name |
| `<folder>/<name>_audio.npy` | integers [samples], the 16-bit samples at 16 kHz |
| `<folder>/<name>_targets.npy` | integers [pieces], those of the transcript and the end-of-sentence piece |
| `spm_model.vocab` | the SentencePiece model of the pieces |

Utterances that the workload leaves out are not there.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.data import StoreError
from workloads.common.librispeech.tokenizer import BLANK, END, Tokenizer

_INT16 = np.iinfo(np.int16)
_COMPARED = 20
_SAME_SHARE = 0.9  # texts of short pieces often give the same ones by chance


@dataclass(frozen=True, kw_only=True)
class SavedUtterance:
    """Where an utterance lies. `name`: speaker, chapter and number, joined by hyphens."""

    name: str
    folder: Path

    def audio(self) -> np.ndarray:
        """Returns int16 [samples]; raises StoreError that names a missing or damaged file."""
        path = self.folder / f"{self.name}_audio.npy"
        samples = _read_integers(path)
        if len(samples) == 0:
            raise StoreError(f"{path} has no samples; save it again")
        if samples.min() < _INT16.min or samples.max() > _INT16.max:
            raise StoreError(f"{path} has sample {_farthest(samples)}, expected 16-bit samples; save it again")
        return samples.astype(np.int16)

    def pieces(self, vocab_size: int) -> np.ndarray:
        """Returns int16 [pieces], END last; raises StoreError that names a missing or damaged file."""
        path = self.folder / f"{self.name}_targets.npy"
        pieces = _read_integers(path)
        if len(pieces) == 0 or pieces[-1] != END:
            raise StoreError(f"{path} does not end with the end-of-sentence piece {END}; save it again")
        bad = pieces[(pieces <= BLANK) | (pieces >= vocab_size)]
        if len(bad):
            raise StoreError(f"{path} has piece {bad[0]}, expected 1 to {vocab_size - 1}; save it again")
        return pieces.astype(np.int16)


def is_saved(source_dir: Path, name: str) -> bool:
    """Whether the folder called `name` lies in `source_dir` in this form."""
    return (source_dir / f"{name}.csv").is_file() and (source_dir / name).is_dir()


def read_table(source_dir: Path, name: str) -> list[SavedUtterance]:
    """Returns the utterances of a folder, sorted by speaker, chapter and number.

    Raises:
      StoreError: the table is damaged or names an utterance twice.
    """
    path = source_dir / f"{name}.csv"
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise StoreError(f"{path} is no table in UTF-8 ({error}); save it again") from error
    names: dict[str, int] = {}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2 or row[1].count("-") != 2:
            raise StoreError(f"{path}, line {number}: expected a number and <speaker>-<chapter>-<number>, got {row}")
        if row[1] in names:
            raise StoreError(f"{path}, line {number}: {row[1]} is there twice, first in line {names[row[1]]}")
        names[row[1]] = number
    if not names:
        raise StoreError(f"{path} names no utterance; save it again")
    return [
        SavedUtterance(name=utterance, folder=source_dir / name)
        for utterance in sorted(names, key=lambda utterance: (*utterance.split("-")[:2], utterance))
    ]


def check_tokenizer(utterances: list[SavedUtterance], tokenizer: Tokenizer, source: Path) -> None:
    """Returns if the saved pieces are those of `tokenizer`: the texts of some of them give the same pieces again.

    Raises:
      StoreError: they are not.
    """
    chosen = utterances[:: max(1, len(utterances) // _COMPARED)]
    saved = [utterance.pieces(len(tokenizer.pieces)).tolist() for utterance in chosen]
    same = sum(tokenizer.encode(text) == pieces for text, pieces in zip(tokenizer.decode(saved), saved, strict=True))
    if same < _SAME_SHARE * len(saved):
        raise StoreError(
            f"the pieces in {chosen[0].folder} are not those of {source}: the texts of {len(saved) - same} of "
            f"{len(saved)} utterances have others; put the SentencePiece model there with which they were saved"
        )


def _read_integers(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except Exception as error:  # NumPy reports a damaged header by exceptions of many types
        reason = str(error).splitlines()[0] if str(error) else "it is empty"
        raise StoreError(f"{path} is missing or no NumPy file ({reason}); save it again") from error
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype.kind not in "iu":
        description = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "an archive"
        raise StoreError(f"{path} should hold whole numbers along one axis, got {description}; save it again")
    return array


def _farthest(samples: np.ndarray) -> int:
    return int(samples.max() if samples.max() > _INT16.max else samples.min())
