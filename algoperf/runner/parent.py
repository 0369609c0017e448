"""Runs that a suite starts end with it, also when the suite is killed: each looks once a second whether it is there.

The suite's process is named in an environment variable, so that the processes of a launcher (torchrun) know it too.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping

import psutil

from algoperf.background import THREAD_PREFIX

_VARIABLE = "ALGOPERF_SUITE_PROCESS"
_PERIOD_S = 1.0
_GRACE_S = 300.0  # a step and a checkpoint fit in; a process that hangs does not keep the trial's lock for ever


def child_environment() -> dict[str, str]:
    """The environment of a process that is to end with this one."""
    return {**os.environ, _VARIABLE: f"{os.getpid()}:{socket.gethostname()}"}


def end_with_suite(environment: Mapping[str, str] = os.environ) -> threading.Thread | None:
    """Watches the suite that started this process, if one on this machine did; once it is gone, asks to stop.

    Asking is SIGTERM, upon which a run writes a checkpoint and its record; SIGKILL follows after five minutes.
    """
    number, _, host = environment.get(_VARIABLE, "").partition(":")
    if not number.isdigit() or host != socket.gethostname():
        return None
    try:
        suite = psutil.Process(int(number))
    except psutil.Error:
        suite = None
    thread = threading.Thread(target=_watch, args=(suite,), daemon=True, name=f"{THREAD_PREFIX}suite-watch")
    thread.start()
    return thread


def _watch(suite: psutil.Process | None) -> None:
    while _is_alive(suite):
        time.sleep(_PERIOD_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_alive(process: psutil.Process | None) -> bool:
    """A process that has ended but was not waited for (a zombie) is not alive; nor is another with its number."""
    try:
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
