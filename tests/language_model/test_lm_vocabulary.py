"""Byte-level BPE: any text comes back, all forms of a vocabulary give the same one."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.data import StoreError
from workloads.finewebedu_lm.vocabulary import Encoder, Vocabulary, byte_characters, find_vocabulary, train_vocabulary


def test_numbers_are_those_of_gpt2():
    """The order of the bytes in GPT-2's vocabulary: printable ones first, " " is 220 and a line break 198."""
    numbers = Vocabulary(merges=()).numbers
    assert [numbers[character] for character in ("!", "~", "¡", "ÿ", "Ġ", "Ċ")] == [0, 93, 94, 187, 220, 198]
    assert byte_characters()[ord(" ")] == "Ġ"


def test_merges_are_applied_in_their_order_within_words():
    vocabulary = Vocabulary(merges=(("l", "o"), ("Ġ", "lo"), ("lo", "lo")))
    tokens = Encoder(vocabulary).encode("lolo lol")
    assert [vocabulary.numbers.get("lolo"), vocabulary.numbers["Ġlo"], vocabulary.numbers["l"], 259] == tokens
    assert (vocabulary.size, vocabulary.end_of_text) == (260, 259)


@given(st.text())
def test_any_text_comes_back(text):
    vocabulary = Vocabulary(merges=(("a", "b"), ("Ġ", "ab"), ("Ã", "©")))
    encoder = Encoder(vocabulary)
    tokens = encoder.encode(text)
    assert tokens[-1] == vocabulary.end_of_text
    assert encoder.decode(tokens[:-1]) == text


def test_the_name_of_the_end_of_a_document_is_plain_text_within_one():
    encoder = Encoder(Vocabulary(merges=()))
    assert encoder.encode("<|endoftext|>").count(256) == 1


def test_every_form_of_a_vocabulary_gives_the_same_one(vocabulary, tmp_path):
    merges = [" ".join(pair) for pair in vocabulary.merges]
    bytes_of = {character: bytes([byte]) for byte, character in byte_characters().items()}
    ranks = "\n".join(
        f"{base64.b64encode(b''.join(bytes_of[c] for c in token)).decode()} {number}"
        for token, number in vocabulary.numbers.items()
    )
    forms = {
        "vocab.bpe": vocabulary.text(),
        "merges.txt": "\n".join(merges),
        "tokenizer.json": json.dumps({"model": {"merges": merges}}),
        "gpt2.tiktoken": ranks,
    }
    for name, content in forms.items():
        folder = tmp_path / name.partition(".")[0]
        folder.mkdir()
        (folder / name).write_text(content)
        assert find_vocabulary(folder).digest() == vocabulary.digest(), name


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", '{"model": {"type": "WordPiece"}}'),
        ("gpt2.tiktoken", "IQ==\n"),
        ("gpt2.tiktoken", "!!! 1\n"),
        ("vocab.bpe", "one\n"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(StoreError, match=rf"{name} is not a byte-level BPE vocabulary .*; fetch it again") as error:
        find_vocabulary(tmp_path)
    assert "\n" not in str(error.value)


def test_text_too_short_for_a_vocabulary_is_refused():
    with pytest.raises(StoreError, match="expected a vocabulary of 400 tokens, this text gives 2"):
        train_vocabulary(["a short text"], 400)
