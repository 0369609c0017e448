"""A published folder can be checked, merged and run again; it is sent only when asked to, by clients of its host."""

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import toy_runs

from algoperf.cli import publish
from algoperf.cli import run as run_verb
from algoperf.publishing.sources import PublishError, SubmissionSources
from algoperf.records.layout import TRIAL_FILE

TRIAL = "mine/study_0/toy_mini_jax/trial_1"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """One self-tuning trial of a submission that imports a neighbour."""
    home = tmp_path_factory.mktemp("home")
    source = home / "work/mine/submission.py"
    source.parent.mkdir(parents=True)
    source.write_text(f"from helper import NAME\n{toy_runs.SUBMISSIONS['jax'].read_text()}")
    (source.parent / "helper.py").write_text("NAME = 'mine'\n")
    settings = {"tuning_ruleset": "self", "max_global_steps": 3, "submission_path": str(source)}
    settings |= {"experiment_dir": str(home / "results"), "experiment_name": "mine/study_0"}
    [result], _ = toy_runs.run(toy_runs.config(home, "jax", **settings))
    assert result.record.error is None
    return home / "results"


@pytest.fixture
def published(results, tmp_path) -> Path:
    assert publish.main([str(results), f"--output_dir={tmp_path / 'published'}", "--noreport"]) == 0
    return tmp_path / "published"


@pytest.mark.jax
def test_a_published_trial_runs_again_from_its_own_sources(published, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"--config={published / 'logs' / TRIAL / 'run.toml'}", f"--data_dir={tmp_path / 'data'}", "--json"]
    capsys.readouterr()
    assert run_verb.main(words, registry=toy_runs.REGISTRY) == 0
    shown = capsys.readouterr()
    [trial] = json.loads(shown.out)["result"]["trials"]
    assert Path(trial["record"]["submission"]).resolve().is_relative_to(published / "sources/mine")
    rows = [
        toy_runs.rows(where / "eval_measurements.csv")
        for where in (published / "logs" / TRIAL, Path(trial["trial_dir"]))
    ]
    assert [row["validation/loss"] for row in rows[0]] == [row["validation/loss"] for row in rows[1]]
    assert "changed since" not in shown.err


@pytest.mark.jax
def test_logs_name_no_folder_of_the_machine_and_checksums_fit(published, results):
    done = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=published, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in published.iterdir()} == {
        "logs",
        "sources",
        "manifest.json",
        "SHA256SUMS",
        "README.md",
    }
    for path in (published / "logs").rglob("*"):
        assert not path.is_file() or str(results.parent) not in path.read_text()
    record = json.loads((published / "logs" / TRIAL / TRIAL_FILE).read_text())
    assert "submission" not in record
    manifest = json.loads((published / "manifest.json").read_text())
    assert manifest["submissions"]["mine"]["submission_digest"] == record["provenance"]["submission_digest"]
    assert not list((published / "logs").rglob("flags_*.json"))


@pytest.mark.jax
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda root: (root / "logs" / TRIAL / "eval_measurements.csv").write_text("score\n1\n"), "was changed"),
        (lambda root: (root / "sources/mine/mine/helper.py").unlink(), "sources/mine/mine/helper.py is missing"),
        (lambda root: (root / "logs/more.txt").write_text("x"), "logs/more.txt is not in the manifest"),
    ],
)
def test_any_change_of_a_published_folder_is_named(published, change, said, capsys):
    assert publish.main([str(published), "--check"]) == 0
    change(published)
    assert publish.main([str(published), "--check"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.jax
def test_what_cannot_be_published_is_refused_and_named(results, published, tmp_path, capsys):
    def refusal(*words: str) -> str:
        assert publish.main([*words, "--noreport"]) == 2
        return capsys.readouterr().err

    assert "is not empty" in refusal(str(results), f"--output_dir={published}")
    assert "holds no finished trial" in refusal(str(tmp_path / "published"), f"--output_dir={tmp_path / 'a'}")
    other = tmp_path / "other.py"
    other.write_text("pass\n")
    said = refusal(str(results), f"--submission={other}", f"--output_dir={tmp_path / 'b'}")
    assert "the sources of mine are not those that ran in" in said
    assert "expected hf:OWNER/DATASET" in refusal(str(results), "--to=ftp:x", f"--output_dir={tmp_path / 'c'}")
    assert not (tmp_path / "b").exists()


def test_a_folder_without_a_manifest_is_no_publication(tmp_path, capsys):
    assert publish.main([str(tmp_path), "--check"]) == 2
    assert "manifest.json" in capsys.readouterr().err


def test_sources_of_the_shared_package_and_of_folders_above_keep_their_names(tmp_path):
    below = tmp_path / "team/mine"
    below.mkdir(parents=True)
    (tmp_path / "team/common.py").write_text("X = 1\n")
    (below / "submission.py").write_text(
        "from team.common import X\nfrom reference_algorithms.common import schedules\n"
    )
    found = SubmissionSources.of(below / "submission.py")
    assert str(found.main) == "team/mine/submission.py"
    assert {"team/common.py", "reference_algorithms/common/schedules.py"} <= {str(path) for path in found.files}
    with pytest.raises(PublishError, match="is not there; name its file with --submission"):
        SubmissionSources.of(tmp_path / "none.py")


class Hub(BaseHTTPRequestHandler):
    """As much of Hugging Face as the client asks for: a dataset is made, and a commit of small files arrives."""

    seen: ClassVar[list[tuple[str, str]]] = []
    commits: ClassVar[list[list[dict]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.seen.append((self.path, self.headers.get("Authorization", "")))
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in json.loads(body)["files"]
            ]
            return self.answer({"files": files})
        if "/commit/" in self.path:
            self.commits.append([json.loads(line) for line in body.splitlines()])
            return self.answer(
                {"commitUrl": f"{self.base}/datasets/me/runs/commit/1", "commitOid": "1", "pullRequestUrl": None}
            )
        return self.answer({"url": f"{self.base}/datasets/me/runs", "name": "me/runs", "id": "me/runs"})

    def do_GET(self) -> None:
        self.answer({"id": "me/runs", "sha": "0", "siblings": [], "private": False, "type": "dataset", "tags": []})

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, content: dict) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.jax
def test_a_dataset_gets_every_file_and_only_when_asked(published, capsys):
    pytest.importorskip("huggingface_hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_TOKEN": "hf_stub"}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(published.parent / "hf")}
    words = [sys.executable, "-m", "algoperf", "publish", str(published), "--check", "--to=hf:me/runs"]
    dry = subprocess.run(words, env=environment, cwd=toy_runs.ROOT, capture_output=True, text=True)
    assert "not sent: --send would send it to hf:me/runs" in dry.stdout
    assert Hub.seen == []
    done = subprocess.run(
        [*words, "--send", "--json"], env=environment, cwd=toy_runs.ROOT, capture_output=True, text=True
    )
    server.shutdown()
    server.server_close()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["sent_to"].endswith("/datasets/me/runs/commit/1")
    sent = {line["value"]["path"] for commit in Hub.commits for line in commit if line["key"] == "file"}
    assert sent == {path.relative_to(published).as_posix() for path in published.rglob("*") if path.is_file()}


GH = """#!/bin/sh
echo "$@" >> {log}
case "$1 $2" in
  "api user") echo me ;;
  "repo fork")
    shift 6
    git clone --quiet {remote} "$1" 2>&1
    git -C "$1" config user.email me@example.org
    git -C "$1" config user.name Me ;;
  "pr create") echo https://github.com/team/results/pull/1 ;;
esac
"""


@pytest.mark.jax
def test_a_pull_request_holds_the_folder_on_a_branch_of_a_fork(published, tmp_path, monkeypatch, capsys):
    remote, log = tmp_path / "remote.git", tmp_path / "gh.log"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    program = tmp_path / "bin/gh"
    program.parent.mkdir()
    program.write_text(GH.format(log=log, remote=remote))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    words = [str(published), "--check", "--to=github:team/results"]
    assert publish.main(words) == 0
    assert not log.exists()
    assert publish.main([*words, "--send"]) == 0
    assert "https://github.com/team/results/pull/1" in capsys.readouterr().out
    digest = json.loads((published / "manifest.json").read_text())["submissions"]["mine"]["submission_digest"]
    assert f"--head me:results-{digest}" in log.read_text()
    listed = subprocess.run(
        ["git", "-C", str(remote), "ls-tree", "-r", "--name-only", f"results-{digest}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(listed) == {
        f"publications/published/{path.relative_to(published)}" for path in published.rglob("*") if path.is_file()
    }


@pytest.mark.jax
def test_a_missing_or_refusing_client_is_one_line(published, tmp_path, monkeypatch, capsys):
    words = [str(published), "--check", "--to=github:team/results", "--send"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert publish.main(words) == 2
    assert "needs gh; install it" in capsys.readouterr().err
    for name, text in (("gh", "#!/bin/sh\necho 'not signed in' >&2\nexit 4\n"), ("git", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    assert publish.main(words) == 2
    assert "gh api user failed: not signed in" in capsys.readouterr().err
