"""SentencePiece: training, sentences to pieces, pieces to sentences."""

import io
from collections.abc import Iterator, Sequence

import numpy as np
import sentencepiece

from algoperf.data import StoreError
from workloads.wmt.vocabulary import END

_SILENT = 2
# Threads add up expected counts in an order of their own, so another number of threads gives other pieces: the number
# belongs to the recipe and must not follow the machine. Two trained the vocabulary of the kept runs of wmt_mini.
_TRAINING_THREADS = 2


def train_tokenizer(lines: Iterator[str], vocab_size: int) -> bytes:
    """Returns a unigram model with full character coverage and the library's defaults otherwise.

    Raises:
      StoreError: the text is too short or too uniform for a vocabulary of this size.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            character_coverage=1.0,
            num_threads=_TRAINING_THREADS,
            minloglevel=_SILENT,
        )
    except (RuntimeError, OSError) as error:
        raise StoreError(f"cannot train a tokenizer of {vocab_size} pieces on this text: {error}") from error
    return model.getvalue()


class Tokenizer:
    """A trained model.

    Args:
      model: bytes of a SentencePiece model file, as `train_tokenizer` returns them.
      source: where they come from, for error messages.

    Raises:
      StoreError: the bytes are no SentencePiece model, or its end-of-sentence piece is not where it must be.
    """

    def __init__(self, model: bytes, source: str = "the tokenizer") -> None:
        self.model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, OSError) as error:
            raise StoreError(f"{source} is damaged ({error}); prepare the data again") from error
        if self._processor.eos_id() != END:
            raise StoreError(f"{source} has its end-of-sentence piece at {self._processor.eos_id()}, expected {END}")

    @property
    def vocab_size(self) -> int:
        return self._processor.vocab_size()

    def encode(self, sentences: Sequence[str], *, num_threads: int = 1) -> list[list[int]]:
        """Returns the pieces of each sentence, END last; an empty sentence is END alone, an unknown piece is 0."""
        pieces: list[list[int]] = self._processor.encode(list(sentences), add_eos=True, num_threads=num_threads)
        return pieces

    def decode(self, rows: np.ndarray) -> list[str]:
        """Returns the text of each row of int [n, length] tokens, as far as `first_sentence` says it goes."""
        texts: list[str] = self._processor.decode([first_sentence(row) for row in rows])
        return texts


class NumberTokenizer:
    """Stands in where no text exists (random batches): a token is the word that is its number."""

    def decode(self, rows: np.ndarray) -> list[str]:
        return [" ".join(f"t{token}" for token in first_sentence(row)) for row in rows]


def first_sentence(row: np.ndarray) -> list[int]:
    """Tokens before the first END. Without an END only the first token counts, as in AlgoPerf."""
    ends = np.flatnonzero(row == END)
    tokens: list[int] = row[: ends[0] if len(ends) else 1].tolist()
    return tokens
