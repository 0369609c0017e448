"""Runs of the toy on a GPU, and what they have in common in both frameworks."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/runner"))

import toy_runs  # noqa: E402

from algoperf.records.outcome import Outcome  # noqa: E402

HUNGRY = {
    "jax": "jnp.zeros((1 << 45,), jnp.float32).block_until_ready()",
    "pytorch": "torch.zeros(1 << 45, device=DEVICE)",
}


def check_out_of_memory_in_training(framework: str, tmp_path: Path) -> None:
    """The outcome is typed, and the next run in the same process is none the worse for it."""
    source = toy_runs.SUBMISSIONS[framework].read_text()
    hungry = source.replace(
        "    if global_step % 10",
        f"    if global_step == 4:\n        {HUNGRY[framework]}\n    if global_step % 10",
    )
    path = tmp_path / "hungry.py"
    path.write_text(hungry)
    settings = toy_runs.config(tmp_path, framework, submission_path=str(path))
    [result], _ = toy_runs.run(settings, toy_runs.endless())
    assert result.outcome is Outcome.OUT_OF_MEMORY, result.record.error
    settings = toy_runs.config(tmp_path, framework, experiment_name="after", max_global_steps=10)
    [result], _ = toy_runs.run(settings, toy_runs.endless())
    assert result.outcome is Outcome.COMPLETED, result.record.error


def check_out_of_memory_in_an_evaluation(framework: str, tmp_path: Path, backend_class: type, exhaust, monkeypatch):
    """Evaluation that runs out of memory once is repeated; the run completes with its evaluation on record."""
    evaluate, calls = backend_class.evaluate, []

    def evaluate_with_too_little_memory(self, *arguments):
        calls.append(arguments)
        if len(calls) == 1:
            exhaust()
        return evaluate(self, *arguments)

    monkeypatch.setattr(backend_class, "evaluate", evaluate_with_too_little_memory)
    [result], _ = toy_runs.run(toy_runs.config(tmp_path, framework, max_global_steps=5), toy_runs.endless())
    assert result.outcome is Outcome.COMPLETED, result.record.error
    assert len(toy_runs.rows(result.trial_dir / "eval_measurements.csv")) >= 1


def check_kill_and_resume(framework: str, tmp_path: Path) -> None:
    """A run that is interrupted and resumed has the evaluations of one that was not, bit for bit."""
    values = []
    for name, stops in (("whole", (20,)), ("resumed", (10, 20))):
        for stop in stops:
            settings = toy_runs.config(
                tmp_path,
                framework,
                experiment_name=name,
                max_global_steps=stop,
                resume_last_run=True,
                deterministic=True,
            )
            [result], _ = toy_runs.run(settings, toy_runs.endless())
            assert result.outcome is Outcome.COMPLETED, result.record.error
            if stop != 20:
                (result.trial_dir / "trial.json").unlink()
        last = toy_runs.rows(result.trial_dir / "eval_measurements.csv")[-1]
        values.append({column: value for column, value in last.items() if "loss" in column})
    assert values[0], "no loss among the columns"
    assert values[0] == values[1]
