"""The precision that a run was asked for: recorded with what the device made of it, and kept until the run's end."""

import json

import pytest
from toy_runs import config, endless, run, trial_dir

from algoperf.errors import UserError
from algoperf.records.trial import TrialRecord
from algoperf.runner.run_config import ConfigError


def in_effect(record: TrialRecord) -> str:
    return record.provenance["hardware"]["devices"]["matmul_precision"]


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_what_was_asked_for_and_what_is_in_effect_are_recorded(framework, tmp_path):
    run(config(tmp_path, framework, max_global_steps=1, matmul_precision="tf32"), endless())
    folder = trial_dir(tmp_path, framework)
    record = TrialRecord.read(folder)
    meta = json.loads((folder / "meta_data_0.json").read_text())
    [state] = folder.glob("checkpoint_*/run.json")
    for recorded in (vars(record), meta, json.loads(state.read_text())):
        assert (recorded["edition"], recorded["matmul_precision"]) == ("v0.6", "tf32")
        assert recorded["algoperf_version"]
    assert in_effect(record) == "float32" or record.provenance["hardware"]["devices"]["platform"] != "cpu"


def test_a_run_is_resumed_in_its_own_precision(tmp_path):
    run(config(tmp_path, "pytorch", max_global_steps=1), endless())
    (trial_dir(tmp_path, "pytorch") / "trial.json").unlink()  # killed before it could write its record
    more = {"max_global_steps": 2, "resume_last_run": True}
    with pytest.raises(UserError, match="with --matmul_precision=float32, got bfloat16; resume with"):
        run(config(tmp_path, "pytorch", matmul_precision="bfloat16", **more), endless())
    [result], _ = run(config(tmp_path, "pytorch", **more), endless())
    assert result.record.global_step == 2


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="must be one of float32, tf32, bfloat16, got 'float16'"):
        config(tmp_path, "jax", matmul_precision="float16")
