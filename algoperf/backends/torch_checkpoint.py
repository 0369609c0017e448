"""Device state of a PyTorch run on disk, by `torch.save`.

`state.pt` holds rank 0's state. Where other ranks' optimizer states differ (a sharded optimizer), each has its own
`rank_<r>.pt` besides.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from algoperf.backends import torch_state
from algoperf.backends.base import StateMismatchError
from algoperf.backends.torch_state import TensorKinds
from algoperf.data.disk_space import format_bytes
from algoperf.pytorch_utils import unwrapped

_STATE = "state.pt"
_MAX_DEVICES = 64  # of one machine
_OPTIMIZER_STATE = "optimizer_state"
_PER_RANK = ("model_state", _OPTIMIZER_STATE)
_FRESH = "fresh_tensors"


def save(
    directory: Path,
    state: Mapping[str, Any],
    *,
    rank: int,
    gather: Callable[[Any], list[Any]] = lambda v: [v],
    fresh: TensorKinds | None = None,
) -> None:
    """Writes `state` into `directory`; all ranks call it.

    Args:
      fresh: tensors of the optimizer state as `init_optimizer_state` returned it; None where that is not known.
      gather: returns the values of all ranks in rank order.

    Raises:
      UnsavableStateError: names the entry of the optimizer state that cannot be kept.
      OSError: the files cannot be written.
    """
    own: dict[str, Any] = {**encode(state), _FRESH: fresh}
    digests = gather(_digest(own))
    if rank == 0:
        params = unwrapped(state["model_params"]).state_dict()
        whole = {"model_params": dict(params), **own, "ranks_differ": len(set(digests)) > 1, "num_ranks": len(digests)}
        _write(whole, directory / _STATE)
    elif digests[rank] != digests[0]:
        _write(own, directory / _rank_file(rank))


def write(file: BinaryIO, state: Mapping[str, Any], *, fresh: TensorKinds | None = None) -> None:
    """Writes what `save` does, of one process, into one file.

    Raises:
      UnsavableStateError: as in `save`.
    """
    params = unwrapped(state["model_params"]).state_dict()
    torch.save({"model_params": dict(params), **encode(state), _FRESH: fresh}, file)


def read(file: BinaryIO, template: Mapping[str, Any], *, device: Any) -> dict[str, Any]:
    """Reads what `write` wrote; raises as `load` does."""
    whole = _read(file, device)
    module = _loaded_module(template["model_params"], whole)
    return {"model_params": module, **_decoded(whole, template)}


def encode(state: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """What each rank may keep of its own, as plain data.

    Raises:
      UnsavableStateError: as in `save`.
    """
    return {name: torch_state.encode(state[name], name) for name in _PER_RANK}


def load(directory: Path, template: Mapping[str, Any], *, rank: int, num_ranks: int, device: Any) -> dict[str, Any]:
    """Restores what `save` wrote into the objects of `template` and returns them.

    Raises:
      StateMismatchError: the files are intact but do not fit `template` or the number of ranks.
      ValueError: the files are unreadable.
    """
    whole = _read(directory / _STATE, device)
    if whole["ranks_differ"] and whole["num_ranks"] != num_ranks:
        raise StateMismatchError(
            f"the checkpoint was written by {whole['num_ranks']} processes with an optimizer state of their own each, "
            f"this run has {num_ranks}; resume with {whole['num_ranks']}"
        )
    own_file = directory / _rank_file(rank)
    own = _read(own_file, device) if own_file.exists() else whole
    module = _loaded_module(template["model_params"], whole)
    return {"model_params": module, **_decoded(own, template)}


def _decoded(own: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """The rank's own entries. Tensors of the optimizer state may have changed in training, its fresh ones may not."""
    fresh = own.get(_FRESH)
    if fresh is not None:
        torch_state.check_tensor_kinds(fresh, template[_OPTIMIZER_STATE], _OPTIMIZER_STATE)
    return {
        name: torch_state.decode(
            own[name], template[name], name, keeps_shapes=fresh is None or name != _OPTIMIZER_STATE
        )
        for name in _PER_RANK
    }


def load_model(directory: Path, template: Mapping[str, Any], *, device: Any) -> dict[str, Any]:
    """As `load`, of rank 0 and without the optimizer state."""
    whole = _read(directory / _STATE, device)
    name = "model_state"
    module = _loaded_module(template["model_params"], whole)
    return {"model_params": module, name: torch_state.decode(whole[name], template[name], name)}


def _loaded_module(module: Any, whole: Mapping[str, Any]) -> Any:
    try:
        unwrapped(module).load_state_dict(whole["model_params"])
    except RuntimeError as error:
        raise StateMismatchError(f"the checkpoint's model does not fit this run: {error}") from error
    return module


def _write(value: dict[str, Any], path: Path) -> None:
    try:
        torch.save(value, path)
    except RuntimeError as error:  # what PyTorch's writer makes of a full disk, without its cause
        free = shutil.disk_usage(path.parent).free
        raise OSError(f"cannot write {path} ({format_bytes(free)} are free on this disk): {error}") from error


def _read(path: Path | BinaryIO, device: Any) -> dict[str, Any]:
    # Only what was on a GPU moves: optimizers keep step counters on the CPU.
    locations = {f"cuda:{index}": str(device) for index in range(_MAX_DEVICES)}
    try:
        state: dict[str, Any] = torch.load(path, map_location=locations, weights_only=True)
        return state
    except OSError:
        raise
    except Exception as error:  # zip, pickle and storage readers raise many kinds
        raise ValueError(f"{path} cannot be read: {error}") from error


def _digest(own: Mapping[str, tuple[Any, ...]]) -> str:
    hasher = hashlib.blake2b(digest_size=16)
    for name in _PER_RANK:
        torch_state.digest(own[name], hasher)
    return hasher.hexdigest()


def _rank_file(rank: int) -> str:
    return f"rank_{rank}.pt"
