"""The command `algoperf`: every verb has help, completion, and JSON that its schema describes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
import toy_runs
from toy_runs import ROOT

from algoperf.cli import clean, main, run
from algoperf.cli.verbs import VERBS
from algoperf.edition import EDITIONS
from algoperf.registry import REGISTRY
from algoperf.runner.executors.resources import ResourceTable
from algoperf.runner.executors.suite_folder import StoredSuite, StoredTrial

SCHEMA = json.loads((ROOT / "algoperf/cli/schema.json").read_text())
BOARD = ROOT / "docs/leaderboard/mini/logs"
HEAVY = {"jax", "torch", "flax", "optax", "scipy", "matplotlib", "pandas", "tensorboardX", "argcomplete"}


def check(answer: dict) -> None:
    """Validates an answer and, where there was no error, its result."""
    jsonschema.validate(answer, SCHEMA)
    if answer["error"] is None:
        jsonschema.validate(answer["result"], {"$ref": f"#/$defs/{answer['verb']}", "$defs": SCHEMA["$defs"]})


def answer_of(capsys, *words: str) -> SimpleNamespace:
    """Runs `algoperf` with `--json` in this process; the answer is all that there is on standard output."""
    status = main.main([*words, "--json"])
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    check(answer)
    assert (answer["verb"], answer["status"]) == (words[0], status)
    return SimpleNamespace(**answer, err=shown.err)


def in_process(*words: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "algoperf", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_help_is_about_the_verb_offers_json_and_loads_nothing_heavy(verb):
    code = (
        "import sys; from algoperf.cli.main import main\n"
        "try: main([sys.argv[1], '--help'])\n"
        f"finally: print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, verb], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: algoperf {verb} ")
    assert "--json" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_schema_and_answers_a_wrong_option_in_json(verb, capsys):
    assert verb in SCHEMA["$defs"]
    answer = answer_of(capsys, verb, "--no_such_option")
    assert answer.status == 2
    assert answer.error
    assert "usage: algoperf" in answer.err


def test_an_unknown_verb_is_one_line_that_names_the_nearest(capsys):
    assert main.main(["scoer"]) == 2
    assert capsys.readouterr().err == "error: unknown verb 'scoer'; did you mean score or compare?\n"


def test_without_a_verb_the_verbs_are_listed():
    done = in_process()
    assert done.returncode == 0
    assert all(f" {verb} " in done.stdout or f" {verb}\n" in done.stdout for verb in VERBS)


@pytest.mark.jax
def test_a_run_answers_with_its_record_and_nothing_else_on_standard_output(tmp_path, capfd):
    words = _toy_words(tmp_path)
    status = run.main([*words, "--json"], registry=toy_runs.REGISTRY)
    shown = capfd.readouterr()
    answer = json.loads(shown.out)
    check(answer)
    assert status == answer["status"] == 0
    [trial] = answer["result"]["trials"]
    assert trial["record"] == {
        key: entry
        for key, entry in json.loads((Path(trial["trial_dir"]) / "trial.json").read_text()).items()
        if key != "schema_version"
    }
    assert "trial 1 of 1" in shown.err


def _toy_words(tmp_path: Path) -> list[str]:
    return [
        "toy_mini",
        "--framework=jax",
        f"--submission_path={toy_runs.SUBMISSIONS['jax']}",
        f"--tuning_search_space={toy_runs.space(tmp_path)}",
        f"--experiment_dir={tmp_path / 'experiments'}",
        "--experiment_name=test",
        f"--data_dir={tmp_path / 'data'}",
        "--rng_seed=1",
        "--max_global_steps=2",
        "--use_tensorboard=false",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "mnist"], "expected --framework, here or in the file of --config"),
        (["run", "mnist", "--workload=wmt", "--framework=jax"], "give one"),
        (["run", "mini", "--framework=jax"], "mini is a suite; run it with: algoperf suite mini"),
        (["suite", "mnist", "--framework=jax"], "mnist is no suite"),
        (["run", "mnistt", "--framework=jax"], "did you mean mnist"),
        (["run", "mnist", "--framework=jax", "--num_tuning_trials=0"], "num_tuning_trials must be at least 1, got 0"),
        (["run", "mnist", "--framework=jax", "--config=no_such.toml"], "--config=no_such.toml: No such file"),
        (["run", "mnist", "--framework=jax", "--torch_compile=maybe"], "ignored explicit argument 'maybe'"),
        (["info", "wtm"], "did you mean wmt"),
        (["prepare", "wtm"], "did you mean wmt"),
        (["status", "no_such_folder"], "no_such_folder"),
        (["clean", "no_such_folder"], "no_such_folder is no folder"),
        (["merge", "no_such_folder", "--output_dir=out"], "no_such_folder is no folder"),
        (["score", "--submission_directory=no_such_folder"], "no_such_folder"),
        (["compare", "no_such_algorithm"], "no_such_algorithm"),
    ],
)
def test_what_a_user_can_fix_is_one_line_for_people_and_for_programs(words, said, capsys):
    answer = answer_of(capsys, *words)
    assert answer.status != 0
    assert said in answer.error
    assert answer.error in answer.err
    assert "Traceback" not in answer.err


def test_a_suite_answers_with_its_plan(tmp_path, capsys):
    answer = answer_of(
        capsys,
        "suite",
        "mini_qualification",
        "--framework=jax",
        "--tuning_ruleset=self",
        "--dry_run",
        f"--experiment_dir={tmp_path}",
        f"--data_dir={tmp_path}",
    )
    trials = answer.result["trials"]
    assert [trial["workload"] for trial in trials[:3]] == ["criteo1tb_mini", "ogbg_mini", "wmt_mini"]
    assert {trial["outcome"] for trial in trials} == {None}
    assert answer.result["longest_s"] > sum(trial["budget_s"] for trial in trials)


def test_status_answers_from_the_folder_of_a_suite(tmp_path, capsys):
    table = ResourceTable()
    trial = StoredTrial(key="study_0/wmt_jax/trial_1", workload="wmt", budget_s=3600.0, longest_s=4530.0, arguments=())
    StoredSuite(
        root=tmp_path,
        suite="tiny",
        rules="none",
        framework="jax",
        tuning_ruleset="self",
        executor="local",
        num_studies=1,
        num_trials=1,
        workloads=("wmt",),
        resources={"wmt": table.of("wmt")},
        site=table.site,
        trials=(trial,),
    ).write()
    answer = answer_of(capsys, "status", str(tmp_path))
    assert answer.result["counts"]["not started"] == 1
    assert answer.result["left_s"] == 4530.0


def test_score_merge_and_clean_answer_with_what_they_did(tmp_path, capsys):
    merged = answer_of(capsys, "merge", str(BOARD), f"--output_dir={tmp_path / 'logs'}")
    assert merged.result["files"] == sum(path.is_file() for path in BOARD.rglob("*"))
    scored = answer_of(
        capsys,
        "score",
        f"--submission_directory={tmp_path / 'logs'}",
        f"--output_dir={tmp_path / 'scores'}",
        "--rules=mini-2026-11",
        "--tuning_ruleset=self",
        "--statistics=none",
    )
    board = scored.result["leaderboard"]
    assert [row["rank"] for row in board] == sorted(row["rank"] for row in board)
    assert {row["submission"] for row in board} == {path.name for path in BOARD.iterdir() if path.is_dir()}
    assert all(Path(file).is_file() for file in scored.result["files"])


def test_clean_removes_checkpoints_of_finished_trials_alone(tmp_path, capsys):
    record = json.loads(next(BOARD.rglob("trial.json")).read_text())
    folders = {}
    for number, outcome in enumerate(["reached", "crashed"], start=1):
        trial = tmp_path / "sub/study_0/wmt_mini_jax" / f"trial_{number}"
        (trial / "checkpoint_20/state").mkdir(parents=True)
        (trial / "checkpoint_20/run.json").write_text("{}")
        (trial / "checkpoint_20/state/0").write_bytes(bytes(2000))
        (trial / "trial.json").write_text(json.dumps({**record, "outcome": outcome}))
        folders[outcome] = trial / "checkpoint_20"
    listed = answer_of(capsys, "clean", str(tmp_path))
    assert [folder["path"] for folder in listed.result["folders"]] == [str(folders["reached"])]
    assert listed.result["bytes"] == 2002
    assert folders["reached"].is_dir()
    assert answer_of(capsys, "clean", str(tmp_path), "--delete").result["is_deleted"]
    assert not folders["reached"].exists()
    assert folders["crashed"].is_dir()
    assert (folders["reached"].parent / "trial.json").is_file()


def test_clean_leaves_a_folder_with_files_of_a_person(tmp_path, capsys):
    record = next(BOARD.rglob("trial.json")).read_text()
    trial = tmp_path / "trial_1"
    (trial / "checkpoint_1").mkdir(parents=True)
    (trial / "trial.json").write_text(record)
    (trial / "checkpoint_1/thesis.txt").write_text("mine")
    assert "thesis.txt" in answer_of(capsys, "clean", str(tmp_path), "--delete").error
    assert (trial / "checkpoint_1/thesis.txt").is_file()
    assert [folder.path for folder in clean.removable(tmp_path)] == [trial / "checkpoint_1"]


def test_prepare_answers_with_the_state_of_datasets(tmp_path, capsys):
    listed = answer_of(capsys, "prepare", f"--data_dir={tmp_path}")
    assert {row["workload"]: row["is_prepared"] for row in listed.result["datasets"]}["mnist_mini"] is False
    [row] = answer_of(capsys, "prepare", "mnist_mini", f"--data_dir={tmp_path}").result["datasets"]
    assert row["is_prepared"]
    assert Path(row["store"]).is_dir()
    [row] = answer_of(capsys, "prepare", "wmt", "--how_to_get", f"--data_dir={tmp_path}").result["datasets"]
    assert "wmt" in row["how_to_get"].lower()


def test_info_tells_targets_budgets_sizes_and_memory(capsys):
    rows = {row["name"]: row for row in answer_of(capsys, "info").result["workloads"]}
    assert rows["wmt"]["max_runtime_s"] == 43336
    assert rows["wmt"]["memory_bytes_at_least"] == 16 * rows["wmt"]["parameters"]
    assert rows["wmt_mini"]["max_runtime_reference_steps"] == REGISTRY.get("wmt_mini").budget.max_runtime_steps
    qualification = answer_of(capsys, "info", "qualification").result["workloads"]
    assert [row["name"] for row in qualification] == ["criteo1tb", "ogbg", "wmt"]


def test_info_has_the_numbers_of_an_edition(capsys):
    answers = {edition: answer_of(capsys, "info", "wmt", f"--edition={edition}").result for edition in EDITIONS}
    assert {edition: answer["workloads"][0]["max_runtime_s"] for edition, answer in answers.items()} == {
        "v0.6": 43_336,
        "v1.0": 16_114,
    }
    added = set(answers["v1.0"]["suites"]["full"]) - set(answers["v0.6"]["suites"]["full"])
    for edition in EDITIONS:
        rows = {
            row["name"]: row["edition"] for row in answer_of(capsys, "info", f"--edition={edition}").result["workloads"]
        }
        assert set(rows.values()) == {edition}
        assert (added <= set(rows)) == (edition == "v1.0")


def test_sys_info_tells_the_machine(capsys):
    answer = answer_of(capsys, "sys-info")
    assert answer.result["hardware"]["memory_bytes"] > 0
    assert answer.result["software"]["packages"]["numpy"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("algoperf sco", {"score "}),
        ("algoperf run --torch", {"--torch_compile "}),
        ("algoperf suite mini_", {"mini_qualification "}),
        ("algoperf run --framework=", {"jax", "pytorch"}),
    ],
)
def test_bash_completes_verbs_options_and_names(line, offered, tmp_path):
    script = in_process("completion", "bash").stdout
    assert "complete " in script
    assert " algoperf" in script
    answers = tmp_path / "offered"
    in_process(
        _ARGCOMPLETE="1",
        _ARGCOMPLETE_STDOUT_FILENAME=str(answers),
        COMP_LINE=line,
        COMP_POINT=str(len(line)),
        _ARGCOMPLETE_COMP_WORDBREAKS=" \t\n=",
    )
    assert set(answers.read_text().split("\v")) == offered
