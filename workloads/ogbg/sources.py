"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

SOURCES = (
    DatasetSource(
        dataset="ogbg",
        title="ogbg-molpcba",
        creators="Hu et al. (Open Graph Benchmark, 2020), from PubChem BioAssay by way of MoleculeNet",
        homepage="https://ogb.stanford.edu/docs/graphprop/",
        license=License(name="MIT", url="https://ogb.stanford.edu/docs/graphprop/"),
        files=(
            # Size and checksum from datasets/ogbg_molpcba/checksums.tsv of tensorflow-datasets 4.9.10.
            RemoteFile(
                name="pcba.zip",
                urls=("https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download/pcba.zip",),
                num_bytes=39_533_472,
                checksum="sha256:0bb12da2f3ec8b0bb80564114a6174fad2df6a3a0d3c19470b3a27813a7d4e53",
            ),
        ),
        store_bytes=340_000_000,
        core_hours=0.1,
        core_hours_basis="estimated",
    ),
)
