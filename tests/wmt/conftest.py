"""A small generated corpus, and a fixture in the layout of the real one."""

import dataclasses

import pytest

from algoperf.data.tfds_source import write_tfds_dataset
from algoperf.definition import SplitSizes
from algoperf.prepare import prepare_dataset
from workloads.wmt.definition import MINI, WMT
from workloads.wmt.language_pair import LanguagePair

# Long enough for nearly all sentences in the short pieces of a small vocabulary.
_MODEL = dataclasses.replace(WMT.checks.small_model, vocab_size=256, max_length=96)
REAL_SIZES = SplitSizes(train=600, eval_train=32, validation=25, test=21)


@pytest.fixture(scope="session")
def tiny_mini():
    """The mini with fewer sentences and its test-size model."""
    sizes = SplitSizes(train=900, eval_train=40, validation=30, test=20)
    return dataclasses.replace(MINI.shrunk(), splits=sizes, model=_MODEL)


@pytest.fixture(scope="session")
def mini_dir(tiny_mini, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("mini")
    prepare_dataset(tiny_mini, data_dir, report=lambda message: None)
    return data_dir


@pytest.fixture(scope="session")
def real_wmt():
    """The full workload, whose raw data are not generated, with the sizes of the fixture."""
    return dataclasses.replace(WMT.shrunk(), splits=REAL_SIZES, model=_MODEL)


@pytest.fixture(scope="session")
def real_pairs():
    """Sentence pairs of the fixture by split, with an empty and a very long one in training."""
    pair = LanguagePair(3)
    pairs = {
        split: list(pair.sentences(split, REAL_SIZES[split], held_out=False))
        for split in ("train", "validation", "test")
    }
    pairs["train"][5] = ("", "Nothing was said.")
    pairs["train"][6] = ("wort " * 500, "word " * 500)
    return pairs


@pytest.fixture(scope="session")
def real_raw_dir(real_pairs, tmp_path_factory):
    """WMT17 and WMT14 German-English as TFDS lays them out."""
    directory = tmp_path_factory.mktemp("tfds")
    for name, splits in (("wmt17_translate", ("train",)), ("wmt14_translate", ("validation", "test"))):
        write_tfds_dataset(
            directory,
            name,
            "1.0.0",
            lambda features: {"de": features.Text(), "en": features.Text()},
            {split: [{"de": source, "en": target} for source, target in real_pairs[split]] for split in splits},
            config="de-en",
        )
    return directory


@pytest.fixture(scope="session")
def real_dir(real_wmt, real_raw_dir, tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("real")
    prepare_dataset(real_wmt, data_dir, source_dir=real_raw_dir, report=lambda message: None)
    return data_dir
