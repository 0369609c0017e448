"""A real SLURM on this machine: munged, slurmctld and a slurmd for each of two nodes, with their files in one folder.

  python tests/runner/slurm_cluster.py -- COMMAND...

runs a command with SLURM_CONF set and stops the cluster afterwards.
"""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
NODES = ("n1", "n2")
ARRAY_LIMIT = 4
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# A job that goes back into the queue starts again once its old credential has expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd_%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool_%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd_%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MaxArraySize={array_limit}
KillWait=30
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
"""
_SBIN = ("/usr/sbin", "/usr/local/sbin")
_START_S = 30


def missing() -> str:
    """Why no cluster can start here; empty where one can."""
    absent = [name for name in (*DAEMONS, *COMMANDS) if _path(name) is None]
    return f"needs {', '.join(absent)} (apt-get install slurm-wlm munge)" if absent else ""


class SlurmCluster:
    """Two nodes of one core each. Entered, it runs; left, its daemons are gone."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm_", dir="/tmp"))  # paths of sockets are short
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "SlurmCluster":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self) -> None:
        folder, host = self.folder, socket.gethostname().partition(".")[0]
        (folder / "state").mkdir()
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        text = CONF.format(host=host, user=getpass.getuser(), folder=folder, ports=_ports(3), array_limit=ARRAY_LIMIT)
        (folder / "slurm.conf").write_text(text)
        files = [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
        socket_file = f"--socket={folder}/munge.socket"
        self._daemon("munged", "--foreground", "--force", f"--key-file={key}", socket_file, *files)
        self.start_controller()
        for node in NODES:
            (folder / f"spool_{node}").mkdir()
            self._daemon(f"slurmd {node}", "-D", "-N", node)
        self._wait_until_idle()

    def start_controller(self) -> None:
        """Starts slurmctld, which reads the state that an earlier one left."""
        self._daemon("slurmctld", "-D")

    def stop_controller(self) -> None:
        self._stop("slurmctld")

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _daemon(self, name: str, *options: str) -> None:
        with (self.folder / f"{name}.out".replace(" ", "_")).open("a") as output:
            self._daemons[name] = subprocess.Popen(
                [str(_path(name.partition(" ")[0])), *options],
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def _stop(self, name: str) -> None:
        daemon = self._daemons.pop(name)
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(timeout=20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _wait_until_idle(self) -> None:
        deadline_s = time.monotonic() + _START_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(AssertionError):
                if self.ask("sinfo", "--noheader", "--Node", "--format=%T").split() == ["idle"] * len(NODES):
                    return
            time.sleep(0.2)
        raise TimeoutError(f"no idle nodes after {_START_S} s: {(self.folder / 'slurmctld.log').read_text()[-2000:]}")

    def _end_jobs(self) -> None:
        """Cancels what is left, and waits for it: without its daemon a step would never end."""
        self.ask("scancel", "--me", "--full")
        deadline_s = time.monotonic() + _START_S
        while self.ask("squeue", "--noheader") and time.monotonic() < deadline_s:
            time.sleep(0.2)

    def __exit__(self, *exception: object) -> None:
        if "slurmctld" in self._daemons:
            with contextlib.suppress(AssertionError):
                self._end_jobs()
        for name in reversed(list(self._daemons)):
            self._stop(name)
        shutil.rmtree(self.folder, ignore_errors=True)


def _path(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(_SBIN))


def _ports(count: int) -> list[int]:
    with contextlib.ExitStack() as listeners:
        sockets = [listeners.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


if __name__ == "__main__":
    if missing():
        sys.exit(missing())
    with SlurmCluster() as cluster:
        command = sys.argv[sys.argv.index("--") + 1 :]
        sys.exit(subprocess.run(command, env={**os.environ, **cluster.environment}).returncode)
