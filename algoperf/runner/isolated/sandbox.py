"""Namespaces in which a process has no network, sees none of the given folders, and can change no file.

They need Linux and `unshare`, `setpriv` and `mount` of util-linux. A user namespace comes first; where the machine
refuses it, the other namespaces are made with the rights of root, where this process has them. What runs inside has no
capability left to undo any of it, and none of its processes outlives the one that started it.
"""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from algoperf.runner.run_config import ConfigError

_NAMESPACES = ("--net", "--ipc", "--mount", "--pid", "--fork", "--kill-child")
_OF_USER = ("--user", "--map-current-user", "--keep-caps")
_PROGRAMS = ("unshare", "setpriv", "mount", "sh")
_TIMEOUT_S = 30
# $1: working directory; $2: empty folder for temporary files; hidden folders up to --; then the command.
_SCRIPT = r"""
set -e
directory=$1 temporary=$2
shift 2
mount --make-rprivate /
while [ "$1" != -- ]; do
  mount -t tmpfs tmpfs "$1"
  shift
done
shift
mkdir -p "$temporary"
mount -t tmpfs tmpfs "$temporary"
mount -t tmpfs tmpfs /dev/shm
while read -r _ _ _ _ point _; do
  point=$(printf '%b' "$(printf '%s' "$point" | sed 's/\\\([0-7][0-7][0-7]\)/\\0\1/g')")
  case $point in "$temporary" | /dev/shm) continue ;; esac
  mount -o remount,bind,ro "$point" 2>/dev/null || [ "$point" != / ]
done < /proc/self/mountinfo
mount -t proc proc /proc 2>/dev/null || true
cd "$directory" 2>/dev/null || cd /
exec setpriv --bounding-set=-all --inh-caps=-all --ambient-caps=-all --no-new-privs -- "$@"
"""


def command(words: Sequence[str], *, hidden: Iterable[Path] = (), temporary: Path, user: bool = True) -> list[str]:
    """The command that runs `words` in namespaces; it ends with the process that starts it.

    Args:
      hidden: folders that are there and are to appear empty.
      temporary: a folder that is private to the command, and the only one besides /dev/shm where it can write.
      user: whether to make a user namespace; without one, only root can.
    """
    unshare = ("setpriv", "--pdeathsig", "KILL", "unshare", *(_OF_USER if user else ()), *_NAMESPACES)
    folders = [str(folder) for folder in hidden]
    return [*unshare, "sh", "-c", _SCRIPT, "sh", os.getcwd(), str(temporary), *folders, "--", *words]


def temporary_folder() -> Path:
    """An empty folder, which each command covers with one of its own."""
    folder = Path(tempfile.gettempdir()) / f"algoperf_isolated_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder.resolve()


def folders_to_hide(folders: Iterable[Path], needed: Iterable[Path]) -> list[Path]:
    """The folders that are there, without links, and those that links directly below them lead to.

    Args:
      needed: files and folders that must stay visible.

    Raises:
      ConfigError: one of them lies in a folder to hide.
    """
    real: dict[Path, None] = {}
    for folder in folders:
        if folder.is_dir():
            links = [entry for entry in sorted(folder.iterdir()) if entry.is_symlink() and entry.is_dir()]
            real.update(dict.fromkeys(entry.resolve() for entry in (folder, *links)))
    hidden = [folder for folder in real if not any(folder.is_relative_to(o) for o in real if o != folder)]
    for path in needed:
        for folder in hidden:
            if path.resolve().is_relative_to(folder):
                raise ConfigError(
                    f"--isolated hides {folder}, and {path}, which the submission needs, lies in it; keep data and "
                    "experiments in folders of their own"
                )
    return hidden


def folders_of_python() -> list[Path]:
    """What a Python process like this one needs to start and import."""
    return [Path(entry) for entry in (sys.prefix, sys.base_prefix, *sys.path) if entry and Path(entry).exists()]


@functools.cache
def makes_user_namespace() -> bool:
    """Whether a user namespace is made; False where root makes the others without one.

    Raises:
      ConfigError: this machine refuses both, or programs are missing.
    """
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing or sys.platform != "linux":
        what = "Linux" if sys.platform != "linux" else f"{', '.join(missing)} of util-linux"
        raise ConfigError(f"--isolated needs {what}; install it, or leave the flag out")
    refusal = _refusal(user=True)
    if refusal is None:
        return True
    if os.getuid() == 0 and _refusal(user=False) is None:
        return False
    raise ConfigError(
        f"--isolated needs user namespaces or the rights of root to make namespaces, and this machine refuses both "
        f"({refusal}); allow them (sysctl user.max_user_namespaces, the settings of the container), or leave the flag "
        "out"
    )


def _refusal(*, user: bool) -> str | None:
    """Why a command cannot be run; None where it can."""
    words = command(["true"], temporary=temporary_folder(), user=user)
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else " ".join(done.stderr.split()) or f"exit status {done.returncode}"
