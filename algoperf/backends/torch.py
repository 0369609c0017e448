"""PyTorch on one device, or on one device per process under torchrun."""

import contextlib
import copy
import gc
import importlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from algoperf import nvidia, spec
from algoperf.backends import host_memory, precision, torch_checkpoint, torch_microbatches, torch_module, torch_state
from algoperf.backends.base import Model
from algoperf.backends.microbatches import check_splits
from algoperf.backends.torch_processes import TorchStore, join
from algoperf.backends.torch_state import TensorKinds
from algoperf.backends.torch_workload import TorchWorkload
from algoperf.definition import PYTORCH, WorkloadDefinition
from algoperf.edition import MatmulPrecision
from algoperf.pytorch_utils import pytorch_setup, unwrapped

__all__ = ["TorchBackend", "TorchWorkload", "create", "data_parallel", "set_matmul_precision"]

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory|CU(BLAS|DNN)_STATUS_ALLOC_FAILED")


_PRECISIONS = {MatmulPrecision.FLOAT32: "highest", MatmulPrecision.TF32: "high", MatmulPrecision.BFLOAT16: "medium"}


_INDUCTOR_CACHE, _TRITON_CACHE = "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"
_own_cache: dict[str, str] = {}  # what this process has set the two to


def create(
    *, matmul_precision: MatmulPrecision = MatmulPrecision.FLOAT32, deterministic: bool = False
) -> "TorchBackend":
    """Starts PyTorch; joins the other processes where torchrun has set LOCAL_RANK, RANK and WORLD_SIZE.

    Args:
      matmul_precision: of matrix products and convolutions of the whole process, CPUs excepted.
      deterministic: sums on GPUs have a fixed order; PyTorch warns of operators that have none.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    use_ddp, _, device, _ = pytorch_setup()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not deterministic
        set_matmul_precision(matmul_precision)
        if deterministic:
            use_plain_attention()
    else:
        host_memory.keep_freed()
    if not use_ddp or dist.is_initialized():
        return TorchBackend(device)
    return TorchBackend(device, store=join("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"))


def set_matmul_precision(setting: MatmulPrecision) -> None:
    """Sets matrix products, convolutions and recurrent layers of the whole process on GPUs, and products on CPUs."""
    torch.set_float32_matmul_precision(_PRECISIONS[setting])
    torch.backends.cudnn.allow_tf32 = setting is not MatmulPrecision.FLOAT32


def use_plain_attention() -> None:
    """Attention by separate products from now on: backward passes of fused kernels sum in no fixed order."""
    cuda = torch.backends.cuda
    for enable in (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_cudnn_sdp):
        cast(Callable[[bool], None], enable)(False)


def matmul_precision_settings() -> tuple[MatmulPrecision, MatmulPrecision]:
    """What matrix products and convolutions of this process are set to on GPUs, which know TF32 at most."""
    cudnn = cast(Any, torch.backends.cudnn)  # its `conv` is not typed
    settings = (torch.backends.cuda.matmul.fp32_precision, cudnn.conv.fp32_precision)
    products, convolutions = (MatmulPrecision.TF32 if s == "tf32" else MatmulPrecision.FLOAT32 for s in settings)
    return products, convolutions


def data_parallel(module: nn.Module, **options: Any) -> nn.parallel.DistributedDataParallel:
    """Wraps `module` so that processes average gradients and leave buffers alone: batch statistics are global already.

    `options` are those of DistributedDataParallel.
    """
    known = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    switch = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # renamed in 2.13
    return nn.parallel.DistributedDataParallel(module, **{**options, switch: False})


class TorchBackend:
    """See `algoperf.backends.base.Backend`. Keys are pairs of integers (`torch_random`)."""

    framework = PYTORCH.name
    evaluation_packages = ("numpy", "torch.nn")
    num_local_devices = 1

    def __init__(self, device: torch.device, *, store: TorchStore | None = None) -> None:
        self.device = device
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.num_devices = self.world_size
        self._store = store
        self._fresh_tensors: TensorKinds | None = None
        self._is_cuda = device.type == "cuda"
        self._copy_stream = torch.cuda.Stream(device) if self._is_cuda else None
        self._compilation_cache: Path | None = None
        self._tries_apart = False

    # -- clock and memory

    def fence(self, *trees: Any) -> None:
        if self._is_cuda:
            torch.cuda.synchronize(self.device)

    def reset_memory(self) -> None:
        gc.collect()
        if self._is_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def is_out_of_memory(self, error: BaseException) -> bool:
        if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
            return True
        return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))

    # -- randomness

    def as_keys(self, words: np.ndarray) -> np.ndarray:
        return np.asarray(words).astype(np.int32)

    def seed_global(self, seed: int, step: int) -> None:
        """Seeds this device's generators from (seed, step, rank); ranks draw different dropout masks."""
        mixed = _mixed(seed, step, self.rank)
        torch.default_generator.manual_seed(mixed)
        if self._is_cuda:
            torch.cuda.default_generators[self.device.index].manual_seed(mixed)

    # -- processes

    def barrier(self) -> None:
        self.max_over_ranks(0.0)

    def max_over_ranks(self, value: float) -> float:
        if self.world_size == 1:
            return float(value)
        largest = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)
        return largest.item()

    def gather_objects(self, value: Any) -> list[Any]:
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: Any) -> Any:
        return self.gather_objects(value if self.rank == 0 else None)[0]

    def rank_store(self) -> TorchStore | None:
        return self._store

    # -- data and models

    def put_batch(self, batch: spec.Batch) -> spec.Batch:
        """Tensors on this process's device; on CPU they share memory with the NumPy arrays."""
        if self._copy_stream is None:
            on_device: spec.Batch = _map_arrays(_as_tensor, batch)
            return on_device
        with torch.cuda.stream(self._copy_stream):
            on_device = _map_arrays(self._copy_to_device, batch)
        self._copy_stream.synchronize()
        return on_device

    def _copy_to_device(self, array: np.ndarray) -> torch.Tensor:
        tensor = _as_tensor(array).pin_memory().to(self.device, non_blocking=True)
        tensor.record_stream(torch.cuda.default_stream(self.device))
        return tensor

    def microbatched(self, definition: WorkloadDefinition, model: Model, max_rows: int, sample: spec.Batch) -> Model:
        lengths: list[int] = []
        _map_arrays(lambda array: lengths.append(len(array)), sample)
        module = TorchWorkload(definition, model, self.device).abstract_module
        check_splits(definition.name, lengths, has_batch_statistics=torch_microbatches.has_batch_statistics(module))
        return cast(Model, torch_microbatches.MicrobatchedModel(model, max_rows))

    def build_workload(self, definition: WorkloadDefinition, model: Model) -> TorchWorkload:
        return TorchWorkload(definition, model, self.device)

    def evaluate(
        self, workload: TorchWorkload, params: Any, model_state: Any, batches: Iterator[spec.Batch]
    ) -> Iterator[tuple[spec.Batch, dict[str, np.ndarray]]]:
        with torch_module.no_global_hooks():
            module = workload.evaluation_module(params)  # eager: evaluation must not recompile the training step
            previous = None
            for batch in batches:
                outputs = workload.evaluate_batch(module, self.put_batch(batch), model_state)
                if previous is not None:
                    yield previous[0], _as_numpy(previous[1])
                previous = batch, outputs
            if previous is not None:
                yield previous[0], _as_numpy(previous[1])

    def prepare_model(
        self,
        workload: TorchWorkload,
        params: nn.Module,
        *,
        compile_model: bool | None,
        sample_batch: Callable[[], spec.Batch] | None = None,
    ) -> nn.Module:
        """Wraps in DistributedDataParallel under torchrun and in torch.compile where a trial compilation succeeds."""
        compile_model = self._is_cuda if compile_model is None else compile_model
        is_tried = compile_model or self.world_size > 1 or self._is_cuda
        batch = self.put_batch(sample_batch()) if is_tried and sample_batch is not None else None
        if self._is_cuda and batch is not None:
            available = torch.cuda.get_device_properties(self.device).total_memory
            if (message := workload.memory_shortage(batch, available)) is not None:
                warnings.warn(message, stacklevel=2)
        compiles = compile_model and self._compiles(workload, params, batch)
        unused = self.world_size > 1 and batch is not None and self._leaves_parameters_unused(workload, params, batch)
        ids = [self.device.index] if self._is_cuda else None

        def wrap(module: nn.Module) -> nn.Module:
            if self.world_size > 1:
                module = data_parallel(module, device_ids=ids, find_unused_parameters=unused)
            return cast(nn.Module, torch.compile(module)) if compiles else module

        if compiles:
            workload.compile_loss()
        workload.wrap_with(wrap)
        return wrap(params)

    def use_compilation_cache(self, folder: Path, *, is_shared: bool) -> None:
        self._compilation_cache, self._tries_apart = folder, not is_shared

    def place_state(self, optimizer_state: Any) -> Any:
        self._fresh_tensors = torch_state.tensor_kinds(optimizer_state, "optimizer_state")
        return optimizer_state

    def _compiles(self, workload: TorchWorkload, params: nn.Module, batch: spec.Batch | None) -> bool:
        """Whether model and loss compile and train in every process; a copy is tried."""
        if batch is None:
            warnings.warn("running without torch.compile: there is no batch to try it on", stacklevel=3)
            return False
        torch.compiler.reset()  # or earlier trials would count against the limit of recompilations
        if self._compilation_cache is not None:
            _use_inductor_cache(self._compilation_cache)
        reason = None
        try:
            with (
                _inductor_utils().fresh_cache() if self._tries_apart else contextlib.nullcontext(),
                warnings.catch_warnings(),
            ):
                warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # advice against what was asked for
                self._train_copy(workload, params, batch, torch.compile)
        except Exception as error:  # compilers fail in every way
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        torch.compiler.reset()
        reasons = [r for r in self.gather_objects(reason) if r is not None]
        if reasons:
            warnings.warn(f"running without torch.compile, which failed on this workload ({reasons[0]})", stacklevel=3)
        return not reasons

    def _leaves_parameters_unused(self, workload: TorchWorkload, params: nn.Module, batch: spec.Batch) -> bool:
        trained = self._train_copy(workload, params, batch, lambda function: function)
        return any(p.grad is None for p in trained.parameters() if p.requires_grad)

    def _train_copy(
        self, workload: TorchWorkload, params: nn.Module, batch: spec.Batch, transform: Callable[[Any], Any]
    ) -> nn.Module:
        """Forward and backward with a copy of `params`; touches neither parameters, statistics nor generators."""
        trained = copy.deepcopy(params)
        with torch.random.fork_rng(devices=[self.device.index] if self._is_cuda else []):
            logits, _ = workload.model_fn(transform(trained), batch, None, spec.ForwardPassMode.TRAIN, None, True)
            loss = transform(workload.loss_fn)(batch["targets"], logits, batch.get("weights"))
            (loss["summed"] / loss["n_valid_examples"]).backward()
        return trained

    # -- checkpoints

    def check_savable(self, state: Mapping[str, Any]) -> None:
        torch_checkpoint.encode(state)

    def save_state(self, directory: Path, state: Mapping[str, Any]) -> None:
        torch_checkpoint.save(directory, state, rank=self.rank, gather=self.gather_objects, fresh=self._fresh_tensors)

    def load_state(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        return torch_checkpoint.load(directory, template, rank=self.rank, num_ranks=self.world_size, device=self.device)

    def load_model(self, directory: Path, template: Mapping[str, Any]) -> dict[str, Any]:
        return torch_checkpoint.load_model(directory, template, device=self.device)

    # -- handing over to another process of this machine

    def model_bytes(self, params: Any, model_state: Any) -> dict[str, np.ndarray]:
        return {name: _bytes_of(tensor).numpy() for name, tensor in _described(params).items()}

    def with_model_bytes(self, values: Mapping[str, np.ndarray], params: Any, model_state: Any) -> tuple[Any, Any]:
        with torch.no_grad():
            for name, tensor in _described(params).items():
                tensor.copy_(torch.from_numpy(values[name]).view(tensor.dtype).reshape(tensor.shape))
        return params, model_state

    def write_state(self, file: BinaryIO, state: Mapping[str, Any]) -> None:
        torch_checkpoint.write(file, state, fresh=self._fresh_tensors)

    def read_state(self, file: BinaryIO, template: Mapping[str, Any]) -> dict[str, Any]:
        return torch_checkpoint.read(file, template, device=self.device)

    # -- provenance

    def trace(self, directory: Path) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def device_report(self) -> dict[str, Any]:
        report: dict[str, Any] = {
            "framework": PYTORCH.name,
            "framework_version": torch.__version__,
            "matmul_precision": self._matmul_precision(),
            "platform": self.device.type,
            "num_devices": self.num_devices,
            "num_local_devices": self.num_local_devices,
            "num_processes": self.world_size,
            "device_names": ["cpu"],
            "num_threads": torch.get_num_threads(),
            "num_compilations_of_process": _num_compilations(),
        }
        if self._is_cuda:
            properties = torch.cuda.get_device_properties(self.device)
            report |= {
                "device_names": [properties.name],
                "memory_bytes": [properties.total_memory],
                "peak_memory_bytes": [torch.cuda.max_memory_allocated(self.device)],
                "cuda_version": torch.version.cuda,
                "cudnn_version": torch.backends.cudnn.version(),
                "driver_version": nvidia.driver_version(),
            }
        return report

    def _matmul_precision(self) -> str:
        """The precision in effect; that of convolutions too, where it is another."""
        major, minor = torch.cuda.get_device_capability(self.device) if self._is_cuda else (0, 0)
        products, convolutions = (
            precision.in_effect(setting, platform=self.device.type, compute_capability=f"{major}.{minor}")
            for setting in matmul_precision_settings()
        )
        return products if products is convolutions else f"{products}, convolutions {convolutions}"

    def close(self) -> None:
        if self._store is not None:
            dist.destroy_process_group()
            self._store = None


def _described(module: nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers, by name, dtype and shape."""
    tensors = unwrapped(module).state_dict()
    return {f"{name} {tensor.dtype} {tuple(tensor.shape)}": tensor for name, tensor in tensors.items()}


def _bytes_of(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def _inductor_utils() -> Any:
    return importlib.import_module("torch._inductor.utils")  # takes seconds to import


def _use_inductor_cache(folder: Path) -> None:
    """Unless the environment of this process named another before."""
    if os.environ.get(_INDUCTOR_CACHE) in (None, _own_cache.get(_INDUCTOR_CACHE)):
        _own_cache.update({_INDUCTOR_CACHE: str(folder), _TRITON_CACHE: str(folder / "triton")})
        os.environ.update(_own_cache)


def _num_compilations() -> int:
    """Graphs that torch.compile has compiled so far."""
    dynamo = sys.modules.get("torch._dynamo.utils")  # takes seconds to import
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])


def _as_tensor(array: Any) -> torch.Tensor:
    array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _as_numpy(outputs: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.cpu().numpy() for name, tensor in outputs.items()}


def _map_arrays(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {name: _map_arrays(function, leaf) for name, leaf in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(_map_arrays(function, leaf) for leaf in tree)
    return function(tree)


def _mixed(*numbers: int) -> int:
    """63 bits of all numbers (the finaliser of SplitMix64), good in the low 32 that PyTorch's CPU generator uses."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state >> 1
