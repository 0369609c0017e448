"""For each static check a submission that it must catch and one, close to it, that it must not."""

import textwrap

SUBMISSION = """\
import json
import os
import random
import sys
import threading
import time
from pathlib import Path

import numpy as np

from algoperf import spec
from algoperf.registry import REGISTRY

{top}

def get_batch_size(workload_name):
    {batch_size}
    return REGISTRY.get(workload_name).reference_batch_size


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    {init}
    return {{"count": 0}}


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters, global_step, rng
):
    {selection}
    return next(input_queue)


def update_params(
    workload, current_param_container, current_params_types, model_state, hyperparameters, batch, loss_type,
    optimizer_state, eval_results, global_step, rng
):
    {update}
    return optimizer_state, current_param_container, model_state
"""


def submission(**parts: str) -> str:
    """The text of a submission with code at the top or in its functions."""
    slots = dict.fromkeys(("top", "batch_size", "init", "selection", "update"), "")
    code = {name: textwrap.dedent(text).strip() for name, text in parts.items()}
    indented = {name: text.replace("\n", "\n    ") if name != "top" else text for name, text in code.items()}
    return SUBMISSION.format(**{**slots, **indented})


# check -> (caught, not caught)
STATIC: dict[str, tuple[str, str]] = {
    "signatures": (
        submission().replace("global_step, rng\n):\n    \n    return opt", "rng\n):\n    \n    return opt"),
        submission(),
    ),
    "returns": (
        submission().replace(
            "return optimizer_state, current_param_container, model_state",
            "return optimizer_state, current_param_container",
        ),
        submission(update="if batch is None:\n    raise spec.TrainingCompleteError"),
    ),
    "workload_name": (
        submission(update="name = workload.name\nif name.startswith('wmt'):\n    global_step += 1"),
        submission(update="print(f'training {workload.name}')"),
    ),
    "fingerprints": (
        submission(update="rate = 0.1 if workload.num_train_examples == 50000 else 0.01"),
        submission(update="warm = global_step < workload.step_hint // 20\nepoch = workload.num_train_examples / 128"),
    ),
    "eval_batch_size": (submission(top="def get_eval_batch_size(workload_name):\n    return 4096\n"), submission()),
    "randomness": (
        submission(update="generator = np.random.default_rng()"),
        submission(update="generator = np.random.default_rng(global_step)"),
    ),
    "stored_arrays": (
        submission(init="weights = np.load('weights')"),
        submission(init="weights = np.zeros(3)"),
    ),
    "patching": (
        submission(init="workload.loss_fn = None"),
        submission(init="optimizer = type('Optimizer', (), {})()\noptimizer.rate = 0.1"),
    ),
    "data_access": (
        submission(top="from workloads.mnist import data"),
        submission(selection="first = next(input_queue)\nsecond = next(input_queue)"),
    ),
    "held_out_access": (
        submission(update="split = spec.Split.VALIDATION"),
        submission(update="loss = eval_results[-1][1]['validation/loss'] if eval_results else 0.0"),
    ),
    "test_metrics": (
        submission(update="loss = eval_results[-1][1]['test/loss'] if eval_results else 0.0"),
        submission(update="loss = eval_results[-1][1]['validation/loss'] if eval_results else 0.0"),
    ),
    "files": (
        submission(update="Path('cache').write_text('x')"),
        submission(top="HERE = Path(__file__).parent"),
    ),
    "network": (submission(top="import urllib.request"), submission(top="from fractions import Fraction as requests")),
    "threads": (
        submission(init="threading.Thread(target=print).start()"),
        submission(init="lock = threading.Lock()"),
    ),
    "subprocesses": (
        submission(init="start = os.fork\nstart()"),
        submission(init="cores = os.cpu_count()"),
    ),
    "work_in_init": (
        submission(
            top="def warm(workload, params):\n    return workload.model_fn(params)\n",
            init="warm(workload, model_params)",
        ),
        submission(
            init="def loss(params, batch):\n    return workload.model_fn(params, batch)\nstate = {'loss': loss}"
        ),
    ),
    "work_at_import": (
        submission(top="model = REGISTRY.get('wmt').build_workload(None)"),
        submission(top="RATES = [0.1**power for power in range(3)]"),
    ),
    "internals": (
        submission(update="queue = input_queue._queue"),
        submission(update="value = optimizer_state.get('_count')"),
    ),
    "interpreter": (
        submission(update="frame = sys._getframe(1)"),
        submission(update="limit = sys.getrecursionlimit()"),
    ),
    "environment": (
        submission(top="os.environ['XLA_FLAGS'] = '--xla_gpu_autotune_level=0'"),
        submission(top="RANK = int(os.environ.get('LOCAL_RANK', '0'))"),
    ),
    "global_state": (
        submission(top="LEARNED = {}\n", update="LEARNED[workload] = batch"),
        submission(top="SCALES = {'a': 1}\n", update="scales = dict(SCALES)\nscales['b'] = 2"),
    ),
    "requirements": ("numpy==1.0\n", "numpy>=1.0\nsome-package>=3\n"),
}
