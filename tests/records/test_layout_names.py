"""Names of folders and files of results: what is made is read back, and nothing else is taken for it."""

from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.definition import FRAMEWORKS, Split
from algoperf.records import columns, layout

numbers = st.integers(0, 10**6)
workloads = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)


@given(numbers, workloads, st.sampled_from(tuple(FRAMEWORKS)), numbers)
def test_a_trial_folder_is_read_back(study, workload, framework, number):
    path = layout.trial_path(study, workload, framework, number)
    study_name, workload_name, trial_name = path.parts
    assert layout.study_number(study_name) == study
    assert layout.workload_and_framework(workload_name) == (workload, framework)
    assert layout.trial_number(trial_name) == number


@pytest.mark.parametrize("name", ["study", "study_", "study_x", "my_study_1", "study_1 ", "study_-1", "Study_1"])
def test_other_names_are_no_study(name):
    assert layout.study_number(name) is None
    assert layout.trial_number(name.replace("study", "trial")) is None


def test_other_names_are_no_workload():
    for name in ("wmt", "wmt_tensorflow", "jax", "WMT_jax", "wmt_jax.old", PurePath("a/b_jax")):
        assert layout.workload_and_framework(str(name)) is None


def test_the_newest_files_are_those_with_the_highest_number():
    assert layout.newest_flags_name([]) is None
    names = [name for i in (0, 2, 10) for name in (layout.flags_file(i), layout.meta_data_file(i + 1))]
    names.append("flags_x.json")
    assert layout.newest_flags_name(names) == layout.flags_file(10)
    assert layout.newest_meta_data_name(names) == layout.meta_data_file(11)


def test_published_files_are_those_that_name_no_folder_of_the_machine():
    published = {layout.EVALUATIONS, layout.HYPERPARAMETERS_FILE, layout.TRIAL_FILE, layout.meta_data_file(3)}
    private = {layout.flags_file(0), layout.SUBMISSION_FILE, layout.MEASUREMENTS, "meta_data_x.json"}
    assert {name for name in published | private if layout.is_published_file(name)} == published


def test_columns_are_those_of_algoperf():
    assert columns.metric_column(Split.EVAL_TRAIN, "loss") == columns.metric_column(Split.TRAIN, "loss") == "train/loss"
    assert columns.metric_column(Split.VALIDATION, "ssim") == "validation/ssim"
    assert columns.num_examples_column(Split.TEST) == "test/num_examples"
    assert columns.metric_of("validation/ctc_loss") == "ctc_loss"
