"""Where the raw dataset comes from."""

from algoperf.dataset_source import DatasetSource, License, RemoteFile

# Sizes and checksums from checksums.tsv of datasets/imagenet2012 and datasets/imagenet_v2, tensorflow-datasets 4.9.10.
SOURCES = (
    DatasetSource(
        dataset="imagenet",
        title="ImageNet (ILSVRC 2012) and ImageNet-v2 (matched frequency)",
        creators="Russakovsky, Deng et al. (2015); Recht et al. (2019) for ImageNet-v2",
        homepage="https://image-net.org",
        license=License(
            name="ImageNet terms of access; ImageNet-v2: MIT",
            url="https://image-net.org/download",
            note="non-commercial research and educational use only",
        ),
        access="register at https://image-net.org, accept its terms and copy the links of the two archives",
        files=(
            RemoteFile(
                name="ILSVRC2012_img_train.tar",
                url_flag="imagenet_train_url",
                num_bytes=147_897_477_120,
                checksum="sha256:b08200a27a8e34218a0e58fde36b0fe8f73bc377f4acea2d91602057c3ca45bb",
            ),
            RemoteFile(
                name="ILSVRC2012_img_val.tar",
                url_flag="imagenet_val_url",
                num_bytes=6_744_924_160,
                checksum="sha256:c7e06a6c0baccf06d8dbeb6577d71efff84673a5dbdd50633ab44f8ea0456ae0",
            ),
            RemoteFile(
                name="imagenetv2-matched-frequency.tar.gz",
                urls=(
                    "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/"
                    "imagenetv2-matched-frequency.tar.gz",
                ),
                num_bytes=1_264_079_360,
                checksum="sha256:f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
            ),
        ),
        store_bytes=146_000_000_000,
        core_hours=3.0,
        core_hours_basis="estimated",
    ),
)
