"""Reads the weights of a trial's newest checkpoint, under names that both frameworks share."""

from pathlib import Path

from algoperf.backends import base
from algoperf.backends.base import Backend, Weights
from algoperf.errors import UserError
from algoperf.harness.checkpoint import Checkpointer
from algoperf.harness.seeds import Seeds
from algoperf.records import json
from algoperf.records.layout import HYPERPARAMETERS_FILE, TRIAL_FILE
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY, Registry
from algoperf.submissions.loading import load_submission
from algoperf.submissions.tuning import make_hyperparameters


def checkpoint_weights(trial_dir: Path, backend: Backend, registry: Registry = REGISTRY) -> Weights:
    """Returns parameters and running statistics of the newest intact checkpoint in `trial_dir`.

    Raises:
      UserError: the folder is no ended trial, or it holds no intact checkpoint.
    """
    record = TrialRecord.read(trial_dir)
    if record is None or record.submission is None:
        raise UserError(
            f"{trial_dir} holds no trial that has ended ({TRIAL_FILE} is missing, damaged or a published copy)"
        )
    model = registry.module(record.workload, base.model_module(backend.framework)).build(registry.get(record.workload))
    workload = backend.build_workload(registry.get(record.workload), model)
    submission = load_submission(record.submission)
    seeds = Seeds(backend, record.seed)
    params, model_state = workload.init_model_fn(seeds.model_init)
    params = backend.prepare_model(workload, params, compile_model=False)
    hparams = trial_dir / HYPERPARAMETERS_FILE
    template = {
        "model_params": params,
        "model_state": model_state,
        "optimizer_state": submission.init_optimizer_state(
            workload=workload,
            model_params=params,
            model_state=model_state,
            hyperparameters=make_hyperparameters(json.read(hparams)) if hparams.is_file() else None,
            rng=seeds.optimizer_init,
        ),
    }
    checkpoint = Checkpointer(trial_dir, backend).find(template).checkpoint
    if checkpoint is None:
        raise UserError(f"{trial_dir} holds no intact checkpoint")
    state = checkpoint.device_state
    weights: Weights = model.export_weights(state["model_params"], state["model_state"])
    return weights
