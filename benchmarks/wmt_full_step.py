"""The full-size translation model trains, evaluates and translates on this machine.

  python benchmarks/wmt_full_step.py [--rows=1] [--sentences=2] [--steps=3] [--workload=wmt] [--frameworks=jax,pytorch]

A small corpus in the layout of the real one is prepared with a vocabulary of 1,000 pieces, whose numbers the model of
32,000 also has. Each framework runs in a process of its own, with the reference NadamW.
"""

import argparse
import dataclasses
import importlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from algoperf.backends.base import load, model_module
from algoperf.data import EvalPipeline, TrainPipeline
from algoperf.data.tfds_source import write_tfds_dataset
from algoperf.definition import SplitSizes
from algoperf.harness.seeds import Seeds
from algoperf.prepare import prepare_dataset
from algoperf.registry import REGISTRY
from workloads.wmt.data import open_split
from workloads.wmt.language_pair import LanguagePair
from workloads.wmt.metrics import make_metrics

SUBMISSIONS = {"jax": "jax_submission", "pytorch": "torch_submission"}
HYPERPARAMETERS = SimpleNamespace(
    learning_rate=1e-3, one_minus_beta1=0.1, beta2=0.998, weight_decay=0.05, warmup_factor=0.0, label_smoothing=0.0
)


def prepare_fixture(definition, directory: Path):
    """Writes and prepares a small corpus; returns the definition that it was prepared for."""
    sizes = SplitSizes(train=5_000, eval_train=8, validation=8, test=8)
    pair = LanguagePair(1)
    for name, splits in (("wmt17_translate", ("train",)), ("wmt14_translate", ("validation", "test"))):
        write_tfds_dataset(
            directory / f"{definition.dataset}_raw",
            name,
            "1.0.0",
            lambda features: {"de": features.Text(), "en": features.Text()},
            {
                split: [{"de": s, "en": t} for s, t in pair.sentences(split, sizes[split], held_out=False)]
                for split in splits
            },
            config="de-en",
        )
    small_vocabulary = dataclasses.replace(definition.model, vocab_size=1_000)
    prepared = dataclasses.replace(definition, splits=sizes, model=small_vocabulary)
    prepare_dataset(prepared, directory, report=lambda message: None)
    return prepared


def measure(name: str, framework: str, rows: int, sentences: int, steps: int) -> dict:
    definition = REGISTRY.get(name)
    backend = load(framework)
    seeds = Seeds(backend, 0)
    model = REGISTRY.module(name, model_module(framework)).build(definition)
    workload = backend.build_workload(definition, model)
    submission = importlib.import_module(f"reference_algorithms.nadamw.{SUBMISSIONS[framework]}")
    with tempfile.TemporaryDirectory() as directory:
        prepared = prepare_fixture(definition, Path(directory))
        batches = TrainPipeline(open_split(prepared, "train", Path(directory)), batch_size=rows, seed=0)
        params, state = workload.init_model_fn(seeds.model_init)
        optimizer_state = submission.init_optimizer_state(
            workload=workload, model_params=params, model_state=state, hyperparameters=HYPERPARAMETERS, rng=None
        )
        seconds = []
        for step in range(steps):
            batch = backend.put_batch(next(batches))
            started = time.perf_counter()
            optimizer_state, params, state = submission.update_params(
                workload=workload,
                current_param_container=params,
                current_params_types=workload.model_params_types,
                model_state=state,
                hyperparameters=HYPERPARAMETERS,
                batch=batch,
                loss_type=workload.loss_type,
                optimizer_state=optimizer_state,
                eval_results=[],
                global_step=step,
                rng=seeds.step(step).update,
            )
            backend.fence(params)
            seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        metrics = make_metrics(prepared, "validation", Path(directory))
        pipeline = EvalPipeline(
            open_split(prepared, "validation", Path(directory)), batch_size=sentences, limit=sentences
        )
        for batch, outputs in backend.evaluate(workload, params, state, iter(pipeline)):
            metrics.update(outputs, batch)
            generated = int((outputs["translations"] != 0).sum())
    return {
        "workload": name,
        "framework": framework,
        "parameters": sum(array.size for array in model.export_weights(params, state).values()),
        "first_step_s": round(seconds[0], 1),
        "step_s": round(min(seconds[1:]), 2),
        "rows": rows,
        "evaluation_s": round(time.perf_counter() - started, 1),
        "sentences": sentences,
        "generated_tokens": generated,
        "metrics": {key: round(value, 4) for key, value in metrics.compute().items()},
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", default="wmt")
    parser.add_argument("--frameworks", default="jax,pytorch")
    parser.add_argument("--rows", type=int, default=1, help="packed rows of 256 tokens in a training batch")
    parser.add_argument("--sentences", type=int, default=2, help="sentences to evaluate and translate")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--in_this_process", action="store_true")
    options = parser.parse_args()
    for framework in options.frameworks.split(","):
        if options.in_this_process:
            figures = measure(options.workload, framework, options.rows, options.sentences, options.steps)
            print(json.dumps(figures), flush=True)
        else:
            arguments = [f"--{name}={getattr(options, name)}" for name in ("workload", "rows", "sentences", "steps")]
            command = [sys.executable, __file__, "--in_this_process", f"--frameworks={framework}", *arguments]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
