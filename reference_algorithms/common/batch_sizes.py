"""Global batch sizes of the reference algorithms: one table for both frameworks.

Sources: baselines of AlgoPerf v0.6; the variants listed are those that need a smaller batch than their base.
"""

_BATCH_SIZES = {
    "criteo1tb": 262_144,
    "fastmri": 32,
    "imagenet_resnet": 1024,
    "imagenet_resnet_silu": 512,
    "imagenet_resnet_gelu": 512,
    "imagenet_vit": 1024,
    "imagenet_vit_glu": 512,
    "librispeech_conformer": 256,
    "librispeech_deepspeech": 256,
    "ogbg": 512,
    "wmt": 128,
    "mnist": 16,
    "cifar": 128,
}


def get_batch_size(workload_name: str) -> int:
    """Returns the global batch size for a workload.

    Raises:
      ValueError: the workload is not in the table. The harness then asks for its base workload.
    """
    if workload_name not in _BATCH_SIZES:
        raise ValueError(f"no batch size for workload {workload_name!r}; known: {', '.join(_BATCH_SIZES)}")
    return _BATCH_SIZES[workload_name]
