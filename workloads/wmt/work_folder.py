"""Intermediate results of preparation, which survive an interruption."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.ownership import remove_folder

_is_work_file = re.compile(r"recipe\.json|tokenizer\.model(\.partial)?|(partial-)?train-\d+\.npz").fullmatch


class WorkFolder:
    """A folder of files that are made on first use; emptied when they were made for another recipe."""

    def __init__(self, path: Path, made_for: dict[str, Any]) -> None:
        self.path = path
        marker, settings = path / "recipe.json", json.dumps(made_for, sort_keys=True)
        if not marker.exists() or marker.read_text() != settings:
            remove_folder(path, _is_work_file)
            path.mkdir(parents=True)
            marker.write_text(settings)

    def file(self, name: str, make: Callable[[], bytes]) -> bytes:
        """Returns the contents of file `name`, made on first use."""
        path = self.path / name
        if not path.exists():
            partial = path.with_name(name + ".partial")
            partial.write_bytes(make())
            partial.rename(path)
        return path.read_bytes()

    def arrays(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> Path:
        """Returns the path of the .npz file `name`, made on first use."""
        path = self.path / name
        if not path.exists():
            partial = path.with_name("partial-" + name)
            arrays: dict[str, Any] = make()
            np.savez(partial, **arrays)
            partial.rename(path)
        return path

    def remove(self) -> None:
        remove_folder(self.path, _is_work_file)
