"""What the README shows works as it is written there."""

import os
import re
import subprocess
import sys

import pytest
from toy_runs import ROOT


@pytest.mark.jax
def test_the_first_submission_runs(tmp_path):
    text = (ROOT / "README.md").read_text()
    source = re.search(r"```python\n# my_submission.py\n(.*?)```", text, re.DOTALL)
    commands = re.search(r"```\n(echo .*?)```", text, re.DOTALL)
    (tmp_path / "my_submission.py").write_text(source[1])
    script = commands[1].replace("python submission_runner.py", f"{sys.executable} {ROOT / 'submission_runner.py'}")
    flags = " --max_global_steps=20 --data_dir=data --experiment_name=readme\n"
    done = subprocess.run(
        ["bash", "-ec", script.rstrip() + flags],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "experiments/readme/mnist_mini_jax").glob("trial_*/trial.json"))) == 2


def test_every_file_that_the_readme_links_to_exists():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert len(links) > 5
    missing = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
    assert not missing
