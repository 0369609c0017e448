"""The name of this node among those of a run."""

import os
import socket

NODE_VARIABLE = "ALGOPERF_NODE"


def node_name() -> str:
    """As the launcher, else SLURM, else the machine names it."""
    return os.environ.get(NODE_VARIABLE) or os.environ.get("SLURMD_NODENAME") or socket.gethostname()
