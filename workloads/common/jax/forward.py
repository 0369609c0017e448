"""Calls a Flax module with the benchmark's rules about modes and batch statistics."""

from typing import Any

import flax.linen as nn
import jax

BATCH_STATS = "batch_stats"


def init(module: nn.Module, rng: jax.Array, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Returns (params, model_state): two nested dicts, the second `{"batch_stats": ...}` or None where there is none.

    Args:
      args, kwargs: arguments of the module, for example zeros of the input's shape and `train=False`.
    """
    variables = dict(module.init({"params": rng, "dropout": rng}, *args, **kwargs))
    params = variables.pop("params")
    return params, variables or None


def apply(
    module: nn.Module,
    params: Any,
    model_state: Any,
    *args: Any,
    train: bool,
    update_batch_norm: bool,
    rng: Any,
    **kwargs: Any,
) -> tuple[Any, Any]:
    """Returns (outputs, new model_state) of `module(*args, train=train, **kwargs)`.

    | train | update_batch_norm | normalises with | running statistics |
    |---|---|---|---|
    | yes | yes | the batch | change |
    | yes | no | the batch | stay |
    | no | any | running | stay |

    `rng` feeds the `dropout` stream in training and is unused otherwise.
    """
    variables = {"params": params, **(model_state or {})}
    if not train:
        return module.apply(variables, *args, train=False, **kwargs), model_state
    rngs = None if rng is None else {"dropout": rng}
    if not model_state:
        return module.apply(variables, *args, train=True, rngs=rngs, **kwargs), model_state
    outputs, new_state = module.apply(variables, *args, train=True, rngs=rngs, mutable=[BATCH_STATS], **kwargs)
    return outputs, {**model_state, **new_state} if update_batch_norm else model_state
