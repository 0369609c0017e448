"""Trains, evaluates and checkpoints the small model in whatever processes torchrun started; prints facts as JSON.

Run by the tests: `torchrun ... torch_worker.py WEIGHTS_FILE STATE_DIR`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import small_model

from algoperf.backends.base import load
from algoperf.harness.seeds import Seeds


def main(weights_file: Path, state_dir: Path) -> None:
    backend = load("pytorch")
    import small_model_torch
    import torch

    model = small_model_torch.Model()
    workload = backend.build_workload(small_model.DEFINITION, model)
    batches = [small_model.rows(small_model.make_batch(8, seed), backend.rank, backend.world_size) for seed in range(3)]
    params, losses = small_model_torch.train(backend, workload, 6, batches, dropout_rate=0.0)
    outputs = [out for _, out in backend.evaluate(workload, params, None, iter(batches))]
    everyone = backend.gather_objects({"rank": backend.rank, "losses": [out["loss"] for out in outputs]})

    own = {"mine": torch.full((2,), float(backend.rank)), "shared": torch.ones(1)}
    state = {"model_params": params, "model_state": None, "optimizer_state": own}
    if backend.rank == 0:
        state_dir.mkdir()
    backend.barrier()
    backend.save_state(state_dir, state)
    backend.barrier()
    fresh, _ = workload.init_model_fn(Seeds(backend, 9).model_init)  # wrapped like the first one
    template = {"model_params": fresh, "model_state": None, "optimizer_state": {"mine": torch.zeros(2)}}
    restored = backend.load_state(state_dir, template)
    pairs = zip(params.state_dict().items(), restored["model_params"].state_dict().items(), strict=True)
    with_unused = backend.build_workload(
        small_model.DEFINITION, small_model_torch.Model(small_model_torch.NetworkWithUnusedLayer)
    )
    _, losses_with_unused = small_model_torch.train(backend, with_unused, 6, batches, dropout_rate=0.0)
    backend.seed_global(1, 2)
    facts = {
        "num_devices": backend.num_devices,
        "world_size": backend.world_size,
        "losses": losses,
        "losses_with_unused": losses_with_unused,
        "ranks": [item["rank"] for item in everyone],
        "evaluated": [np.concatenate([item["losses"][i] for item in everyone]).tolist() for i in range(len(batches))],
        "max_over_ranks": backend.max_over_ranks(0.1 + backend.rank),
        "broadcast": backend.broadcast_object(["rank", backend.rank]),
        "wrapped": [type(params).__name__, type(fresh).__name__],
        "files": sorted(path.name for path in state_dir.iterdir()),
        "restored_equal": all(name == other and torch.equal(a, b) for (name, a), (other, b) in pairs),
        "own_states": backend.gather_objects(restored["optimizer_state"]["mine"].tolist()),
        "dropout_draws": backend.gather_objects(torch.rand(1).item()),
        "jax_imported": "jax" in sys.modules,
    }
    if backend.rank == 0:
        np.savez(weights_file, **model.export_weights(params, None))
        print(json.dumps(facts))
    backend.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
