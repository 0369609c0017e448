"""LibriSpeech to a prepared store: archives, folders of FLAC files, or what AlgoPerf's setup made of them.

The mini's generated utterances go the same way as the folders.

The store holds the tokenizer (`tokenizer` uint8) and its parts (`algoperf.data.shards`), each with some utterances of
a folder: `audio` int16 and `tokens` int16, all utterances one after the other, `sample_starts` and `token_starts` int64
[utterances + 1], `names` bytes [utterances], and `left_out` int64 [reasons].

Left out, as in AlgoPerf: transcripts without a file, transcripts over `max_characters`, audio over `max_samples`; also
targets over `max_tokens`, of which the real dataset has none.
"""

import functools
import hashlib
import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from algoperf.data import Store, StoreError, StoreWriter
from algoperf.data.places import first_folder, new_store_dir, raw_dir
from algoperf.data.recipe import RECIPE
from algoperf.data.shards import adopt_parts, staging_dir, write_part
from algoperf.definition import Split, WorkloadDefinition
from algoperf.reporting import Report
from workloads.common.librispeech import corpus
from workloads.common.librispeech.data import recipe
from workloads.common.librispeech.definition import SpeechData
from workloads.common.librispeech.features import SAMPLE_RATE
from workloads.common.librispeech.raw import ROOT, Utterance, folder_path, read_audio, read_transcripts
from workloads.common.librispeech.saved_arrays import SavedUtterance, check_tokenizer, is_saved, read_table
from workloads.common.librispeech.tokenizer import BLANK, Tokenizer, train_tokenizer

UTTERANCES_PER_PART = 1_024
GIVEN_TOKENIZER = "spm_model.vocab"  # the name that AlgoPerf gives to its SentencePiece model
REASONS = ("no audio file", "transcript too long", "audio too long", "too many tokens")
_Utterances = Sequence[Utterance] | Sequence[SavedUtterance]
_TOKENIZER_CHARACTERS = 10_000_000
_FULL_STORE_BYTES = 125_000_000_000
_MINI_STORE_BYTES = 200_000_000


def prepare(
    definition: WorkloadDefinition, data_dir: Path, *, source_dir: Path | None, num_workers: int, report: Report
) -> None:
    """Writes the store `new_store_dir(definition, data_dir)`; `num_workers` processes decode.

    Reads what `find_raw` finds; the mini generates its raw data first. A `spm_model.vocab` there is used in place of a
    new tokenizer, and is needed where AlgoPerf's setup has made pieces of the transcripts. An interrupted preparation
    continues with its next part.

    Raises:
      StoreError: raw data are missing or damaged (the message names the file), or are not those of the definition.
    """
    store_dir, data = new_store_dir(definition, data_dir), definition.data
    if data.generator is not None:
        source_dir = raw_dir(definition, data_dir)
        corpus.write_raw(data, source_dir, report)
    source_dir = find_raw(definition, source_dir or data_dir) or source_dir
    if source_dir is None or not source_dir.is_dir():
        raise StoreError(f"no raw data at {source_dir or data_dir}. {how_to_get(definition)}")
    folders = {name: _utterances(data, name, source_dir, report) for name in data.folders}
    tokenizer = _tokenizer(data, source_dir, staging_dir(store_dir), folders, report)
    num_parts = {name: -(-len(present) // UTTERANCES_PER_PART) for name, present in folders.items()}
    paths = _write_parts(store_dir, folders, tokenizer, data, num_workers, report)
    left_out = {name: _left_out(paths[name]) for name in folders}
    for name, reasons in left_out.items():
        report(f"{name}: left out {', '.join(f'{count} ({reason})' for reason, count in reasons.items()) or 'nothing'}")
    _check_sizes(definition, paths)
    meta = {"format": "librispeech", RECIPE: recipe(definition), "num_parts": num_parts, "left_out": left_out}
    with StoreWriter(store_dir, meta) as writer:
        writer.add("tokenizer", np.frombuffer(tokenizer.model, np.uint8))
        adopt_parts(writer, store_dir, [path for parts in paths.values() for path in parts])


def how_to_get(definition: WorkloadDefinition) -> str:
    """Returns instructions for people."""
    data: SpeechData = definition.data
    if data.generator is not None:
        return f"generated on demand: python -m algoperf.prepare {definition.name} --data_dir=DATA_DIR"
    archives = ", ".join(f"{name}.tar.gz" for name in data.folders)
    return (
        f"LibriSpeech comes from https://www.openslr.org/12 (61 GB: {archives}). python -m algoperf.prepare "
        f"{definition.name} --download --accept_licenses --data_dir=DATA_DIR downloads and prepares it. Or put the "
        "archives, or the folder LibriSpeech that they unpack to, into one directory and add "
        "--source_dir=THAT_DIRECTORY. The prepared copy takes "
        f"{_FULL_STORE_BYTES / 1e9:.0f} GB. A SentencePiece model in that directory, called {GIVEN_TOKENIZER}, is used "
        "as the tokenizer; otherwise one is trained."
    )


def find_raw(definition: WorkloadDefinition, folder: Path) -> Path | None:
    """See `algoperf.data.source.PrepareModule`."""
    name = definition.data.folders[0]

    def holds(root: Path) -> bool:
        return any((root / form).exists() for form in (f"{ROOT}/{name}", name, f"{name}.tar.gz"))

    return first_folder(folder, (f"{definition.dataset}_raw", "librispeech"), holds)


def required_bytes(definition: WorkloadDefinition) -> int:
    """Disk space that preparation takes beside the raw data (those of a mini included)."""
    return _FULL_STORE_BYTES if definition.data.generator is None else _MINI_STORE_BYTES


def _utterances(data: SpeechData, name: str, source_dir: Path, report: Report) -> _Utterances:
    if is_saved(source_dir, name):
        return read_table(source_dir, name)
    folder = folder_path(source_dir, name, report)
    present = read_transcripts(folder)
    expected = dict(zip(data.folders, data.folder_sizes, strict=True))[name]
    if len(present) != expected:
        raise StoreError(f"{folder} should have {expected} utterances, found {len(present)}; extract {name} again")
    return present


def _tokenizer(
    data: SpeechData, source_dir: Path, work_dir: Path, folders: Mapping[str, _Utterances], report: Report
) -> Tokenizer:
    """The given tokenizer, the one of an interrupted preparation of the same transcripts, or a new one."""
    given = source_dir / GIVEN_TOKENIZER
    if given.is_file():
        report(f"using the tokenizer {given}")
        tokenizer = Tokenizer(given.read_bytes(), str(given))
        if len(tokenizer.pieces) != data.vocab_size:
            raise StoreError(f"{given} has {len(tokenizer.pieces)} pieces, expected {data.vocab_size}")
        for utterances in folders.values():
            if saved := [utterance for utterance in utterances if isinstance(utterance, SavedUtterance)]:
                check_tokenizer(saved, tokenizer, given)
        return tokenizer
    lines = list(_first_characters(folders[data.tokenizer_folder], _TOKENIZER_CHARACTERS, given))
    digest = hashlib.sha256(json.dumps([data.vocab_size, lines]).encode()).hexdigest()[:16]
    path = work_dir / f"tokenizer-{digest}.model"
    if not path.exists():
        report(f"training a tokenizer of {data.vocab_size} pieces on {len(lines):,} transcripts")
        work_dir.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        try:
            partial.write_bytes(train_tokenizer(lines, data.vocab_size))
        except StoreError as error:
            raise StoreError(f"{source_dir}: {error}") from error
        partial.rename(path)
    return Tokenizer(path.read_bytes(), str(path))


def _first_characters(utterances: _Utterances, limit: int, model: Path) -> Iterator[str]:
    taken = 0
    for utterance in utterances:
        if isinstance(utterance, SavedUtterance):
            raise StoreError(f"{utterance.folder} holds pieces in place of transcripts, and {model} is missing")
        taken += len(utterance.transcript)
        if taken > limit:
            return
        yield utterance.transcript


def _write_parts(
    store_dir: Path,
    folders: Mapping[str, _Utterances],
    tokenizer: Tokenizer,
    data: SpeechData,
    num_workers: int,
    report: Report,
) -> dict[str, list[Path]]:
    """Writes what is missing of all parts, and returns their paths by folder."""
    started, num_samples = time.monotonic(), 0
    total = sum(map(len, folders.values()))
    done = 0
    with _executor(num_workers) as pool:
        futures: dict[str, list[Future[Path]]] = {name: [] for name in folders}
        for name, utterances in folders.items():
            for number, first in enumerate(range(0, len(utterances), UTTERANCES_PER_PART)):
                chosen = utterances[first : first + UTTERANCES_PER_PART]
                futures[name].append(pool.submit(_part, store_dir, name, number, chosen, tokenizer.model, data))
        paths: dict[str, list[Path]] = {name: [] for name in folders}
        try:
            for name, pending in futures.items():
                for future in pending:
                    path = future.result()
                    paths[name].append(path)
                    part = Store(path)
                    num_samples += int(part["sample_starts"][-1])
                    done += len(part["names"]) + int(part["left_out"].sum())
                    rate = num_samples / SAMPLE_RATE / (time.monotonic() - started)
                    report(f"{name}: {done:,} of {total:,} utterances, {rate:,.0f} s of audio per second")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return paths


def _executor(num_workers: int) -> Executor:
    if num_workers <= 1:
        return ThreadPoolExecutor(1)
    return ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn"))


def _part(store_dir: Path, folder: str, number: int, utterances: _Utterances, model: bytes, data: SpeechData) -> Path:
    """Runs in a worker process."""
    contents = [[utterance.name, getattr(utterance, "transcript", None)] for utterance in utterances]
    limits = [data.max_characters, data.max_samples, data.max_tokens, model.hex()]
    meta = {"utterances": hashlib.sha256(json.dumps([contents, limits]).encode()).hexdigest()}
    write = functools.partial(_write_utterances, utterances, Tokenizer(model), data)
    return write_part(store_dir, folder, number, meta, write)


def _write_utterances(utterances: _Utterances, tokenizer: Tokenizer, data: SpeechData, writer: StoreWriter) -> None:
    audio, tokens = writer.appender("audio", np.int16), writer.appender("tokens", np.int16)
    sample_starts, token_starts, names = [0], [0], []
    left_out = dict.fromkeys(REASONS, 0)
    for utterance in utterances:
        example = _example(utterance, tokenizer, data)
        if isinstance(example, str):
            left_out[example] += 1
            continue
        audio.append(example[0])
        tokens.append(example[1])
        sample_starts.append(audio.rows)
        token_starts.append(tokens.rows)
        names.append(utterance.name.encode())
    writer.add("sample_starts", np.array(sample_starts, np.int64))
    writer.add("token_starts", np.array(token_starts, np.int64))
    writer.add("names", np.array(names, "S"))
    writer.add("left_out", np.array(list(left_out.values()), np.int64))


def _example(
    utterance: Utterance | SavedUtterance, tokenizer: Tokenizer, data: SpeechData
) -> tuple[np.ndarray, np.ndarray] | str:
    """Audio and tokens, both int16, or the reason why the utterance is left out."""
    if isinstance(utterance, SavedUtterance):
        audio, pieces = utterance.audio(), utterance.pieces(data.vocab_size)
        if len(audio) > data.max_samples:
            return "audio too long"
        return (audio, pieces) if len(pieces) <= data.max_tokens else "too many tokens"
    if not utterance.audio.is_file():
        return "no audio file"
    if len(utterance.transcript) > data.max_characters:
        return "transcript too long"
    audio = read_audio(utterance.audio)
    if len(audio) > data.max_samples:
        return "audio too long"
    tokens = tokenizer.encode(utterance.transcript)
    if BLANK in tokens:
        unknown = sorted({character for character in utterance.transcript if BLANK in tokenizer.encode(character)})
        raise StoreError(
            f"the transcript of {utterance.audio} has characters that the tokenizer does not know: {''.join(unknown)!r}"
        )
    if len(tokens) > data.max_tokens:
        return "too many tokens"
    return audio, np.array(tokens, np.int16)


def _left_out(parts: list[Path]) -> dict[str, int]:
    counts = np.sum([Store(path)["left_out"] for path in parts], axis=0)
    return {reason: int(count) for reason, count in zip(REASONS, counts, strict=True) if count}


def _check_sizes(definition: WorkloadDefinition, paths: dict[str, list[Path]]) -> None:
    data = definition.data
    for split, folders in (
        (Split.TRAIN, data.train_folders),
        (Split.VALIDATION, data.validation_folders),
        (Split.TEST, data.test_folders),
    ):
        present = sum(len(Store(path)["names"]) for name in folders for path in paths[name])
        if present != definition.splits[split]:
            raise StoreError(
                f"{', '.join(folders)} should give {definition.splits[split]} utterances for {split}, found {present}"
            )
