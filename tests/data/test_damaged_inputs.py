"""Damaged raw data: an error of one line that names the file, or a store that holds what was written."""

import collections
import json
import random
import shutil
import tarfile

import h5py
import numpy as np
import pytest
import soundfile
from algoperf_folder import SENTENCES, SIZES, SPEECH_FOLDERS, TORCH_WRITERS, WRITERS, registry
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from algoperf.data import StoreError
from algoperf.data.store import content_digest
from algoperf.errors import UserError
from algoperf.prepare import prepare_dataset
from workloads.common.librispeech import tokenizer as speech_tokenizer
from workloads.common.librispeech.saved_arrays import SavedUtterance, check_tokenizer
from workloads.mnist.prepare import _to_idx
from workloads.wmt.language_pair import LanguagePair


def quiet(message):
    pass


def write_flac(root, form):
    """LibriSpeech's own layout."""
    for number, folder in enumerate(SPEECH_FOLDERS):
        chapter = root / "librispeech" / "LibriSpeech" / folder / str(10 + number) / "7"
        chapter.mkdir(parents=True)
        names = [f"{10 + number}-7-{row:04d}" for row in range(len(SENTENCES))]
        for row, name in enumerate(names):
            noise = np.random.default_rng(row).integers(-9_000, 9_000, 3_000 + 100 * row).astype(np.int16)
            soundfile.write(chapter / f"{name}.flac", noise, 16_000)
        lines = [f"{name} {sentence}\n" for name, sentence in zip(names, SENTENCES, strict=True)]
        (chapter / f"{10 + number}-7.trans.txt").write_text("".join(lines))


def write_mnist_idx(root, form):
    folder = root / "mnist"
    folder.mkdir()
    for split, count in (("train", 12), ("t10k", 5)):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(_to_idx(np.full((count, 28, 28), 7, np.uint8)))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(_to_idx(np.arange(count, dtype=np.uint8) % 10))


def archived(write, folder, inner, suffix):
    """The same files in archives, one for each subfolder of `folder` / `inner`, as their publishers give them."""

    def write_archives(root, form):
        write(root, form)
        parts = sorted(path for path in (root / folder / inner).iterdir() if path.is_dir())
        for part in parts:
            with tarfile.open(
                root / folder / f"{ARCHIVE_NAMES.get(part.name, part.name)}.{suffix}", "w:" + suffix[4:]
            ) as file:
                file.add(part, part.relative_to(root / folder).as_posix().removeprefix("knee_"))
            shutil.rmtree(part)

    return write_archives


ARCHIVE_NAMES = {"cifar-10-batches-py": "cifar-10-python"}
FORMS = {
    "mnist": ("mnist", WRITERS["mnist"]),
    "mnist_idx": ("mnist", write_mnist_idx),
    "cifar": ("cifar", TORCH_WRITERS["cifar"]),
    "imagenet": ("imagenet_resnet", WRITERS["imagenet_resnet"]),
    "imagenet_folders": ("imagenet_resnet", TORCH_WRITERS["imagenet_resnet"]),
    "fastmri": ("fastmri", WRITERS["fastmri"]),
    "librispeech": ("librispeech_conformer", WRITERS["librispeech_conformer"]),
    "librispeech_flac": ("librispeech_conformer", write_flac),
    "criteo1tb": ("criteo1tb", WRITERS["criteo1tb"]),
    "cifar_archive": ("cifar", archived(TORCH_WRITERS["cifar"], "cifar10", "", "tar.gz")),
    "fastmri_archives": ("fastmri", archived(WRITERS["fastmri"], "fastmri", "", "tar.xz")),
    "librispeech_archives": ("librispeech_conformer", archived(write_flac, "librispeech", "LibriSpeech", "tar.gz")),
    "ogbg": ("ogbg", WRITERS["ogbg"]),
    "wmt": ("wmt", WRITERS["wmt"]),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Of each form: a folder with undamaged files, and the digest of their store; made on first use."""
    made = {}

    def get(form):
        if form not in made:
            root = tmp_path_factory.mktemp(form)
            FORMS[form][1](root, {"file_format": "tfrecord"})
            copy = shutil.copytree(root, tmp_path_factory.mktemp("copy") / "raw")  # some archives are unpacked in place
            made[form] = root, digest(form, copy, tmp_path_factory.mktemp("store"))
        return made[form]

    return get


@pytest.fixture(scope="module", autouse=True)
def large_disk():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: collections.namedtuple("usage", "free")(10**15))
        yield


def digest(form, source_dir, data_dir):
    workloads, name = registry(), FORMS[form][0]
    store = prepare_dataset(
        workloads.get(name), data_dir, source_dir=source_dir, num_workers=1, report=quiet, registry=workloads
    )
    return content_digest(store)


def cut(content, rng):
    return content[: rng.randrange(len(content))]


def flip(content, rng):
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def other_type(content, rng):
    return rng.choice([b"<html>404 Not Found</html>\n", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\xff\xfe" + b"x\0" * 50])


@settings(max_examples=66, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(form=st.sampled_from(sorted(FORMS)), damage=st.sampled_from([cut, flip, other_type]), seed=st.integers(0, 999))
def test_random_damage(form, damage, seed, whole, tmp_path_factory):
    source, intact = whole(form)
    root, rng = tmp_path_factory.mktemp("damaged"), random.Random(seed)
    shutil.copytree(source, root, dirs_exist_ok=True)
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in (".json", ".csv")]
    victim = rng.choice([path for path in files if "label" not in path.name or "idx" in path.name])
    victim.write_bytes(damage(victim.read_bytes(), rng))
    refused, made = None, None
    try:
        made = digest(form, root, tmp_path_factory.mktemp("store"))
    except UserError as error:
        refused = str(error)
    if refused is not None:
        assert "\n" not in refused
        assert str(root) in refused, (victim, refused)
        is_named = victim.name in refused or victim.parent.name in refused
        assert is_named or "cannot train a tokenizer" in refused, (victim, refused)  # from texts that were shortened
    elif damage is flip and "tfrecord" in victim.name:
        assert made == intact, victim
    else:
        assert damage is not other_type, victim
    shutil.rmtree(root)


def refusal(form, root, tmp_path):
    with pytest.raises(UserError) as caught:
        digest(form, root, tmp_path / "data")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def copied(whole, form, tmp_path):
    return shutil.copytree(whole(form)[0], tmp_path / "raw")


@pytest.mark.parametrize(
    ("dataset", "value", "message"),
    [
        ("kspace", np.nan, "kspace is not finite"),
        ("reconstruction_esc", np.inf, "reconstruction_esc is not finite"),
        ("max", np.nan, "the attribute max is not finite"),
        ("kspace", "reals", "kspace should be complex"),
        ("reconstruction_esc", "whole numbers", "reconstruction_esc should have floats"),
        ("kspace", "group", "has no dataset kspace; it has"),
        ("max", "text", "no readable HDF5 file"),
    ],
)
def test_volumes(whole, tmp_path, dataset, value, message):
    root = copied(whole, "fastmri", tmp_path)
    path = root / "fastmri" / "knee_singlecoil_val" / "file1004.h5"
    with h5py.File(path, "r+") as file:
        if dataset == "max":
            file.attrs["max"] = value
        elif isinstance(value, float):
            file[dataset][1, 3, 4] = value
        else:
            array = file[dataset][()]
            del file[dataset]
            if value == "group":
                file.create_group(dataset)
            else:
                file[dataset] = array.real if value == "reals" else array.astype(np.int32)
    refused = refusal("fastmri", root, tmp_path)
    assert message in refused
    assert str(path) in refused


def test_a_volume_in_two_splits(whole, tmp_path):
    root = copied(whole, "fastmri", tmp_path) / "fastmri"
    shutil.copy(root / "knee_singlecoil_train" / "file1000.h5", root / "knee_singlecoil_val" / "file1000.h5")
    assert "file1000.h5 is in knee_singlecoil_train and in knee_singlecoil_val" in refusal("fastmri", root, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "\ufeff" + text, "line 1: expected 10-7-<number>, a space and plain text, got '\\ufeff10-7-0000"),
        (lambda text: text.replace("10-7-0003 ", "10-7-0003\t"), "line 4: expected"),
        (lambda text: text.replace("DOG RAN", "DOG\tRAN"), "line 2: expected"),
        (lambda text: text + "10-7-0002 AGAIN\n", "line 7: 10-7-0002 is there twice"),
        (lambda text: text.replace("10-7-0001", "11-7-0001"), "line 2: expected 10-7-<number>"),
        (lambda text: text.replace(" RAN THE DOG", ""), "line 4: the transcript of 10-7-0003 is empty"),
        (lambda text: text.split("\n", 1)[1], "has no transcript of 10-7-0000.flac"),
    ],
    ids=["byte order mark", "tab behind the name", "tab in the text", "twice", "other chapter", "empty", "missing"],
)
def test_transcripts(whole, tmp_path, change, message):
    root = copied(whole, "librispeech_flac", tmp_path)
    path = root / "librispeech" / "LibriSpeech" / "train-clean-100" / "10" / "7" / "10-7.trans.txt"
    path.write_text(change(path.read_text()), encoding="utf-8")
    refused = refusal("librispeech_flac", root, tmp_path)
    assert message in refused
    assert str(path) in refused


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("dev-clean.csv", lambda text: text + text.splitlines()[2] + "\n", "is there twice, first in line 3"),
        ("dev-clean.csv", lambda text: text.replace(",", "\t"), "line 2: expected a number and"),
        ("dev-clean.csv", lambda text: ",id\n", "names no utterance"),
        ("dev-clean.csv", lambda text: text.replace("11-7-0000", "11-7-0009"), "11-7-0009_targets.npy is missing"),
        ("spm_model.vocab", lambda text: "<unk>\t0\n<s>\t0\n", "spm_model.vocab is no SentencePiece model"),
    ],
)
def test_saved_tables(whole, tmp_path, name, change, message):
    root = copied(whole, "librispeech", tmp_path)
    path = root / "librispeech" / name
    path.write_text(change(path.read_bytes().decode("utf-8", "replace")))
    assert message in refusal("librispeech", root, tmp_path)


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        ("audio", np.zeros(9), "should hold whole numbers along one axis, got float64"),
        ("audio", np.zeros((3, 3), np.int64), "got int64 (3, 3)"),
        ("audio", np.array([1, 40_000]), "has sample 40000, expected 16-bit samples"),
        ("audio", np.zeros(0, np.int64), "has no samples"),
        ("audio", np.array([{}]), "no NumPy file"),
        ("targets", np.array([3, 4]), "does not end with the end-of-sentence piece"),
        ("targets", np.array([3, 24, 2]), "has piece 24, expected 1 to 23"),
        ("targets", np.array([0, 2]), "has piece 0, expected 1 to 23"),
    ],
)
def test_saved_arrays(whole, tmp_path, kind, array, message):
    root = copied(whole, "librispeech", tmp_path)
    path = root / "librispeech" / "dev-clean" / f"11-7-0002_{kind}.npy"
    np.save(path, array)
    refused = refusal("librispeech", root, tmp_path)
    assert message in refused
    assert str(path) in refused


def test_pieces_without_a_tokenizer(whole, tmp_path):
    root = copied(whole, "librispeech", tmp_path)
    (root / "librispeech" / "spm_model.vocab").unlink()
    assert "holds pieces in place of transcripts, and" in refusal("librispeech", root, tmp_path)


def test_pieces_of_another_tokenizer(tmp_path):
    texts = [source.upper() for source, _ in LanguagePair(3).sentences("train", 400, held_out=False)]
    models = [speech_tokenizer.train_tokenizer(half, 200) for half in (texts[:200], texts[200:])]
    own, other = map(speech_tokenizer.Tokenizer, models)
    for number, text in enumerate(texts[:40]):
        np.save(tmp_path / f"1-2-{number}_targets.npy", np.array(own.encode(text), np.int32))
    utterances = [SavedUtterance(name=f"1-2-{number}", folder=tmp_path) for number in range(40)]
    check_tokenizer(utterances, own, tmp_path / "spm_model.vocab")
    with pytest.raises(StoreError, match=r"are not those of .*spm_model\.vocab"):
        check_tokenizer(utterances, other, tmp_path / "spm_model.vocab")


@pytest.mark.parametrize("form", ["mnist", "ogbg", "wmt", "imagenet"])
def test_features_that_are_not_there(whole, tmp_path, form):
    root = copied(whole, form, tmp_path)
    features = min(root.rglob("features.json"))
    content = json.loads(features.read_text())
    if form == "wmt":
        content["translation"]["languages"] = ["fr", "en"]
    else:
        named = content["featuresDict"]["features"]
        named["renamed"] = named.pop(min({"label", "labels"} & {*named}))
    features.write_text(json.dumps(content))
    refused = refusal(form, root, tmp_path)
    assert "has no feature" in refused
    assert str(features.parent) in refused


def test_a_tokenizer_of_another_size(whole, tmp_path):
    from workloads.wmt.tokenizer import train_tokenizer

    root = copied(whole, "wmt", tmp_path)
    model = train_tokenizer(iter(["ein kurzer satz", "a short sentence"] * 9), 19)
    (root / "wmt" / "wmt_sentencepiece_model").write_bytes(model)
    assert "wmt_sentencepiece_model has 19 pieces, expected 256" in refusal("wmt", root, tmp_path)


def test_every_size_has_a_form():
    assert {name for name, _ in FORMS.values()} == {*SIZES}
