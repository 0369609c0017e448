"""One gradient of the small speech models in whatever processes torchrun started; rank 0 saves it.

Run by the tests: `torchrun ... speech_torch_worker.py FILE`.
"""

import sys
from pathlib import Path

import numpy as np
from speech_adapter import batch_of, small_definition, utterances

from algoperf.backends.base import load
from algoperf.harness.seeds import Seeds
from algoperf.registry import REGISTRY
from algoperf.spec import ForwardPassMode

LENGTHS = (6_100, 3_200, 5_000, 7_900)  # unequal shares of real steps


def main(path: Path) -> None:
    backend = load("pytorch")
    import torch

    from workloads.common.torch.batch_norm import all_reduce_sum

    found = {}
    whole = batch_of(utterances(LENGTHS))
    share = len(LENGTHS) // backend.world_size
    rows = slice(backend.rank * share, (backend.rank + 1) * share)
    batch = backend.put_batch({name: tuple(leaf[rows] for leaf in whole[name]) for name in ("inputs", "targets")})
    for name in ("librispeech_conformer", "librispeech_deepspeech"):
        definition = small_definition(name)
        model = REGISTRY.module(name, "torch_model").build(definition)
        workload = backend.build_workload(definition, model)
        params, _ = workload.init_model_fn(Seeds(backend, 0).model_init)
        params = backend.prepare_model(workload, params, compile_model=False)
        logits, _ = workload.model_fn(params, batch, None, ForwardPassMode.TRAIN, None, True, 0.0)
        losses = workload.loss_fn(batch["targets"], logits)
        count = all_reduce_sum(losses["n_valid_examples"])
        (losses["summed"] * backend.world_size / count).backward()
        found[f"{name}/loss"] = (all_reduce_sum(losses["summed"].detach()) / count).numpy()
        weights = model.export_weights(params, None)
        found |= {f"{name}/{key}": value for key, value in weights.items() if not key.startswith("params/")}
        with torch.no_grad():
            for parameter in params.parameters():
                parameter.copy_(parameter.grad)
        gradients = model.export_weights(params, None)
        found |= {f"{name}/{key}": value for key, value in gradients.items() if key.startswith("params/")}
    if backend.rank == 0:
        np.savez(path, **found)
    backend.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
