"""The values of a PyTorch module without its behaviour: for evaluation, which calls no code of a submission."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_globals

from algoperf.backends.base import WrongModelError, check_shapes


def share_values(source: Any, target: nn.Module) -> None:
    """Lets `target` hold the parameters and persistent buffers of `source`; nothing is copied.

    Methods of `source`, which may have been replaced, are not called.

    Raises:
      WrongModelError: names or shapes differ, or `source` is no module.
    """
    if not isinstance(source, nn.Module):
        raise WrongModelError(f"the submission returned a {type(source).__qualname__}, expected the workload's module")
    values = dict(_values(source))
    owners = dict(_owners(target))
    check_shapes(_shapes(values), _shapes(dict(_values(target))))
    for name, value in values.items():
        owner, _, attribute = name.rpartition(".")
        setattr(owners[owner], attribute, value)


@contextlib.contextmanager
def no_global_hooks() -> Iterator[None]:
    """Within the block no hook for all modules (`register_module_forward_hook` and its like) is called."""
    hooks = [
        value for name, value in vars(module_globals).items() if name.startswith("_global_") and isinstance(value, dict)
    ]
    before = [dict(registered) for registered in hooks]
    for registered in hooks:
        registered.clear()
    try:
        yield
    finally:
        for registered, content in zip(hooks, before, strict=True):
            registered.update(content)


def _owners(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    yield prefix, module
    for name, child in vars(module)["_modules"].items():
        if child is not None:
            yield from _owners(child, f"{prefix}.{name}" if prefix else name)


def _values(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for prefix, owner in _owners(module):
        entries = vars(owner)
        passing = entries["_non_persistent_buffers_set"]
        named = [*entries["_parameters"].items(), *((n, b) for n, b in entries["_buffers"].items() if n not in passing)]
        for name, value in named:
            if value is not None:
                yield f"{prefix}.{name}" if prefix else name, value


def _shapes(values: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in values.items()}
