"""A run in namespaces of its own: no network, and no file that it can change but those of its results.

It needs Linux with unprivileged user namespaces, and `unshare` and `setpriv` of util-linux. The process is replaced by
one in new user, mount and network namespaces, where every file system is read-only but the experiment's folder and
private temporary folders, and which has no capability left to undo that. Evaluations stay in the process: data stay
readable.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from algoperf.runner.run_config import ConfigError

_MARK = "ALGOPERF_ISOLATED"
_UNSHARE = ("unshare", "--user", "--map-current-user", "--keep-caps", "--net", "--mount")
_TIMEOUT_S = 30
# $1: folder that stays writable; $2: empty folder for temporary files; then the command.
_SCRIPT = r"""
set -e
results=$1 temporary=$2
shift 2
mount --make-rprivate /
mount --bind "$results" "$results"
mount -t tmpfs tmpfs "$temporary"
mount -t tmpfs tmpfs /dev/shm
while read -r _ _ _ _ point _; do
  point=$(printf '%b' "$(printf '%s' "$point" | sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g')")
  case $point in "$results" | "$temporary" | /dev/shm) continue ;; esac
  mount -o remount,bind,ro "$point" 2>/dev/null || [ "$point" != / ]
done < /proc/self/mountinfo
exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs -- "$@"
"""


def is_isolated() -> bool:
    """Whether this process is one that `isolate` started."""
    return _MARK in os.environ


def isolate(experiment_dir: Path) -> None:
    """Replaces this process by the same command in namespaces of its own; does not return.

    Args:
      experiment_dir: stays writable; made where it is not there.

    Raises:
      ConfigError: the platform cannot do it, or the run has several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--isolated is for runs of one process; leave it out under torchrun")
    experiment_dir.mkdir(parents=True, exist_ok=True)
    temporary = f"{tempfile.gettempdir()}/algoperf_isolated_{os.getuid()}"  # empty, and mounted over in each run
    os.makedirs(temporary, mode=0o700, exist_ok=True)
    environment = {**os.environ, _MARK: "1", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": temporary}
    environment["XDG_CACHE_HOME"] = temporary
    _check(experiment_dir, temporary)
    words = command([sys.executable, *sys.orig_argv[1:]], experiment_dir.resolve(), temporary)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(words[0], words, environment)


def command(words: Sequence[str], results: Path, temporary: str) -> list[str]:
    """The command that runs `words` isolated."""
    return [*_UNSHARE, "sh", "-c", _SCRIPT, "sh", str(results), temporary, *words]


def _check(experiment_dir: Path, temporary: str) -> None:
    missing = [program for program in ("unshare", "setpriv", "mount") if shutil.which(program) is None]
    if missing:
        raise ConfigError(f"--isolated needs {', '.join(missing)} of util-linux; install it, or leave the flag out")
    done = subprocess.run(
        command(["true"], experiment_dir.resolve(), temporary), capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise ConfigError(
            f"--isolated needs user namespaces, which this machine refuses ({reason}); leave the flag out"
        )
