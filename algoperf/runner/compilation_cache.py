"""Where compiled programs are kept, and so in which runs compiling counts.

A trial that is scored compiles at the submission's expense: its cache is a folder of its own, empty at its start, which
a resumed process reads. A single run of a mini shares the cache of earlier runs on this machine.
"""

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from algoperf.definition import Tier, WorkloadDefinition
from algoperf.ownership import remove_folder
from algoperf.records import provenance
from algoperf.records.layout import COMPILATION

AUTO, TRIAL, SHARED = CHOICES = ("auto", "trial", "shared")


@dataclass(frozen=True, kw_only=True)
class CompilationCache:
    """The cache of one trial.

    Attributes:
      folder: of the compiled programs of both frameworks.
      is_shared: by runs of one definition with the same software; False for a trial's own.
    """

    folder: Path
    is_shared: bool

    @classmethod
    def of_trial(cls, choice: str, definition: WorkloadDefinition, trial_dir: Path) -> Self:
        """The cache that `--compilation_cache` names; `auto` shares it for minis."""
        is_shared = choice == SHARED or (choice == AUTO and definition.tier is Tier.MINI)
        return cls(folder=_shared_folder(definition) if is_shared else trial_dir / COMPILATION, is_shared=is_shared)

    def close(self) -> None:
        """Removes a trial's own cache, for a trial that is not resumed any more."""
        if not self.is_shared:
            with contextlib.suppress(OSError):  # `algoperf clean` removes what is left
                remove_folder(self.folder, lambda name: True)


def _shared_folder(definition: WorkloadDefinition) -> Path:
    """By definition, versions and processor, below `$XDG_CACHE_HOME`, `~/.cache` where it is not set."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    key = [definition.digest(), provenance.package_versions(), provenance.cpu_model()]
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    return Path(cache).expanduser() / "algoperf" / "compilation" / f"{definition.name}-{name}"
