"""Trains and evaluates the small model on whatever devices and processes there are; prints facts as JSON.

Run by the tests in a process of its own: `python jax_worker.py WEIGHTS_FILE [STATE_DIR]`.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import small_model

from algoperf.backends.base import load


def cpu_seconds_after_fence(backend, operand) -> float:
    """Queues work on `operand`, throws its results away, fences, and measures what the process still computes."""
    import jax
    import jax.numpy as jnp

    @jax.jit
    def slow(x):
        for _ in range(12):
            x = jnp.tanh(x @ x * 1e-3)
        return x

    slow(operand).block_until_ready()
    for _ in range(3):
        slow(operand)
    backend.fence()
    before = time.process_time()
    time.sleep(0.1)
    return time.process_time() - before


def main(weights_file: Path, state_dir: Path | None) -> None:
    backend = load("jax")
    import jax
    import small_model_jax

    from algoperf import jax_sharding_utils

    model = small_model_jax.Model()
    workload = backend.build_workload(small_model.DEFINITION, model)
    batches = [small_model.rows(small_model.make_batch(8, seed), backend.rank, backend.world_size) for seed in range(3)]
    state, losses = small_model_jax.train(
        backend, workload, small_model_jax.initial_state(backend, workload), range(6), batches, dropout_rate=0.1
    )
    params, model_state = state["model_params"], state["model_state"]
    outputs = [out for _, out in backend.evaluate(workload, params, model_state, iter(batches))]
    everyone = backend.gather_objects({"rank": backend.rank, "losses": [out["loss"] for out in outputs]})
    resumed_equal = None
    if state_dir is not None:
        backend.save_state(state_dir, state)
        resumed = backend.load_state(state_dir, small_model_jax.initial_state(backend, workload))
        ends = [small_model_jax.train(backend, workload, s, range(6, 8), batches)[0] for s in (state, resumed)]
        pairs = zip(*(jax.tree.leaves(end["model_params"]) for end in ends), strict=True)
        resumed_equal = all(np.array_equal(a.addressable_data(0), b.addressable_data(0)) for a, b in pairs)
    batch = backend.put_batch(batches[0])
    operand = np.ones((700, 700), np.float32)
    on_one, on_all = jax.device_put(operand, jax.local_devices()[-1]), jax_sharding_utils.replicate(operand)
    facts = {
        "num_devices": backend.num_devices,
        "num_local_devices": backend.num_local_devices,
        "world_size": backend.world_size,
        "losses": losses,
        "ranks": [item["rank"] for item in everyone],
        "evaluated": [np.concatenate([item["losses"][i] for item in everyone]).tolist() for i in range(len(batches))],
        "max_over_ranks": backend.max_over_ranks(0.1 + backend.rank),
        "broadcast": backend.broadcast_object(["rank", backend.rank]),
        "global_batch": list(batch["inputs"].shape),
        "rows_per_device": [shard.data.shape[0] for shard in batch["inputs"].addressable_shards],
        "replicated": all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves((params, model_state))),
        "resumed_equal": resumed_equal,
        "cpu_after_fence_s": [cpu_seconds_after_fence(backend, x) for x in (on_one, on_all)],
        "torch_imported": "torch" in sys.modules,
    }
    backend.fence(params)
    backend.barrier()
    if backend.rank == 0:
        np.savez(weights_file, **model.export_weights(params, model_state))
        print(json.dumps(facts))
    backend.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
