"""Speed of the translation pipeline: training step against a hand-written one, preparation, reading of batches.

  python benchmarks/wmt_throughput.py [--framework=jax] [--batch_size=48] [--rounds=8] [--steps=5]

The two steps have the same model, batch size, dropout and NadamW. `ours` is what a run executes: input pipeline,
placement of the batch, the reference submission through `model_fn` and `loss_fn`. `by hand` calls the module and the
update rule directly, on a batch that lies on the device already. Rounds alternate between the two; the ratio is that of
the fastest rounds.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from algoperf.backends.base import load, model_module
from algoperf.data import TrainPipeline
from algoperf.data.places import raw_dir
from algoperf.data.recipe import open_store
from algoperf.data.tfds_source import TfdsSplit, find_tfds_dataset
from algoperf.harness.seeds import Seeds
from algoperf.prepare import prepare_dataset
from algoperf.registry import REGISTRY
from workloads.wmt import prepare as preparation
from workloads.wmt.data import open_split, recipe
from workloads.wmt.packing import pack
from workloads.wmt.tokenizer import Tokenizer

HYPERPARAMETERS = SimpleNamespace(
    learning_rate=2e-3,
    one_minus_beta1=0.1,
    beta2=0.98,
    weight_decay=0.01,
    warmup_factor=0.05,
    label_smoothing=0.0,
    dropout_rate=0.1,
)
SUBMISSIONS = {"jax": "jax_submission", "pytorch": "torch_submission"}
_READ_S = 2.0


def our_steps(definition, framework: str, batches) -> Callable[[int], None]:
    """Returns a function that takes so many training steps and waits for them."""
    backend = load(framework)
    seeds = Seeds(backend, 0)
    workload = backend.build_workload(
        definition, REGISTRY.module(definition.name, model_module(framework)).build(definition)
    )
    submission = importlib.import_module(f"reference_algorithms.nadamw.{SUBMISSIONS[framework]}")
    params, state = workload.init_model_fn(seeds.model_init)
    optimizer_state = submission.init_optimizer_state(workload, params, state, HYPERPARAMETERS, None)
    kinds, done = workload.model_params_types, 0

    def steps(count: int) -> None:
        nonlocal params, state, optimizer_state, done
        for _ in range(count):
            batch = backend.put_batch(next(batches))
            optimizer_state, params, state = submission.update_params(
                workload,
                params,
                kinds,
                state,
                HYPERPARAMETERS,
                batch,
                workload.loss_type,
                optimizer_state,
                [],
                done,
                seeds.step(done).update,
            )
            done += 1
        backend.fence(params)

    return steps


def jax_steps_by_hand(definition, batch) -> Callable[[int], None]:
    import jax
    import jax.numpy as jnp
    import optax

    from reference_algorithms.common.jax_nadam import nadamw
    from workloads.wmt.jax_transformer import Transformer

    module, h = Transformer(definition.model), HYPERPARAMETERS
    batch = {name: jnp.asarray(array) for name, array in batch.items()}
    weights = batch.pop("weights")
    params = module.init(jax.random.key(0), batch["inputs"][:1], batch["targets"][:1], train=False)["params"]
    rule = nadamw(h.learning_rate, b1=1 - h.one_minus_beta1, b2=h.beta2, weight_decay=h.weight_decay)
    state = rule.init(params)

    @jax.jit
    def loss_and_gradients(params, key):
        def loss(params):
            logits = module.apply(
                {"params": params}, **batch, dropout_rate=h.dropout_rate, train=True, rngs={"dropout": key}
            )
            log_probs = jax.nn.log_softmax(logits)
            chosen = jnp.take_along_axis(log_probs, batch["targets"][..., None], axis=-1)[..., 0]
            return -(chosen * weights).sum() / weights.sum()

        return jax.value_and_grad(loss)(params)

    def step(params, state, key):
        _, gradients = loss_and_gradients(params, key)
        updates, state = rule.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    holder = [params, state]

    def steps(count: int) -> None:
        for number in range(count):
            holder[:] = step(*holder, jax.random.key(number))
        jax.block_until_ready(holder)

    return steps


def torch_steps_by_hand(definition, batch) -> Callable[[int], None]:
    import torch
    import torch.nn.functional as F

    from reference_algorithms.common.torch_nadam import NadamW
    from workloads.wmt.torch_transformer import Transformer

    h = HYPERPARAMETERS
    model = Transformer(definition.model)
    rule = NadamW(model.parameters(), betas=(1 - h.one_minus_beta1, h.beta2), weight_decay=h.weight_decay)
    for group in rule.param_groups:
        group["lr"] = h.learning_rate
    batch = {name: torch.from_numpy(np.array(array)) for name, array in batch.items()}
    weights, targets = batch.pop("weights"), batch["targets"].long()

    def steps(count: int) -> None:
        for _ in range(count):
            model.zero_grad(set_to_none=True)
            logits = model(**batch, dropout_rate=h.dropout_rate)
            losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
            ((losses * weights.flatten()).sum() / weights.sum()).backward()
            rule.step()

    return steps


def seconds_of(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def compare_steps(definition, framework: str, data_dir: Path, batch_size: int, rounds: int, steps: int) -> float:
    """Prints both speeds and their ratio; returns the seconds of one of our steps."""
    batches = TrainPipeline(open_split(definition, "train", data_dir), batch_size=batch_size, seed=0)
    by_hand = {"jax": jax_steps_by_hand, "pytorch": torch_steps_by_hand}[framework](definition, next(batches))
    contenders = {"by hand": by_hand, "ours": our_steps(definition, framework, batches)}
    for take in contenders.values():
        take(2)
    timings: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, take in contenders.items():
            timings[name].append(seconds_of(lambda take=take: take(steps)) / steps)
    best = {name: min(values) for name, values in timings.items()}
    for name, value in best.items():
        print(f"{framework} step of {batch_size} rows, {name}: {1e3 * value:.1f} ms")
    print(f"{framework} ours / by hand: {best['ours'] / best['by hand']:.3f}")
    return best["ours"]


def measure_preparation(definition, data_dir: Path) -> None:
    directory = find_tfds_dataset(raw_dir(definition, data_dir), definition.data.train_builder)
    tokenizer = Tokenizer(open_store(definition, data_dir, recipe(definition))["tokenizer"].tobytes())
    examples = TfdsSplit(directory, "train")
    started = time.perf_counter()
    inputs, targets, _ = preparation._encode(definition, examples, tokenizer, num_workers=2)
    encoded = time.perf_counter()
    pack(inputs, targets, definition.model.max_length, definition.data.pack_group)
    packed = time.perf_counter()
    tokens = len(inputs.tokens) + len(targets.tokens)
    print(
        f"prepared: {tokens / (packed - started):,.0f} tokens/s (reading and tokenising {tokens:,} tokens "
        f"{encoded - started:.2f} s, packing {packed - encoded:.2f} s)"
    )


def measure_reading(definition, data_dir: Path, batch_size: int, step_s: float) -> None:
    batches = TrainPipeline(open_split(definition, "train", data_dir), batch_size=batch_size, seed=0)
    for _ in range(20):
        next(batches)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < _READ_S:
        next(batches)
        count += 1
    batch_s = (time.perf_counter() - started) / count
    print(f"read: {1 / batch_s:,.0f} batches/s of {batch_size} rows; {100 * batch_s / step_s:.2f} % of a step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", default="jax", choices=list(SUBMISSIONS))
    parser.add_argument("--batch_size", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    definition = REGISTRY.get("wmt_mini")
    with tempfile.TemporaryDirectory() as directory:
        data_dir = Path(directory)
        prepare_dataset(definition, data_dir, report=print)
        measure_preparation(definition, data_dir)
        step_s = compare_steps(
            definition, options.framework, data_dir, options.batch_size, options.rounds, options.steps
        )
        measure_reading(definition, data_dir, options.batch_size, step_s)


if __name__ == "__main__":
    main()
