"""AlgoPerf's data folder, whole and in every layout, is prepared by one command and stays as it was."""

import collections
import hashlib
import shutil

import numpy as np
import pytest
from algoperf_folder import SIZES, TORCH_WRITERS, WRITERS, registry

from algoperf import prepare
from algoperf.data import BatchRequest, Store
from algoperf.data.shards import part_name
from algoperf.dataset_overview import dataset_states
from algoperf.definition import Split
from workloads.common.imagenet.jpeg_crops import decode
from workloads.criteo1tb.parser import parse
from workloads.fastmri.kspace import half_transformed
from workloads.wmt.tokenizer import Tokenizer

FORMS = {
    "tfrecord": (WRITERS, {"file_format": "tfrecord", "num_shards": 3}),
    "array_record": (WRITERS, {"file_format": "array_record", "num_shards": 2}),
    "pytorch": (TORCH_WRITERS, {"file_format": "tfrecord"}),
}


def contents(root):
    """Of every file outside the prepared stores: its checksum and when it was changed."""
    return {
        path.relative_to(root).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file() and "prepared" not in path.relative_to(root).parts
    }


def dataset_of(name):
    return registry().get(name).dataset


@pytest.fixture(scope="module", params=FORMS)
def folder(request, tmp_path_factory):
    """The folder after preparation, and what its datasets hold."""
    root = tmp_path_factory.mktemp("algoperf")
    writers, form = FORMS[request.param]
    content = {name: write(root, form) for name, write in writers.items()}
    before = contents(root)
    with pytest.MonkeyPatch.context() as patched:  # a disk with room for the full datasets
        patched.setattr(shutil, "disk_usage", lambda path: collections.namedtuple("usage", "free")(10**15))
        states = dataset_states(registry().definitions(), root, registry=registry())
        assert {state.dataset: state.raw for state in states} == dict.fromkeys(map(dataset_of, SIZES), "there")
        assert prepare.main(["all", f"--data_dir={root}", "--num_workers=1"], registry=registry()) == 0
    assert contents(root) == before
    assert {path.name for path in root.iterdir()} == {name.split("/")[0] for name in before} | {"prepared"}
    return root, content


def opened(folder, name):
    return Store(folder[0] / "prepared" / registry().get(name).dataset), folder[1][name]


@pytest.mark.parametrize("name", ["mnist", "cifar"])
def test_small_images(folder, name):
    store, content = opened(folder, name)
    for split, (images, labels) in content.items():
        np.testing.assert_array_equal(store[f"{split}_images"], images)
        np.testing.assert_array_equal(store[f"{split}_labels"], labels)


def test_imagenet_pixels(folder):
    store, content = opened(folder, "imagenet_resnet")
    for split, images in content.items():
        np.testing.assert_array_equal(store[f"{split}_labels"], [label for _, label in images])
        part = Store(store.path / part_name(split, 0))
        for number, (encoded, _) in enumerate(images):
            start, stop = part["offsets"][number : number + 2]
            expected = decode(np.frombuffer(encoded, np.uint8))
            np.testing.assert_array_equal(decode(part["bytes"][start:stop]), expected)


def test_slices(folder):
    store, content = opened(folder, "fastmri")
    for split, volumes in content.items():
        part = Store(store.path / part_name(split, 0))
        np.testing.assert_array_equal(part["targets"], np.concatenate([targets for _, targets in volumes]))
        columns = [half_transformed(kspace, 20).reshape(-1, 20) for kspace, _ in volumes]
        np.testing.assert_array_equal(part["columns"], np.concatenate(columns))


def test_utterances(folder):
    root, content = folder
    definition = registry().get("librispeech_conformer")
    data = registry().module("librispeech_conformer", "data")
    for split, utterances in content["librispeech_conformer"].items():
        source = data.open_split(definition, Split(split), root)
        for number, (audio, pieces) in enumerate(utterances):
            found = source.utterance(number)
            np.testing.assert_array_equal(found[0], audio)
            np.testing.assert_array_equal(found[1], pieces)
    model = (root / "librispeech" / "spm_model.vocab").read_bytes()
    assert data.open_tokenizer(definition, root).model == model


def test_clicks(folder):
    root, content = folder
    definition = registry().get("criteo1tb")
    expected = {name: parse(np.frombuffer(text, np.uint8)) for name, text in content["criteo1tb"].items()}
    places = {Split.TRAIN: ("train", 0), Split.TEST: ("evaluation", 0), Split.VALIDATION: ("evaluation", 20)}
    for split, (part, first) in places.items():
        source = registry().module("criteo1tb", "data").open_split(definition, split, root)
        batch = source.read(BatchRequest(indices=np.arange(len(source)), batch_size=len(source)))
        rows = slice(first, first + len(source))
        np.testing.assert_array_equal(batch["inputs"][:, :13], expected[part].integers[rows])
        np.testing.assert_array_equal(batch["inputs"][:, 13:], expected[part].ids[rows].astype(np.float32))
        np.testing.assert_array_equal(batch["targets"], expected[part].labels[rows])


def test_graphs(folder):
    store, content = opened(folder, "ogbg")
    graphs = [graph for split in ("train", "validation", "test") for graph in content[split]]
    np.testing.assert_array_equal(store["nodes"], np.concatenate([graph["node_feat"] for graph in graphs]))
    labels = np.stack([graph["labels"] for graph in graphs])
    np.testing.assert_array_equal(store["labels"], np.where(np.isnan(labels), -1, labels))
    for number, graph in enumerate(graphs):
        edges = slice(*store["edge_starts"][number : number + 2])
        first, second = graph["edge_index"].T
        np.testing.assert_array_equal(store["senders"][edges], np.concatenate([first, second]))
        np.testing.assert_array_equal(store["receivers"][edges], np.concatenate([second, first]))
        np.testing.assert_array_equal(store["edges"][edges], np.concatenate([graph["edge_feat"]] * 2))


def test_sentences_with_the_tokenizer_that_was_there(folder):
    store, content = opened(folder, "wmt")
    assert store["tokenizer"].tobytes() == content["tokenizer"]
    tokenizer = Tokenizer(content["tokenizer"])
    for split in ("validation", "test"):
        for side, name in enumerate(("inputs", "targets")):
            expected = tokenizer.encode([pair[side] for pair in content[split]])
            for row, pieces in zip(store[f"{split}_{name}"], expected, strict=True):
                np.testing.assert_array_equal(np.trim_zeros(row, "b"), np.trim_zeros(np.array(pieces), "b"))
    num_pieces = sum(len(pieces) for pair in content["train"] for pieces in tokenizer.encode(list(pair)))
    assert store.meta["train_tokens"] == num_pieces
