"""What devices make of the precision that was asked for; imports no framework."""

from algoperf.edition import MatmulPrecision

_CPU, _NVIDIA = "cpu", ("cuda", "gpu")
_FIRST_WITH_TF32 = 8  # compute capability of NVIDIA's Ampere generation


def in_effect(setting: MatmulPrecision, *, platform: str, compute_capability: str | None = None) -> MatmulPrecision:
    """The precision in which matrix products and convolutions of float32 arrays are computed.

    CPUs compute in float32 whatever is asked for. NVIDIA's libraries have no bfloat16 products of float32 arrays: they
    take TF32 in its place, and float32 before compute capability 8.

    Args:
      setting: what the framework is set to.
      platform: of the backend's device report.
      compute_capability: of NVIDIA devices, for example "9.0".
    """
    if platform == _CPU:
        return MatmulPrecision.FLOAT32
    if platform not in _NVIDIA or setting is MatmulPrecision.FLOAT32:
        return setting
    has_tf32 = compute_capability is None or int(compute_capability.partition(".")[0]) >= _FIRST_WITH_TF32
    return MatmulPrecision.TF32 if has_tf32 else MatmulPrecision.FLOAT32
