"""The raw data of the mini: generated utterances in LibriSpeech's layout (FLAC files and transcripts by chapter)."""

import dataclasses
import functools
import hashlib
import json
from pathlib import Path

import numpy as np
import soundfile

from algoperf.ownership import generate_once
from algoperf.reporting import Report
from workloads.common.librispeech.definition import SpeechData, SyntheticSpeech
from workloads.common.librispeech.language import Language
from workloads.common.librispeech.synthesis import SAMPLE_RATE, SEGMENTS, Voice, draw_voice, synthesise

ROOT = "LibriSpeech"
_FIRST_SPEAKER, _FIRST_CHAPTER = 1_000, 100_000
_CHUNK = 64


def write_raw(data: SpeechData, raw_dir: Path, report: Report) -> None:
    """Generates `folder_sizes` utterances for each folder, unless the same ones lie in `raw_dir`.

    No sentence occurs twice, and no speaker occurs in two folders.

    Raises:
      ForeignFilesError: `raw_dir` holds other files.
    """
    assert data.generator is not None
    settings = json.dumps({"data": dataclasses.asdict(data), "sample": digest(data.generator)}, sort_keys=True)
    generate_once(raw_dir, settings, functools.partial(_write_all, data, raw_dir, report))


def _write_all(data: SpeechData, raw_dir: Path, report: Report) -> None:
    assert data.generator is not None
    report(f"generating {sum(data.folder_sizes):,} utterances into {raw_dir}")
    spoken: set[str] = set()
    speaker = _FIRST_SPEAKER
    for number, (folder, size) in enumerate(zip(data.folders, data.folder_sizes, strict=True)):
        config = data.generator
        language = Language(config.seed)
        sentences = language.sentences(
            size, config.min_words, config.max_words, seed=config.seed + number, excluded=spoken
        )
        spoken.update(sentences)
        rng = np.random.default_rng((config.seed, 2, number))
        speakers = config.train_speakers if folder in data.train_folders else config.eval_speakers
        voices = [draw_voice(rng) for _ in range(speakers)]
        for which, voice in enumerate(voices):
            _write_chapter(raw_dir / ROOT / folder, speaker, voice, sentences[which::speakers], data, rng)
            speaker += 1


@functools.cache
def digest(generator: SyntheticSpeech) -> str:
    """Hash of some sentences and of the sounds of the letters, so that a changed generator is noticed."""
    sentences = Language(generator.seed).sentences(50, generator.min_words, generator.max_words, 0, set())
    return hashlib.sha256(json.dumps([sentences, SEGMENTS]).encode()).hexdigest()[:16]


def _write_chapter(
    folder: Path, speaker: int, voice: Voice, sentences: list[str], data: SpeechData, rng: np.random.Generator
) -> None:
    assert data.generator is not None
    chapter = _FIRST_CHAPTER + speaker
    directory = folder / str(speaker) / str(chapter)
    directory.mkdir(parents=True)
    lines = []
    for first in range(0, len(sentences), _CHUNK):
        chunk = sentences[first : first + _CHUNK]
        noise_db = rng.uniform(*data.generator.noise_db, len(chunk))
        for number, audio in enumerate(synthesise(chunk, [voice] * len(chunk), noise_db, data.max_samples, rng), first):
            name = f"{speaker}-{chapter}-{number:04d}"
            soundfile.write(directory / f"{name}.flac", audio, SAMPLE_RATE, subtype="PCM_16")
            lines.append(f"{name} {sentences[number]}\n")
    (directory / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
