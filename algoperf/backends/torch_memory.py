"""Memory of a training step, foretold without running it: on the meta device, where tensors have no values."""

import weakref
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from algoperf import spec
from algoperf.backends import memory_shortage
from algoperf.backends.base import Model

# Moments of AdamW, the state of most optimizers.
_OPTIMIZER_TENSORS = 2
# Batches that lie on the device: the one in use and those that the prefetcher holds ready.
_BATCHES_HELD = 3


class _FusedAttention(torch.autograd.Function):
    """Memory of attention in one kernel, which keeps its inputs, its output and a number for each query."""

    @staticmethod
    def forward(ctx: Any, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        read = values.new_empty(*queries.shape[:-1], values.shape[-1])
        ctx.save_for_backward(queries, keys, values, read, queries.new_empty(queries.shape[:-1]))
        return read

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


class _ConnectionistLoss(torch.autograd.Function):
    """Memory of the CTC loss, which keeps a table [T, B, 2 N + 1] and makes a gradient of the logits."""

    @staticmethod
    def forward(ctx: Any, log_probs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        steps, rows, _ = log_probs.shape
        ctx.save_for_backward(log_probs, log_probs.new_empty(steps, rows, 2 * targets.shape[1] + 1))
        return log_probs.new_empty(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return torch.empty_like(ctx.saved_tensors[0]), None


class _Recurrence(torch.autograd.Function):
    """Memory of one direction of an LSTM in one kernel, which keeps gates and cells of each step."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        cells = weights[1].shape[1]
        outputs = inputs.new_empty(*inputs.shape[:2], cells)
        ctx.save_for_backward(inputs, *weights, outputs, inputs.new_empty(*inputs.shape[:2], 6 * cells))
        return outputs

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:-2])


class _KernelsOfGpus(TorchFunctionMode):
    """Takes the place of operators that the meta device lacks, or computes otherwise than GPUs do."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            return cast(Any, _FusedAttention).apply(*args[:3])
        if function is F.dropout:  # keeps a byte for each element
            return torch.native_dropout(args[0], kwargs["p"], True)[0]
        if function is torch.lstm:
            return cast(Any, _Recurrence).apply(args[0], *args[2]), None, None
        if function is F.ctc_loss:
            return cast(Any, _ConnectionistLoss).apply(*args[:2])
        return function(*args, **(kwargs or {}))


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operators make, while they live, and their maximum."""

    def __init__(self) -> None:
        cast(Any, super()).__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self._note(tensor.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._release, key, storage.nbytes())

    def _release(self, key: int, num_bytes: int) -> None:
        self._known.discard(key)
        self.now -= num_bytes


def training_bytes(model: Model, batch: spec.Batch, *, dropout_rate: float = 0.1) -> int:
    """Peak bytes of training with AdamW on batches like `batch` (tensors): parameters, moments, gradients, activations.

    Workspaces of kernels, fragments of the allocator and the driver's own memory (about half a GB) come on top.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        module, state = model.init(None)
    placed: Mapping[str, Any] = tree_map_only(torch.Tensor, lambda t: torch.empty_like(t, device="meta"), dict(batch))
    held = _OPTIMIZER_TENSORS * sum(_bytes(p) for p in module.parameters())
    held += sum(map(_bytes, module.state_dict().values()))
    held += _BATCHES_HELD * sum(_bytes(t) for t in tree_leaves(placed))
    with _KernelsOfGpus(), LiveBytes() as live:
        logits, _ = model.forward(
            module, placed, state, train=True, rng=None, update_batch_norm=True, dropout_rate=dropout_rate
        )
        loss = model.loss(placed["targets"], logits, placed.get("weights"), 0.0)
        (loss["summed"] / loss["n_valid_examples"]).backward()
    return int(held + live.peak)


def shortage(model: Model, batch: spec.Batch, available_bytes: int) -> str | None:
    """What a person should know before a run on batches like `batch` (tensors); None where a step seems to fit.

    Args:
      available_bytes: of the device.
    """
    return memory_shortage.warning(
        lambda rows: training_bytes(model, first_rows(batch, rows)),
        len(batch["targets"]),
        [len(tensor) for tensor in tree_leaves(batch)],
        available_bytes,
    )


def first_rows(batch: spec.Batch, count: int) -> spec.Batch:
    """The first `count` rows of every tensor."""
    rows: spec.Batch = tree_map_only(torch.Tensor, lambda tensor: tensor[:count], dict(batch))
    return rows


def _bytes(tensor: torch.Tensor) -> int:
    return int(tensor.numel() * tensor.element_size())
