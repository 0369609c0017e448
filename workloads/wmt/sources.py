"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

# Sizes and checksums from url_checksums/wmt17_translate.txt and wmt14_translate.txt of tensorflow-datasets 4.9.10.
SOURCES = (
    DatasetSource(
        dataset="wmt",
        title="WMT 2017 German-English (training), newstest2013 and newstest2014 (evaluation)",
        creators="Conference on Machine Translation (WMT), Bojar et al. (2017), and the makers of the corpora",
        homepage="https://www.statmt.org/wmt17/translation-task.html",
        license=License(
            name="WMT terms of the news translation task",
            url="https://www.statmt.org/wmt17/translation-task.html",
            note="free for research; each corpus keeps the terms of its makers",
        ),
        files=(
            RemoteFile(
                name="training-parallel-europarl-v7.tgz",
                urls=("http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz",),
                num_bytes=657_632_379,
                checksum="sha256:0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7",
            ),
            RemoteFile(
                name="training-parallel-commoncrawl.tgz",
                urls=("http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz",),
                num_bytes=918_311_367,
                checksum="sha256:c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5",
            ),
            RemoteFile(
                name="training-parallel-nc-v12.tgz",
                urls=("http://data.statmt.org/wmt17/translation-task/training-parallel-nc-v12.tgz",),
                num_bytes=168_591_139,
                checksum="sha256:2b45f30ef1d550d302fd17dd3a5cbe19134ccc4c2cf50c2dae534aee600101a2",
            ),
            RemoteFile(
                name="rapid2016.tgz",
                urls=("http://data.statmt.org/wmt18/translation-task/rapid2016.tgz",),
                num_bytes=161_050_516,
                checksum="sha256:41557dd5d8f0ed3a6d98bce3b798b1a9d3b68361eb99d902329ddbb943a6b55a",
            ),
            RemoteFile(
                name="dev.tgz",
                urls=("http://data.statmt.org/wmt19/translation-task/dev.tgz",),
                num_bytes=38_654_961,
                checksum="sha256:7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7",
            ),
        ),
        store_bytes=2_500_000_000,
        core_hours=1.0,
        core_hours_basis="estimated",
    ),
)
