"""Starts the processes of one run on this node, and has them join those of the other nodes:

  python -m algoperf.runner.launch --framework=pytorch --processes=8 submission_runner.py --workload=wmt ...

is started once on every node. Which nodes there are comes from SLURM's variables, from ALGOPERF_NODES,
ALGOPERF_NODE_RANK and ALGOPERF_HEAD, or from --nodes, --node_rank and --head. PyTorch gets a process for each device,
by torchrun; JAX gets one for each node, with all devices of it.
"""

import argparse
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import psutil

from algoperf import nvidia
from algoperf.definition import FRAMEWORKS, JAX
from algoperf.errors import UserError
from algoperf.node import NODE_VARIABLE, node_name
from algoperf.runner.executors import scheduler
from algoperf.runner.executors.resources import Resources

NODES = "nodes"  # the launcher of that name is this module
_GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"
_FIRST_PORT, _NUM_PORTS = 20_000, 10_000


class LaunchError(UserError):
    """Nothing says which nodes there are; one line with what would."""


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The nodes of a run.

    Attributes:
      count: how many.
      rank: this one's number, from 0.
      head, port: where the first one listens.
    """

    count: int = 1
    rank: int = 0
    head: str = "127.0.0.1"
    port: int = _FIRST_PORT

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.count:
            raise LaunchError(f"--node_rank must be 0 to {self.count - 1} for --nodes={self.count}, got {self.rank}")

    @classmethod
    def here(cls, environment: Mapping[str, str]) -> Self:
        """Those that ALGOPERF_NODES, ALGOPERF_NODE_RANK and ALGOPERF_HEAD name, else those of SLURM's step, else one.

        Raises:
          LaunchError: a variable is missing.
          SchedulerError: SLURM does not say the names of its nodes.
        """
        if "ALGOPERF_NODES" in environment:
            return cls.of(environment["ALGOPERF_NODES"], node_rank(environment), environment.get("ALGOPERF_HEAD", ""))
        count = int(environment.get("SLURM_STEP_NUM_NODES") or environment.get("SLURM_NNODES") or 1)
        job = environment.get("SLURM_JOB_ID", "")
        port = _FIRST_PORT + (int(job) if job.isdigit() else os.getpid()) % _NUM_PORTS
        if count == 1:
            return cls(port=port)
        names = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"]
        head = environment.get("SLURM_LAUNCH_NODE_IPADDR") or scheduler.host_names(names)[0]
        return cls(count=count, rank=node_rank(environment), head=head, port=port)

    @classmethod
    def of(cls, count: str | int, rank: int | None, head: str) -> Self:
        """Those that a person or a script names.

        Raises:
          LaunchError: one of the three is missing or no number.
        """
        host, _, port = head.rpartition(":")
        if rank is None or not str(count).isdigit() or not host or not port.isdigit():
            raise LaunchError(
                f"expected a number of nodes, the number of this one and HOST:PORT of the first, got {count}, {rank} "
                f"and {head!r}; give --nodes, --node_rank, --head, or ALGOPERF_NODES, ALGOPERF_NODE_RANK, ALGOPERF_HEAD"
            )
        return cls(count=int(count), rank=rank, head=host, port=int(port))

    def command(self, framework: str, processes: int, runner: Sequence[str]) -> list[str]:
        """The command that runs this node's processes."""
        if framework == JAX.name:
            return [sys.executable, *runner]
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            f"--nnodes={self.count}",
            f"--node_rank={self.rank}",
            f"--nproc_per_node={processes}",
            f"--master_addr={self.head}",
            f"--master_port={self.port}",
            *runner,
        ]

    def environment(self, framework: str) -> dict[str, str]:
        """What the processes are told besides."""
        told = {NODE_VARIABLE: node_name()}
        if framework == JAX.name and self.count > 1:
            told |= {
                "JAX_COORDINATOR_ADDRESS": f"{self.head}:{self.port}",
                "JAX_NUM_PROCESSES": str(self.count),
                "JAX_PROCESS_ID": str(self.rank),
            }
        if framework != JAX.name and self.count > 1 and (interface := interface_to(self.head, self.port)):
            told[_GLOO_INTERFACE] = os.environ.get(_GLOO_INTERFACE, interface)
        return told


def interface_to(host: str, port: int) -> str | None:
    """The network interface by which this machine reaches another, or itself by its name; None where it does not.

    Gloo would take the one that this machine's name leads to, often the loopback interface.
    """
    try:
        [family, *_, address] = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.connect(address)
            mine = sender.getsockname()[0]
    except OSError:
        return None
    interfaces = psutil.net_if_addrs().items()
    return next((name for name, addresses in interfaces if any(entry.address == mine for entry in addresses)), None)


def node_rank(environment: Mapping[str, str] = os.environ) -> int:
    """Number of this node among those of a run, from 0."""
    named = environment.get("ALGOPERF_NODE_RANK") or environment.get("SLURM_NODEID") or "0"
    if not named.isdigit():
        raise LaunchError(f"ALGOPERF_NODE_RANK={named}: expected a number from 0")
    return int(named)


def launch_words(launcher: Sequence[str], framework: str, resources: Resources | None) -> list[str]:
    """What goes before the runner's path: Python, the words of the command, or this module where a run needs it.

    Args:
      launcher: words of the command; `nodes` at their head stands for this module, none for what the resources need.
    """
    several = resources is not None and (resources.nodes > 1 or (framework != JAX.name and (resources.gpus or 1) > 1))
    if not launcher and not several:
        return [sys.executable]
    if launcher and launcher[0] != NODES:
        return list(launcher)
    gpus = [] if resources is None or resources.gpus is None else [f"--processes={resources.gpus}"]
    return [sys.executable, "-m", "algoperf.runner.launch", f"--framework={framework}", *gpus, *launcher[1:]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m algoperf.runner.launch", allow_abbrev=False)
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), required=True)
    parser.add_argument("--processes", type=int, help="of this node, PyTorch only (default: one for each GPU)")
    parser.add_argument("--nodes", type=int, help="how many (default: SLURM's)")
    parser.add_argument("--node_rank", type=int, help="number of this node, from 0 (default: SLURM's)")
    parser.add_argument("--head", metavar="HOST:PORT", help="where the first node listens (default: SLURM's)")
    parser.add_argument("runner", nargs=argparse.REMAINDER, help="the runner's path and its flags")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Becomes the run's process of this node, so that signals and the exit status are those of the run."""
    options = _parser().parse_args(arguments)
    try:
        given = options.nodes is not None
        nodes = Nodes.of(options.nodes, options.node_rank, options.head or "") if given else Nodes.here(os.environ)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    command = nodes.command(options.framework, options.processes or len(nvidia.gpus()) or 1, options.runner)
    os.execve(command[0], command, {**os.environ, **nodes.environment(options.framework)})


if __name__ == "__main__":
    sys.exit(main())
