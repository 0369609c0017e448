"""The sources of a submission, laid out so that it runs from the copy."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from algoperf.errors import UserError
from algoperf.submissions import sources

_SHARED = "reference_algorithms"


class PublishError(UserError):
    """A folder cannot be published or is not as it was; the message says what to do."""


@dataclass(frozen=True, kw_only=True)
class SubmissionSources:
    """The files of a submission.

    Attributes:
      main: path of the submission's file below the folder of its sources.
      files: what there is, by path below that folder.
      digest: as in the records of its trials.
    """

    main: PurePosixPath
    files: Mapping[PurePosixPath, Path]
    digest: str

    @classmethod
    def of(cls, submission: Path) -> "SubmissionSources":
        """Finds the files; nothing is imported.

        Raises:
          PublishError: there is no such file.
        """
        if not submission.is_file():
            raise PublishError(f"the submission {submission} is not there; name its file with --submission")
        by_label = sources.python_files(submission)
        digests = {label: sources.file_digest(file) for label, file in by_label.items()}
        own = [file for file in by_label.values() if not _is_shared(file)]
        # Modules may be imported by the name of a folder above the submission, so that its name stays.
        root = Path(os.path.commonpath([file.parent for file in own])).parent if own else Path()
        files = {_published_path(file, root): file for file in by_label.values()}
        return cls(main=_published_path(submission.resolve(), root), files=files, digest=sources.digest(digests))


def _is_shared(file: Path) -> bool:
    return _SHARED in file.parts


def _published_path(file: Path, root: Path) -> PurePosixPath:
    if _is_shared(file):
        return PurePosixPath(*file.parts[file.parts.index(_SHARED) :])
    return PurePosixPath(file.relative_to(root).as_posix())
