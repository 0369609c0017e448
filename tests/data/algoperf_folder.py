"""A folder as AlgoPerf's `dataset_setup` leaves it, with a few examples of each dataset, and what is in it."""

import dataclasses
import io
import pickle
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from algoperf.data.tfds_order import tfds_order
from algoperf.data.tfds_source import write_tfds_dataset
from algoperf.definition import SplitSizes
from algoperf.registry import REGISTRY, Registry
from workloads.common.imagenet.definition import ImageNetData
from workloads.common.librispeech.definition import SpeechData
from workloads.criteo1tb.click_log import HiddenModel, format_rows
from workloads.criteo1tb.definition import ClickLogData
from workloads.fastmri.definition import FastMRIData
from workloads.ogbg.molecules import generate
from workloads.wmt.language_pair import LanguagePair

SIZES = {
    "mnist": SplitSizes(train=8, eval_train=4, validation=4, test=5),
    "cifar": SplitSizes(train=15, eval_train=4, validation=5, test=4),
    "imagenet_resnet": SplitSizes(train=18, eval_train=8, validation=9, test=6),
    "fastmri": SplitSizes(train=6, eval_train=3, validation=4, test=2),
    "librispeech_conformer": SplitSizes(train=6, eval_train=2, validation=6, test=6),
    "criteo1tb": SplitSizes(train=90, eval_train=8, validation=25, test=20),
    "ogbg": SplitSizes(train=30, eval_train=8, validation=7, test=6),
    "wmt": SplitSizes(train=300, eval_train=8, validation=12, test=10),
}
SIDE = 20
SPEECH_FOLDERS = ("train-clean-100", "dev-clean", "test-clean")
SENTENCES = ("THE CAT SAW", "A DOG RAN OFF", "IT'S THE CAT", "RAN THE DOG", "A CAT RAN", "THE DOG SAW IT")


def registry() -> Registry:
    """The eight full datasets in the sizes of the folder."""
    data = {
        "imagenet_resnet": ImageNetData(num_classes=3, image_size=24, resize_size=28),
        "fastmri": FastMRIData(image_size=SIDE, validation_volumes=2),
        "librispeech_conformer": SpeechData(
            vocab_size=24,
            max_samples=4_000,
            max_tokens=32,
            train_folders=SPEECH_FOLDERS[:1],
            validation_folders=SPEECH_FOLDERS[1:2],
            test_folders=SPEECH_FOLDERS[2:],
            folder_sizes=(6, 6, 6),
        ),
        "criteo1tb": ClickLogData(num_days=3, shuffle_block_rows=4),
    }
    entries = {}
    for name, splits in SIZES.items():
        definition = dataclasses.replace(REGISTRY.get(name), splits=splits)
        if name in data:
            definition = dataclasses.replace(definition, data=data[name])
        if name == "wmt":
            definition = dataclasses.replace(definition, model=dataclasses.replace(definition.model, vocab_size=256))
        entries[name] = (definition, REGISTRY.package(name))
    return Registry(entries=entries)


def write_mnist(root: Path, form: dict) -> dict:
    return _write_images(root / "MNIST", "mnist", "3.0.1", (28, 28, 1), {"train": 12, "test": 5}, form)


def write_cifar(root: Path, form: dict) -> dict:
    return _write_images(root / "cifar10", "cifar10", "3.0.2", (32, 32, 3), {"train": 20, "test": 4}, form)


def write_cifar_for_torch(root: Path, form: dict) -> dict:
    folder, content = root / "cifar10" / "cifar-10-batches-py", {}
    folder.mkdir(parents=True)
    for number, name in enumerate(["test_batch", *(f"data_batch_{i}" for i in range(1, 6))]):
        images = np.random.default_rng(number).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
        rows = {b"data": images.transpose(0, 3, 1, 2).reshape(4, -1), b"labels": [number] * 4}
        dumped = pickle.dumps(rows, protocol=2)  # published files come from Python 2 and NumPy 1
        (folder / name).write_bytes(dumped.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
        content.setdefault("train" if number else "test", []).append((images, [number] * 4))
    arrays = {split: tuple(map(np.concatenate, zip(*parts, strict=True))) for split, parts in content.items()}
    order = {split: tfds_order(split, range(len(labels))) for split, (_, labels) in arrays.items()}
    return {split: (images[order[split]], labels[order[split]]) for split, (images, labels) in arrays.items()}


def _write_images(root: Path, name: str, version: str, shape: tuple, counts: dict, form: dict) -> dict:
    rng = np.random.default_rng(7)
    content = {
        split: (rng.integers(0, 256, (count, *shape)).astype(np.uint8), np.arange(count) % 10)
        for split, count in counts.items()
    }
    write_tfds_dataset(
        root,
        name,
        version,
        lambda kinds: {"image": kinds.Image(shape=shape), "label": kinds.ClassLabel(num_classes=10)},
        {
            split: [{"image": image, "label": int(label)} for image, label in zip(*arrays, strict=True)]
            for split, arrays in content.items()
        },
        **form,
    )
    return content


def _jpeg(seed: int) -> bytes:
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(small).resize((60, 45), Image.Resampling.BICUBIC).save(file, "JPEG")
    return file.getvalue()


def write_imagenet(root: Path, form: dict) -> dict:
    """As for JAX: everything from TFDS."""
    content = {"train": _labelled(0, 6), "validation": _labelled(100, 3)}
    _write_imagenet_tfds(root / "imagenet" / "jax", "imagenet2012", "5.1.0", content, form)
    return content | _write_imagenet_v2(root / "imagenet" / "jax", form)


def write_imagenet_for_torch(root: Path, form: dict) -> dict:
    """As for PyTorch: class folders, and the test split from TFDS."""
    content = {"train": _labelled(0, 6), "validation": _labelled(100, 3)}
    for split, folder in (("train", "train"), ("validation", "val")):
        for number, (encoded, label) in enumerate(content[split]):
            path = root / "imagenet" / "pytorch" / folder / f"n0000{label}" / f"{number:03d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded)
    return content | _write_imagenet_v2(root / "imagenet" / "pytorch", form)


def _labelled(first_seed: int, per_class: int) -> list[tuple[bytes, int]]:
    return [(_jpeg(first_seed + number), number // per_class) for number in range(3 * per_class)]


def _write_imagenet_v2(root: Path, form: dict) -> dict:
    content = {"test": _labelled(200, 2)}
    _write_imagenet_tfds(root, "imagenet_v2", "3.0.0", content, form | {"config": "matched-frequency"})
    return content


def _write_imagenet_tfds(root: Path, name: str, version: str, content: dict, form: dict) -> None:
    write_tfds_dataset(
        root,
        name,
        version,
        lambda kinds: {
            "image": kinds.Image(shape=(None, None, 3), encoding_format="jpeg"),
            "label": kinds.ClassLabel(num_classes=3),
            "file_name": kinds.Text(),
        },
        {
            split: [{"image": encoded, "label": label, "file_name": "x.JPEG"} for encoded, label in images]
            for split, images in content.items()
        },
        **form,
    )


def write_fastmri(root: Path, form: dict) -> dict:
    content: dict = {"train": [], "val": []}
    for folder, number in [("train", 0), ("train", 1), ("train", 2), ("val", 3), ("val", 4), ("val", 5)]:
        rng = np.random.default_rng(number)
        path = root / "fastmri" / f"knee_singlecoil_{folder}" / f"file{1000 + number}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (2, 2 * SIDE, 26 + 4 * number)
        kspace = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64) * 1e-5
        targets = rng.random((2, SIDE, SIDE)).astype(np.float32) * 1e-5
        with h5py.File(path, "w") as file:
            file["kspace"], file["reconstruction_esc"], file.attrs["max"] = kspace, targets, 1e-5
        content[folder].append((kspace, targets))
    return {"train": content["train"], "validation": content["val"][:2], "test": content["val"][2:]}


def write_librispeech(root: Path, form: dict) -> dict:
    """Tables in an order of their own, as folders are listed; samples in 64 bits."""
    from workloads.common.librispeech.tokenizer import Tokenizer, train_tokenizer

    folder, content = root / "librispeech", {}
    folder.mkdir()
    model = train_tokenizer(SENTENCES, 24)
    (folder / "spm_model.vocab").write_bytes(model)
    for number, name in enumerate(SPEECH_FOLDERS):
        (folder / name).mkdir()
        utterances = {}
        for row, sentence in enumerate(SENTENCES):
            audio = np.random.default_rng(row).integers(-(2**15), 2**15, 3_000 + 100 * row, np.int64)
            tokens = np.array(Tokenizer(model).encode(sentence), np.int32)
            utterance = f"{10 + number}-{7 + row % 2}-{row:04d}"
            np.save(folder / name / f"{utterance}_audio.npy", audio)
            np.save(folder / name / f"{utterance}_targets.npy", tokens)
            utterances[utterance] = audio, tokens
        lines = [f"{row},{utterance}\n" for row, utterance in enumerate(reversed(utterances))]
        (folder / f"{name}.csv").write_text(",id\n" + "".join(lines))
        content[name] = [utterances[utterance] for utterance in sorted(utterances, key=lambda u: u.split("-"))]
    return dict(zip(("train", "validation", "test"), content.values(), strict=True))


def write_criteo1tb(root: Path, form: dict) -> dict:
    folder, texts, model = root / "criteo1tb", [], HiddenModel(3)
    folder.mkdir()
    for day in range(3):
        text = format_rows(model.next_day(45), 0, 45)
        lines = text.splitlines(keepends=True)
        for piece, start in enumerate(range(0, 45, 20)):
            (folder / f"day_{day}_{piece:02d}").write_bytes(b"".join(lines[start : start + 20]))
        texts.append(text)
    return {"train": texts[0] + texts[1], "evaluation": texts[2]}


def write_ogbg(root: Path, form: dict) -> dict:
    sizes = {split: SIZES["ogbg"][split] for split in ("train", "validation", "test")}
    content = generate(5, sizes, 128)

    def features(kinds):
        shapes = {
            "num_nodes": ((None,), np.int64),
            "node_feat": ((None, 9), np.float32),
            "num_edges": ((None,), np.int64),
            "edge_feat": ((None, 3), np.float32),
            "edge_index": ((None, 2), np.int64),
            "labels": ((128,), np.float32),
        }
        return {name: kinds.Tensor(shape=shape, dtype=dtype) for name, (shape, dtype) in shapes.items()}

    write_tfds_dataset(root / "ogbg", "ogbg_molpcba", "0.1.3", features, content, **form)
    return content


def write_wmt(root: Path, form: dict) -> dict:
    """Both translation datasets, and a tokenizer that is not the one that this project would train."""
    from workloads.wmt.tokenizer import train_tokenizer

    pair, sizes = LanguagePair(3), SIZES["wmt"]
    content = {
        split: list(pair.sentences(split, sizes[split], held_out=False)) for split in ("train", "validation", "test")
    }
    for name, splits in (("wmt17_translate", ("train",)), ("wmt14_translate", ("validation", "test"))):
        write_tfds_dataset(
            root / "wmt",
            name,
            "1.0.0",
            lambda kinds: kinds.Translation(languages=["de", "en"]),
            {split: [{"de": source, "en": target} for source, target in content[split]] for split in splits},
            config="de-en",
            **form,
        )
    model = train_tokenizer(iter([text for texts in content["train"][150:] for text in texts]), 256)
    (root / "wmt" / "wmt_sentencepiece_model").write_bytes(model)
    return content | {"tokenizer": model}


WRITERS = {
    "mnist": write_mnist,
    "cifar": write_cifar,
    "imagenet_resnet": write_imagenet,
    "fastmri": write_fastmri,
    "librispeech_conformer": write_librispeech,
    "criteo1tb": write_criteo1tb,
    "ogbg": write_ogbg,
    "wmt": write_wmt,
}
TORCH_WRITERS = WRITERS | {"cifar": write_cifar_for_torch, "imagenet_resnet": write_imagenet_for_torch}
