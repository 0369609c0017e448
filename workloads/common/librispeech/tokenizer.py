"""SentencePiece: training, transcripts to pieces, pieces to transcripts."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece

from algoperf.data import StoreError

BLANK = 0  # also the piece of unknown characters, which therefore must not occur
END = 2
_SILENT = 2
_TRAINING_THREADS = 16  # the library's default; part of the recipe, since another number gives other pieces


def train_tokenizer(lines: Iterable[str], vocab_size: int) -> bytes:
    """Returns a unigram model with full character coverage and the library's defaults otherwise.

    Raises:
      StoreError: the text is too short or too uniform for a vocabulary of this size.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type="unigram",
            vocab_size=vocab_size,
            character_coverage=1.0,
            num_threads=_TRAINING_THREADS,
            minloglevel=_SILENT,
        )
    except (RuntimeError, OSError) as error:
        raise StoreError(f"cannot train a tokenizer of {vocab_size} pieces on these transcripts: {error}") from error
    return model.getvalue()


class Tokenizer:
    """A trained model.

    Args:
      model: bytes of a SentencePiece model file.
      source: where they come from, for error messages.

    Raises:
      StoreError: the bytes are no SentencePiece model, or its end-of-sentence piece is not where it must be.
    """

    def __init__(self, model: bytes, source: str = "the tokenizer") -> None:
        self.model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, OSError) as error:
            raise StoreError(f"{source} is no SentencePiece model ({error})") from error
        if self._processor.eos_id() != END or self._processor.unk_id() != BLANK:
            raise StoreError(
                f"{source} has its end-of-sentence piece at {self._processor.eos_id()} and its unknown piece at "
                f"{self._processor.unk_id()}, expected {END} and {BLANK}"
            )

    @property
    def pieces(self) -> list[str]:
        return [self._processor.id_to_piece(number) for number in range(self._processor.vocab_size())]

    def encode(self, transcript: str) -> list[int]:
        """Returns the pieces of a transcript, END last; a character outside the vocabulary is BLANK."""
        pieces: list[int] = self._processor.encode(transcript, add_eos=True)
        return pieces

    def decode(self, rows: Sequence[Sequence[int]] | np.ndarray) -> list[str]:
        """Returns the text of each row of pieces; BLANK and END stand for nothing."""
        texts: list[str] = self._processor.decode([without_blanks(row) for row in rows])
        return texts


class NumberTokenizer:
    """Stands in where no text exists (random batches): a token is the word that is its number."""

    def decode(self, rows: Sequence[Sequence[int]] | np.ndarray) -> list[str]:
        return [" ".join(f"t{token}" for token in without_blanks(row) if token != END) for row in rows]


def without_blanks(row: Sequence[int] | np.ndarray) -> list[int]:
    return [int(token) for token in row if token != BLANK]
