"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

NUM_DAYS = 24

SOURCES = (
    DatasetSource(
        dataset="criteo1tb",
        title="Criteo 1TB click logs",
        creators="Criteo AI Lab (2014)",
        homepage="https://ailab.criteo.com/download-criteo-1tb-click-logs-dataset/",
        license=License(
            name="CC-BY-NC-SA-4.0",
            url="https://ailab.criteo.com/download-criteo-1tb-click-logs-dataset/",
            note="no commercial use",
        ),
        files=tuple(
            RemoteFile(
                name=f"day_{day}.gz",
                urls=(
                    f"https://huggingface.co/datasets/criteo/CriteoClickLogs/resolve/main/day_{day}.gz",
                    f"https://storage.googleapis.com/criteo-cail-datasets/day_{day}.gz",
                ),
                num_bytes=14_600_000_000,  # the publisher gives 350 GB for all days, and no checksums
                size_is_exact=False,
            )
            for day in range(NUM_DAYS)
        ),
        store_bytes=686_700_000_000,
        core_hours=3.0,
        core_hours_basis="estimated",
    ),
)
