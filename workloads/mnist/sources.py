"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
# Sizes and checksums of the compressed files, from url_checksums/mnist.txt of tensorflow-datasets 4.9.10.
_FILES = {
    "train-images-idx3-ubyte.gz": (
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    "train-labels-idx1-ubyte.gz": (
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    "t10k-images-idx3-ubyte.gz": (
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
}

SOURCES = (
    DatasetSource(
        dataset="mnist",
        title="MNIST",
        creators="LeCun, Cortes and Burges (1998), from NIST Special Databases 1 and 3",
        homepage="https://yann.lecun.org/exdb/mnist/",
        license=License(name="CC-BY-SA-3.0", url="https://creativecommons.org/licenses/by-sa/3.0/"),
        files=tuple(
            RemoteFile(name=name, urls=(_URL + name,), num_bytes=num_bytes, checksum=f"sha256:{digest}")
            for name, (num_bytes, digest) in _FILES.items()
        ),
        store_bytes=56_000_000,
        core_hours=0.01,
        core_hours_basis="estimated",
    ),
)
