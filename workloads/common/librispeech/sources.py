"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

# Sizes and checksums from datasets/librispeech/checksums.tsv of tensorflow-datasets 4.9.10.
_FILES = {
    "train-clean-100": (6_387_309_499, "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"),
    "train-clean-360": (23_049_477_885, "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"),
    "train-other-500": (30_593_501_606, "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"),
    "dev-clean": (337_926_286, "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"),
    "dev-other": (314_305_928, "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"),
    "test-clean": (346_663_984, "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"),
}
_SITES = ("https://www.openslr.org", "https://us.openslr.org", "https://openslr.elda.org")

SOURCES = (
    DatasetSource(
        dataset="librispeech",
        title="LibriSpeech",
        creators="Panayotov, Chen, Povey and Khudanpur (2015), from audiobooks of LibriVox",
        homepage="https://www.openslr.org/12",
        license=License(name="CC-BY-4.0", url="https://creativecommons.org/licenses/by/4.0/"),
        files=tuple(
            RemoteFile(
                name=f"{name}.tar.gz",
                urls=tuple(f"{site}/resources/12/{name}.tar.gz" for site in _SITES),
                num_bytes=num_bytes,
                checksum=f"sha256:{digest}",
            )
            for name, (num_bytes, digest) in _FILES.items()
        ),
        store_bytes=125_000_000_000,
        unpacked_bytes=sum(num_bytes for num_bytes, _ in _FILES.values()),  # FLAC, which does not compress further
        core_hours=2.0,
        core_hours_basis="estimated",
    ),
)
