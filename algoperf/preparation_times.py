"""How long preparations took on this machine, next to the stores, for estimates."""

import contextlib
import json
from pathlib import Path


def _path(store: Path) -> Path:
    return store.with_name(f".{store.name}.time.json")


def record_time(store: Path, seconds: float, num_workers: int) -> None:
    """Notes how long an uninterrupted preparation took, the download left out."""
    _path(store).write_text(json.dumps({"seconds": round(seconds, 1), "num_workers": num_workers}) + "\n")


def read_time(store: Path) -> float | None:
    """Seconds of the last uninterrupted preparation here; None where there was none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return float(json.loads(_path(store).read_text())["seconds"])
    return None
