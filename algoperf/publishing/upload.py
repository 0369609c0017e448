"""Sends a published folder to a dataset of Hugging Face or, as a pull request, to a repository on GitHub.

Each goes through its own client, `huggingface_hub` or `gh` and `git`, which know the account; nothing here does.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.publishing.folder import Publication
from algoperf.publishing.sources import PublishError
from algoperf.reporting import Report

HUGGING_FACE, GITHUB = "hf", "github"
_DESTINATION = re.compile(rf"(?P<kind>{HUGGING_FACE}|{GITHUB}):(?P<name>[\w.-]+/[\w.-]+)")
_PUBLICATIONS = "publications"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where to: `hf:OWNER/DATASET` or `github:OWNER/REPOSITORY`."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Destination":
        """Raises PublishError where it is neither."""
        match = _DESTINATION.fullmatch(text)
        if match is None:
            raise PublishError(f"--to={text}: expected hf:OWNER/DATASET or github:OWNER/REPOSITORY")
        return cls(kind=match["kind"], name=match["name"])


def send(publication: Publication, destination: Destination, report: Report) -> str:
    """Sends the folder; returns the address of what was made.

    Raises:
      PublishError: the client is missing or refuses; says what it said.
    """
    if destination.kind == HUGGING_FACE:
        return _to_hugging_face(publication, destination.name, report)
    return _to_github(publication, destination.name, report)


def _title(publication: Publication) -> str:
    return f"Results of {', '.join(sorted(publication.manifest['submissions']))}"


def _to_hugging_face(publication: Publication, name: str, report: Report) -> str:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise PublishError(f"huggingface_hub cannot be imported: {error}") from error
        raise PublishError("--to=hf:... needs huggingface_hub: pip install 'algoperf[publish]'") from error
    client = huggingface_hub.HfApi()
    try:
        client.create_repo(name, repo_type="dataset", exist_ok=True)
        report(f"sending {len(publication.manifest['files'])} files to the dataset {name}")
        commit = client.upload_folder(
            repo_id=name, repo_type="dataset", folder_path=publication.folder, commit_message=_title(publication)
        )
    except Exception as error:  # of the client's HTTP library, of several kinds
        raise PublishError(f"Hugging Face refuses: {' '.join(str(error).split())}") from error
    return str(commit.commit_url)


def _to_github(publication: Publication, name: str, report: Report) -> str:
    for program in ("gh", "git"):
        if shutil.which(program) is None:
            raise PublishError(f"--to=github:... needs {program}; install it and sign in with: gh auth login")
    digest = next(iter(publication.manifest["submissions"].values()))["submission_digest"]
    branch = f"results-{digest}"
    with tempfile.TemporaryDirectory(prefix="algoperf_publish_") as parent:
        clone = Path(parent) / "repository"
        user = _run(["gh", "api", "user", "--jq", ".login"], Path(parent))
        _run(["gh", "repo", "fork", name, "--clone", "--default-branch-only", "--", str(clone)], Path(parent))
        _run(["git", "checkout", "-b", branch], clone)
        target = clone / _PUBLICATIONS / publication.folder.resolve().name
        shutil.copytree(publication.folder, target)
        _run(["git", "add", "--force", "--", str(target)], clone)
        _run(["git", "commit", "--quiet", "--message", _title(publication)], clone)
        report(f"pushing the branch {branch}")
        _run(["git", "push", "--quiet", "origin", branch], clone)
        body = (
            f"Made and checked by algoperf {publication.manifest['algoperf']}; `algoperf publish --check` compares it."
        )
        pull = ["gh", "pr", "create", "--repo", name, "--head", f"{user}:{branch}", "--title", _title(publication)]
        return _run([*pull, "--body", body], clone)


def _run(command: Sequence[str], folder: Path) -> str:
    """Output of a program; raises PublishError with what it said where it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise PublishError(f"{' '.join(command[:3])} failed: {said[-1]}")
    return done.stdout.strip()
