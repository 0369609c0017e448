"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

_HUB = "https://huggingface.co/datasets/HuggingFaceFW/fineweb-edu"
_NUM_FILES = 14
_FILE_BYTES = 2_040_000_000  # about 28.5 GB in all

SOURCES = (
    DatasetSource(
        dataset="finewebedu",
        title="FineWeb-Edu, sample of 10 billion tokens, and GPT-2's vocabulary",
        creators="Penedo et al., The FineWeb Datasets, 2024 (Hugging Face); OpenAI (vocabulary)",
        homepage=_HUB,
        license=License(
            name="ODC-By 1.0",
            url="https://opendatacommons.org/licenses/by/1-0/",
            note="the terms of use of Common Crawl apply too; GPT-2's vocabulary is under a modified MIT license",
        ),
        files=(
            *(
                RemoteFile(
                    name=f"{number:03d}_00000.parquet",
                    urls=(f"{_HUB}/resolve/main/sample/10BT/{number:03d}_00000.parquet",),
                    num_bytes=_FILE_BYTES,
                    size_is_exact=False,
                )
                for number in range(_NUM_FILES)
            ),
            RemoteFile(
                name="vocab.bpe",
                urls=("https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe",),
                num_bytes=456_318,
                checksum="sha256:1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
            ),
        ),
        store_bytes=18_200_000_000,
        core_hours=6.0,
        core_hours_basis="estimated",
    ),
)
