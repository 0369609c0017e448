"""A small generated corpus, and a fixture in the layout of the real one."""

import dataclasses

import pytest

from algoperf.definition import SplitSizes
from algoperf.prepare import prepare_dataset
from workloads.finewebedu_lm.definition import BASE, MINI
from workloads.finewebedu_lm.raw import write_documents
from workloads.finewebedu_lm.stories import documents
from workloads.finewebedu_lm.vocabulary import MERGES_FILE, train_vocabulary

NUM_TOKENS = 320
MODEL = dataclasses.replace(BASE.checks.small_model, vocab_size=NUM_TOKENS)


@pytest.fixture(scope="session")
def tiny_mini():
    """The mini with few documents and its test-size model."""
    sizes = SplitSizes(train=600, eval_train=40, validation=50, test=None)
    return dataclasses.replace(MINI.shrunk(), splits=sizes, model=MODEL)


@pytest.fixture(scope="session")
def mini_dir(tiny_mini, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("mini")
    prepare_dataset(tiny_mini, data_dir, report=lambda message: None, num_workers=1)
    return data_dir


@pytest.fixture(scope="session")
def texts(tiny_mini):
    """Documents of the fixture, with an empty one, a missing one and one that is there twice."""
    generator = dataclasses.replace(tiny_mini.data.generator, train_documents=150)
    written = [document for document, _ in documents(generator, held_out=False, share=0.0)]
    return [*written[:40], "", None, *written[40:], written[7], "Ærøskøbing – naïve 🙂\n\n\ttabs, 12345 numbers"]


@pytest.fixture(scope="session")
def vocabulary(texts):
    return train_vocabulary([text for text in texts if text], NUM_TOKENS)


@pytest.fixture(scope="session")
def real_lm(vocabulary):
    """The full workload, whose raw data are not generated, with the sizes and the vocabulary of the fixture."""
    data = dataclasses.replace(BASE.data, held_out_share=0.1, vocabulary=vocabulary.digest())
    sizes = SplitSizes(train=1_000, eval_train=30, validation=40, test=None)
    return dataclasses.replace(BASE.shrunk(), splits=sizes, model=MODEL, data=data)


@pytest.fixture(scope="session")
def raw_files(texts, vocabulary):
    """Writes the documents as two Parquet files, with the vocabulary, into a folder."""

    def write(folder):
        write_documents(folder / "000_00000.parquet", texts[:90], rows_per_group=16)
        write_documents(folder / "001_00000.parquet", texts[90:], rows_per_group=16)
        (folder / MERGES_FILE).write_text(vocabulary.text())
        return folder

    return write


@pytest.fixture(scope="session")
def raw_folder(raw_files, tmp_path_factory):
    return raw_files(tmp_path_factory.mktemp("parquet"))


@pytest.fixture(scope="session")
def real_dir(real_lm, raw_folder, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("real")
    prepare_dataset(real_lm, data_dir, source_dir=raw_folder, report=lambda message: None, num_workers=1)
    return data_dir
