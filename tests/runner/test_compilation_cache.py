"""Compiling counts in a trial; a resumed one takes its programs from the trial's folder, which its end removes."""

import dataclasses
from pathlib import Path

import pytest
import toy_runs

from algoperf.definition import Tier
from algoperf.registry import REGISTRY
from algoperf.runner.compilation_cache import CompilationCache

RESUMED = """
import os
from pathlib import Path

os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # of the tests; it would stay in use

import jax
import toy_runs
from algoperf.backends import jax as jax_backend

jax_backend._CACHED_FROM_S = 0.0
events = []
jax.monitoring.register_event_listener(lambda event, **details: events.append(event))
settings = {"submission_path": "stopping.py", "resume_last_run": True, "compilation_cache": "trial"}
[first], _ = toy_runs.run(toy_runs.config(Path(), "jax", **settings), toy_runs.endless())
compiled = list((first.trial_dir / "compilation").iterdir())
assert first.outcome == "crashed"
assert compiled, "nothing was kept"
assert "/jax/compilation_cache/cache_hits" not in events, "an earlier run compiled for this one"
Path("cut").touch()
[second], _ = toy_runs.run(toy_runs.config(Path(), "jax", max_global_steps=8, **settings), toy_runs.endless())
assert second.outcome == "completed", second.record.error
assert "/jax/compilation_cache/cache_hits" in events, "the resumed run compiled again"
assert not (second.trial_dir / "compilation").exists()
"""


@pytest.mark.jax
def test_a_resumed_trial_does_not_compile_again(tmp_path):
    source = toy_runs.SUBMISSIONS["jax"].read_text()
    stop = "    if global_step == 4:\n        assert os.path.exists('cut')\n    if global_step % 10"
    (tmp_path / "stopping.py").write_text("import os\n" + source.replace("    if global_step % 10", stop))
    done = toy_runs.run_in_process(RESUMED, tmp_path)
    assert done.returncode == 0, done.stderr


def test_minis_share_a_folder_by_definition_unless_told_otherwise(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mini, full = REGISTRY.get("wmt_mini"), REGISTRY.get("wmt")
    assert (mini.tier, full.tier) == (Tier.MINI, Tier.FULL)
    other = dataclasses.replace(mini, eval_batch_size=32)
    trial = tmp_path / "trial_1"
    shared = CompilationCache.of_trial("auto", mini, trial)
    assert shared.is_shared
    assert (tmp_path / "cache/algoperf") in shared.folder.parents
    assert shared == CompilationCache.of_trial("shared", mini, Path("elsewhere"))
    assert shared != CompilationCache.of_trial("auto", other, trial)
    for choice, definition in (("trial", mini), ("auto", full)):
        assert CompilationCache.of_trial(choice, definition, trial) == CompilationCache(
            folder=trial / "compilation", is_shared=False
        )
