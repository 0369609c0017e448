"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

SOURCES = (
    DatasetSource(
        dataset="cifar",
        title="CIFAR-10",
        creators="Krizhevsky, Nair and Hinton (2009), from 80 Million Tiny Images",
        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        license=License(
            name="none stated",
            url="https://www.cs.toronto.edu/~kriz/cifar.html",
            note="the authors ask to be cited; photographs from the web, whose rights are with their owners",
        ),
        files=(
            # Size and checksum from url_checksums/cifar10.txt of tensorflow-datasets 4.9.10.
            RemoteFile(
                name="cifar-10-binary.tar.gz",
                urls=("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                num_bytes=170_052_171,
                checksum="sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            ),
        ),
        store_bytes=185_000_000,
        core_hours=0.01,
        core_hours_basis="estimated",
    ),
)
