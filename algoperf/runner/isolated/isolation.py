"""The process of a submission, from its import to the end of each trial."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from algoperf.definition import WorkloadDefinition
from algoperf.harness.clock import Clock, Item
from algoperf.registry import Registry
from algoperf.runner.isolated import sandbox
from algoperf.runner.isolated.channel import AnswerError, number
from algoperf.runner.isolated.process import IsolatedProcess
from algoperf.runner.run_config import ConfigError, RunConfig
from algoperf.submissions import sources
from algoperf.submissions.imports import close_folder
from algoperf.submissions.loading import Submission


@dataclass(frozen=True, kw_only=True)
class Import:
    """What the process of a submission imports.

    Attributes:
      definition: as it stands before a calibration.
      seed: of the run, for the host's generators.
    """

    config: RunConfig
    registry: Registry
    definition: WorkloadDefinition
    seed: int


class Isolation:
    """Starts a process for the import of a submission, which serves the first trial, and one for each further trial.

    Args:
      path: file of the submission.
      folders: that the process must not see; what is there when this object is made is hidden.

    Attributes:
      import_s: seconds that the last import took, without the start of the process.

    Raises:
      ConfigError: this machine cannot isolate a process, or the submission lies in a folder to hide or of modules.
    """

    def __init__(self, job: Import, path: Path, folders: Iterable[Path]) -> None:
        sandbox.makes_user_namespace()
        _check_reach(path)
        self._hidden = sandbox.folders_to_hide(folders, [path, *sandbox.folders_of_python()])
        self._job = job
        self._path = path
        self._process: IsolatedProcess | None = None
        self._ended_cpu_s = 0.0
        self._is_fresh = False
        self.import_s = 0.0

    def load(self) -> tuple[Submission, int]:
        """Imports the submission in its process; returns a stand-in without its functions, and its batch size.

        Raises:
          TrainingFailedError: the import failed.
          RefusedError: it is no submission, or gives no batch size.
        """
        try:
            answer = self._start()
            batch_size = number(answer, "batch_size")
            if batch_size < 1 or batch_size != int(batch_size):
                raise AnswerError("no batch size")
        except BaseException:
            self.close()
            raise
        try:
            files = {label: sources.file_digest(file) for label, file in sources.python_files(self._path).items()}
        finally:
            close_folder()
        submission = Submission(
            module=ModuleType(self._path.stem),
            path=self._path,
            init_optimizer_state=_elsewhere,
            update_params=_elsewhere,
            data_selection=_elsewhere,
            get_batch_size=_elsewhere,
            prepare_for_eval=None,
            wants_train_state=False,
            has_eval_batch_size=answer.get("has_eval_batch_size") is True,
            source_files=files,
        )
        return submission, int(batch_size)

    def process(self, clock: Clock) -> IsolatedProcess:
        """The process for the next trial, which has imported the submission and nothing else."""
        if not self._is_fresh or self._process is None:
            with clock.paused_for(Item.IMPORT_SUBMISSION):
                self._start()
        assert self._process is not None
        self._is_fresh = False
        return self._process

    def cpu_s(self) -> float:
        """CPU seconds of all of them so far."""
        return self._ended_cpu_s + (self._process.cpu_s() if self._process is not None else 0.0)

    def close(self) -> None:
        """Ends the present process."""
        if self._process is not None:
            self._process.close()
            self._ended_cpu_s, self._process = self.cpu_s(), None

    def _start(self) -> dict[str, Any]:
        self.close()
        self._process = process = IsolatedProcess(self._hidden)
        process.request("start", job=self._job)
        begun_s = time.monotonic()
        answer = process.request("import")
        self.import_s = time.monotonic() - begun_s
        process.freeze()
        self._is_fresh = True
        return answer


def _check_reach(path: Path) -> None:
    """Files next to a submission must not be modules of the harness's process, which imports some late."""
    if path.parent.resolve() in {Path(entry).resolve() for entry in sys.path}:
        raise ConfigError(
            f"--isolated: Python looks for modules in {path.parent}, the folder of the submission; run it from another "
            "working directory"
        )


def _elsewhere(*arguments: Any, **named: Any) -> NoReturn:
    raise AssertionError("the submission runs in a process of its own")
