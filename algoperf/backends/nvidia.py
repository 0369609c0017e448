"""What the NVIDIA driver says about itself."""

import subprocess

_TIMEOUT_S = 10


def driver_version() -> str | None:
    """Version of the NVIDIA driver, or None where `nvidia-smi` does not answer."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.split("\n")
    return lines[0].strip() or None
