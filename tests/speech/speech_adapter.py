"""Runs a small speech model in either framework, in NumPy terms."""

import dataclasses
import functools

import numpy as np

from algoperf.registry import REGISTRY
from algoperf.testing.conformance.adapter import load_adapter
from algoperf.testing.conformance.workload_fixture import perturbed
from workloads.common.librispeech.data import padded_batch, with_weights

MODULES = {"jax": "jax_model", "pytorch": "torch_model"}
ONE_LAYER = {
    "librispeech_conformer": {"num_layers": 1},
    "librispeech_deepspeech": {"num_lstm_layers": 1, "num_ffn_layers": 1},
}


def small_definition(name, **switches):
    definition = REGISTRY.get(name).shrunk()
    return dataclasses.replace(definition, model=dataclasses.replace(definition.model, **ONE_LAYER[name], **switches))


@functools.cache
def adapter_of(name, framework, **switches):
    """(adapter, function that gives a state with weights away from their initial values)"""
    definition = small_definition(name, **switches)
    adapter = load_adapter(framework, REGISTRY.module(name, MODULES[framework]).build(definition))
    weights = perturbed(adapter.export_weights(adapter.init(0)), seed=1)
    return adapter, lambda: adapter.import_weights(weights)


def utterances(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [(np.round(rng.normal(0, 1_000, length)), rng.integers(1, 16, 1 + length // 2_500)) for length in lengths]


def batch_of(pairs, batch_size=None, max_samples=8_000):
    data = dataclasses.replace(small_definition("librispeech_conformer").data, max_samples=max_samples)
    return with_weights(padded_batch(pairs, data, batch_size or len(pairs)))
