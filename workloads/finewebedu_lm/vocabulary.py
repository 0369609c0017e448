"""Byte-level BPE as in GPT-2: reading a vocabulary, training a small one, and text to tokens.

A vocabulary is its list of merges. Token numbers follow from it: the 256 bytes in GPT-2's order, what the merges make
in their order, and last the token that ends a document.
"""

import base64
import binascii
import functools
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.data import StoreError

MERGES_FILE = "vocab.bpe"
END_OF_TEXT = "<|endoftext|>"
_HEADER = "#version: 0.2"
_SOURCES = (MERGES_FILE, "merges.txt", "tokenizer.json", "gpt2.tiktoken")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """Merges of pairs of tokens, in the order in which they are applied; GPT-2's characters stand for bytes."""

    merges: tuple[tuple[str, str], ...]

    @functools.cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each token, without the one that ends a document."""
        numbers = {character: number for number, character in enumerate(byte_characters().values())}
        for first, second in self.merges:
            numbers.setdefault(first + second, len(numbers))
        return numbers

    @property
    def end_of_text(self) -> int:
        return len(self.numbers)

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.numbers) + 1

    def text(self) -> str:
        """The merges as a `vocab.bpe` file."""
        return "\n".join([_HEADER, *(" ".join(pair) for pair in self.merges), ""])

    def digest(self) -> str:
        """SHA-256 of `text`; GPT-2's is that of the file `vocab.bpe` that OpenAI published with it."""
        return hashlib.sha256(self.text().encode()).hexdigest()


class Encoder:
    """Turns documents into tokens of a vocabulary, in this thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        self._end_of_text = vocabulary.end_of_text
        self._tokenizer = Tokenizer(models.BPE(vocab=vocabulary.numbers, merges=list(vocabulary.merges)))
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._tokenizer.decoder = decoders.ByteLevel()

    def encode(self, document: str) -> list[int]:
        """Returns the tokens of `document` and the one that ends it."""
        tokens: list[int] = self._tokenizer.encode(document).ids
        return [*tokens, self._end_of_text]

    def decode(self, tokens: Sequence[int]) -> str:
        """Returns the text of `tokens`; the end of a document is `END_OF_TEXT`."""
        documents: list[list[int]] = [[]]
        for token in map(int, tokens):
            documents.append([]) if token == self._end_of_text else documents[-1].append(token)
        return END_OF_TEXT.join(self._tokenizer.decode(document) for document in documents)


def train_vocabulary(documents: Iterable[str], size: int) -> Vocabulary:
    """Returns a vocabulary of `size` tokens with the merges that are most frequent in `documents`.

    Raises:
      StoreError: the text is too short or too uniform for so many tokens.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    vocabulary = Vocabulary(merges=_merges_of_json(json.loads(tokenizer.to_str())))
    if vocabulary.size != size:
        raise StoreError(f"expected a vocabulary of {size} tokens, this text gives {vocabulary.size}; use more text")
    return vocabulary


def find_vocabulary(folder: Path) -> Vocabulary:
    """Reads the vocabulary in `folder`: `vocab.bpe` or `merges.txt`, `tokenizer.json`, or `gpt2.tiktoken`.

    Raises:
      StoreError: there is none, or it is not a byte-level BPE.
    """
    path = next((folder / name for name in _SOURCES if (folder / name).is_file()), None)
    if path is None:
        raise StoreError(f"{folder} has no vocabulary; put GPT-2's there as one of {', '.join(_SOURCES)}")
    read = {".json": _read_json, ".tiktoken": _read_ranks}.get(path.suffix, _read_merges)
    try:
        return Vocabulary(merges=read(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is not a byte-level BPE vocabulary ({error}); fetch it again") from error


def check_vocabulary(vocabulary: Vocabulary, size: int, digest: str | None, origin: Path) -> None:
    """Returns if the vocabulary is the one that is needed.

    Args:
      digest: None means that any of the `size` will do.

    Raises:
      StoreError: it is another one.
    """
    if vocabulary.size != size:
        raise StoreError(f"the vocabulary in {origin} has {vocabulary.size:,} tokens, expected {size:,} with the last")
    if digest is not None and vocabulary.digest() != digest:
        raise StoreError(
            f"the merges of the vocabulary in {origin} have digest {vocabulary.digest()[:12]}, expected {digest[:12]}: "
            "it is of the right size but of another tokenizer; fetch GPT-2's"
        )


@functools.cache
def byte_characters() -> dict[int, str]:
    """A printable character for each byte, itself or one above 255, in the order of GPT-2's tokens."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = sorted(set(range(256)) - set(printable))
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}


def _read_merges(text: str) -> tuple[tuple[str, str], ...]:
    lines = text.splitlines()
    return tuple(_pair(line) for line in lines[lines[:1] == [_HEADER] :] if line)


def _pair(line: str) -> tuple[str, str]:
    first, second = line.split(" ")
    return first, second


def _read_json(text: str) -> tuple[tuple[str, str], ...]:
    return _merges_of_json(json.loads(text))


def _merges_of_json(content: Any) -> tuple[tuple[str, str], ...]:
    merges = content["model"]["merges"]
    return tuple(_pair(merge) if isinstance(merge, str) else (merge[0], merge[1]) for merge in merges)


def _read_ranks(text: str) -> tuple[tuple[str, str], ...]:
    """Merges from lines of a token in base 64 and its number: a token's parts are those that earlier merges leave."""
    try:
        tokens = {
            base64.b64decode(token, validate=True): int(rank) for token, rank in map(str.split, text.splitlines())
        }
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    characters = byte_characters()
    return tuple(
        (_printable(first, characters), _printable(second, characters))
        for first, second in (
            _parts(token, tokens) for token in sorted(tokens, key=tokens.__getitem__) if len(token) > 1
        )
    )


def _parts(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    parts = [token[index : index + 1] for index in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(first + second, len(ranks)) for first, second in itertools.pairwise(parts)]
        index = pairs.index(min(pairs))
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    first, second = parts
    return first, second


def _printable(part: bytes, characters: dict[int, str]) -> str:
    return "".join(characters[byte] for byte in part)
