"""Global batch size of the reference algorithms: that of the workload's definition, a third party's included."""

from algoperf.registry import REGISTRY


def get_batch_size(workload_name: str) -> int:
    """Returns the global batch size for a workload.

    Raises:
      UnknownWorkloadError: no such workload is installed. The harness then asks for its base workload.
    """
    return REGISTRY.get(workload_name).reference_batch_size
