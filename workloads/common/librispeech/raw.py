"""LibriSpeech's raw layout: archives, folders of chapters, transcripts, FLAC files."""

import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import scipy.signal
import soundfile

from algoperf.data import StoreError
from algoperf.data.disk_space import require_free_bytes, written_bytes
from algoperf.ownership import remove_folder
from algoperf.reporting import Report
from workloads.common.librispeech.features import SAMPLE_RATE

ROOT = "LibriSpeech"
_UNKNOWN_LENGTH = 2**62  # what the decoder reports for a stream whose header leaves the length open
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One line of a transcript.

    Attributes:
      name: speaker, chapter and number, joined by hyphens.
      transcript: not empty.
      audio: FLAC file, which may be missing.
    """

    name: str
    transcript: str
    audio: Path


def folder_path(source_dir: Path, name: str, report: Report) -> Path:
    """Returns the folder called `name` below `source_dir`, extracted from its archive on first use.

    Raises:
      StoreError: neither is there, or the archive is damaged.
    """
    for candidate in (source_dir / ROOT / name, source_dir / name):
        if candidate.is_dir():
            return candidate
    archive = source_dir / f"{name}.tar.gz"
    if not archive.is_file():
        raise StoreError(f"{source_dir} has neither a folder {ROOT}/{name} nor an archive {archive.name}")
    report(f"extracting {archive}")
    partial = source_dir / f".{name}.partial"
    # What an interrupted run has extracted is extracted over: the archive's files alone have these names.
    require_free_bytes(
        source_dir,
        max(0, archive.stat().st_size - written_bytes([partial])),
        task=f"extracting {archive}",
        remedy="free some, or extract it elsewhere and give that folder as --source_dir",
    )
    try:
        with tarfile.open(archive, "r:gz") as file:
            file.extractall(partial, filter="data")
            extracted = {PurePosixPath(member).as_posix() for member in file.getnames()}
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise StoreError(f"cannot extract {archive} ({error}); download it again") from error
    if not (partial / ROOT / name).is_dir():
        raise StoreError(f"{archive} does not hold a folder {ROOT}/{name}")
    (source_dir / ROOT).mkdir(exist_ok=True)
    (partial / ROOT / name).rename(source_dir / ROOT / name)
    remove_folder(partial, extracted.__contains__)
    return source_dir / ROOT / name


def read_transcripts(folder: Path) -> list[Utterance]:
    """Returns every utterance below `folder` (speaker/chapter/), sorted by speaker, chapter and number.

    Raises:
      StoreError: a chapter has no transcripts, a line is not as it should be or names an utterance again, or a FLAC
        file has no line.
    """
    utterances: list[Utterance] = []
    for chapter in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        utterances += _read_chapter(chapter)
    if not utterances:
        raise StoreError(f"no transcripts under {folder}; expected <speaker>/<chapter>/<speaker>-<chapter>.trans.txt")
    return utterances


def _read_chapter(chapter: Path) -> list[Utterance]:
    path = chapter / f"{chapter.parent.name}-{chapter.name}.trans.txt"
    recorded = {file.stem for file in chapter.glob("*.flac")}
    if not path.is_file():
        if not recorded:
            return []
        raise StoreError(f"{chapter} has {len(recorded)} FLAC files and no {path.name}")
    transcripts = _read_lines(path)
    unheard = recorded - {*transcripts}
    if unheard:
        raise StoreError(f"{path} has no transcript of {min(unheard)}.flac ({len(unheard)} such files)")
    return [
        Utterance(name=name, transcript=transcripts[name], audio=chapter / f"{name}.flac")
        for name in sorted(transcripts)
    ]


def _read_lines(path: Path) -> dict[str, str]:
    """The transcripts by name."""
    transcripts: dict[str, str] = {}
    prefix = path.name.removesuffix(".trans.txt") + "-"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (UnicodeDecodeError, OSError) as error:
        raise StoreError(f"{path} is no UTF-8 text ({error}); extract it again") from error
    for number, line in enumerate(lines, 1):
        name, _, transcript = line.strip().partition(" ")
        if not name:
            continue
        if not name.startswith(prefix) or not line.isprintable():  # tabs, byte order marks
            raise StoreError(
                f"{path}, line {number}: expected {prefix}<number>, a space and plain text, got {line[:40]!r}; "
                "extract it again"
            )
        if name in transcripts:
            raise StoreError(f"{path}, line {number}: {name} is there twice; extract it again")
        if not transcript.strip():
            raise StoreError(f"{path}, line {number}: the transcript of {name} is empty")
        transcripts[name] = transcript.strip()
    return transcripts


def read_audio(path: Path) -> np.ndarray:
    """Returns int16 [samples] at 16 kHz. Channels are averaged and other rates resampled; clipped audio stays as it is.

    Raises:
      StoreError: the file cannot be decoded, or has no samples.
    """
    try:
        announced = soundfile.info(path).frames
        if announced >= _UNKNOWN_LENGTH:
            raise StoreError(f"{path} does not say how many samples it has; encode it again, or download it again")
        audio, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise StoreError(f"{path} is no readable audio ({error})") from error
    if len(audio) == 0:
        raise StoreError(f"{path} has no samples")
    if len(audio) != announced:
        raise StoreError(f"{path} should have {announced} samples, found {len(audio)}; extract it again")
    if audio.shape[1] == 1 and rate == SAMPLE_RATE:
        mono: np.ndarray = audio[:, 0]
        return mono
    signal = audio.astype(np.float64).mean(axis=1)
    if rate != SAMPLE_RATE:
        divisor = np.gcd(rate, SAMPLE_RATE)
        signal = scipy.signal.resample_poly(signal, SAMPLE_RATE // divisor, rate // divisor)
    samples: np.ndarray = np.clip(np.round(signal), _INT16.min, _INT16.max).astype(np.int16)
    return samples
