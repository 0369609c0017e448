"""The archives of statmt.org give what TFDS makes of them: the same pairs in the same order."""

import dataclasses
import io
import random
import sys
import tarfile

import numpy as np
import pytest
from tfds_builders import build

from algoperf.data import StoreError
from algoperf.data.recipe import open_store
from algoperf.data.tfds_source import TfdsSplit
from algoperf.definition import SplitSizes
from algoperf.prepare import prepare_dataset
from workloads.wmt.corpora import ARCHIVES, CORPORA, ArchivePairs
from workloads.wmt.data import recipe
from workloads.wmt.language_pair import LanguagePair
from workloads.wmt.sources import SOURCES

PAIRS = {"europarl_v7": 90, "commoncrawl": 120, "newscommentary_v12": 40, "rapid_2016": 50}
EVAL_PAIRS = {"newstest2013": 30, "newstest2014": 33}


def sentences(name, count):
    """German and English lines with what real files have in them: empty sides, odd newlines, no final newline."""
    split = "train" if name in PAIRS else "test"
    pairs = list(LanguagePair(sum(name.encode())).sentences(split, count, held_out=False))
    sides = [list(side) for side in zip(*pairs, strict=True)]
    if name in PAIRS:
        sides[0][3], sides[1][7] = "", ""
        sides[0][5] += " a\rb\u2028c"
        sides[1][6] = "  spaces \t "
    return sides


def as_sgml(lines, language):
    numbered = "\n".join(f'<seg id="{number}">{line}</seg>' for number, line in enumerate(lines, 1))
    return f'<refset trglang="{language}">\r\n<doc>\n<p>\r\n{numbered}\n</p>\n</doc>\n</refset>\n'


def write_archives(folder):
    contents = {name: {} for name in ARCHIVES}
    every = [corpus for corpora in CORPORA.values() for corpus in corpora]
    # TFDS builds its other evaluation splits as well.
    others = [
        dataclasses.replace(every[-1], members=tuple(m.replace("2014", year) for m in every[-1].members))
        for year in ("2016", "2017")
    ]
    for corpus in (*every, *others):
        for member, lines in zip(
            corpus.members, sentences(corpus.name, (PAIRS | EVAL_PAIRS)[corpus.name]), strict=True
        ):
            text = as_sgml(lines, member.split(".")[-2]) if member.endswith(".sgm") else "\n".join(lines)
            text += "" if corpus.name == "rapid_2016" else "\n"
            contents[corpus.archive][member] = text.encode()
    for name, members in contents.items():
        with tarfile.open(folder / name, "w:gz") as archive:
            for member, text in [("README", b"read me"), *members.items()]:
                info = tarfile.TarInfo(f"./{member}" if name == "rapid2016.tgz" else member)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archives")
    write_archives(folder)
    return folder


@pytest.fixture(scope="module")
def built_by_tfds(archives, tmp_path_factory):
    from tensorflow_datasets.translate import wmt14, wmt17

    data_dir = tmp_path_factory.mktemp("tfds")
    train = build(wmt17.Wmt17Translate, archives, data_dir, config="de-en")
    held_out = build(wmt14.Wmt14Translate, archives_for_2014(archives, tmp_path_factory), data_dir, config="de-en")
    assert "tensorflow" not in sys.modules
    return data_dir, {"train": train, "validation": held_out, "test": held_out}


def archives_for_2014(archives, tmp_path_factory):
    """The builder of WMT14 makes its own training split, of an older news commentary, which is not compared."""
    folder = tmp_path_factory.mktemp("archives14")
    for name in ARCHIVES:
        (folder / name).symlink_to(archives / name)
    with tarfile.open(folder / "training-parallel-nc-v9.tgz", "w:gz") as archive:
        for language in ("de", "en"):
            info = tarfile.TarInfo(f"training/news-commentary-v9.de-en.{language}")
            info.size = 2
            archive.addfile(info, io.BytesIO(b"x\n"))
    return folder


@pytest.mark.parametrize("split", CORPORA)
def test_pairs_and_order_are_those_of_tfds(archives, built_by_tfds, split):
    actual = [pair for _, pair in ArchivePairs(archives, ("de", "en")).open_split(split).located()]
    expected = [dict(pair) for pair in TfdsSplit(built_by_tfds[1][split], split)]
    assert actual == expected
    assert len(actual) == (sum(PAIRS.values()) - 8 if split == "train" else EVAL_PAIRS[CORPORA[split][0].name])


def test_slices_are_those_of_the_split(archives):
    pairs = ArchivePairs(archives, ("de", "en"))
    whole = list(pairs.open_split("train").located())
    assert list(pairs.open_split("train[17:40]").located()) == whole[17:40]


def test_stores_from_archives_and_from_tfds_are_equal(archives, built_by_tfds, real_wmt, tmp_path):
    train = sum(PAIRS.values()) - 8
    sizes = SplitSizes(train=train, eval_train=32, validation=EVAL_PAIRS["newstest2013"], test=33)
    definition = dataclasses.replace(real_wmt, splits=sizes)
    stores = []
    for number, source_dir in enumerate((archives, built_by_tfds[0])):
        data_dir = tmp_path / str(number)
        prepare_dataset(definition, data_dir, source_dir=source_dir, report=lambda message: None)
        stores.append(open_store(definition, data_dir, recipe(definition)))
    assert {*stores[0]} == {*stores[1]}
    for name, array in stores[0].items():
        np.testing.assert_array_equal(array, stores[1][name], err_msg=name)


def test_what_is_downloaded_is_what_is_read():
    assert {file.name for file in SOURCES[0].files} == {*ARCHIVES}


@pytest.mark.parametrize("damage", ["cut", "flipped", "lacks a file", "lines missing", "no gzip", "bad letters"])
def test_a_damaged_archive_is_one_line_that_names_it(archives, tmp_path, real_wmt, damage):
    for name in ARCHIVES:
        (tmp_path / name).symlink_to(archives / name)
    broken = tmp_path / "training-parallel-nc-v12.tgz"
    content = bytearray(broken.read_bytes())
    broken.unlink()
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[random.Random(0).randrange(len(content) // 3, len(content) // 2)] ^= 0x55
    elif damage == "no gzip":
        content = b"<html>"
    else:
        german, english = (b"a\xff\n", b"b\n") if damage == "bad letters" else (b"a\nb\n", b"c\n")
        members = zip(CORPORA["train"][2].members, (german, english), strict=True)
        with tarfile.open(broken, "w:gz") as archive:
            for member, text in list(members)[: 1 if damage == "lacks a file" else 2]:
                info = tarfile.TarInfo(member)
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
        content = broken.read_bytes()
    broken.write_bytes(bytes(content))
    sizes = SplitSizes(train=255 if damage == "bad letters" else 1, eval_train=1, validation=30, test=33)
    with pytest.raises(StoreError, match=r"training-parallel-nc-v12\.tgz") as error:
        prepare_dataset(
            dataclasses.replace(real_wmt, splits=sizes),
            tmp_path / "data",
            source_dir=tmp_path,
            report=lambda message: None,
        )
    assert "\n" not in str(error.value)
