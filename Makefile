# make run    train the translation task on generated data until its target is reached, then say where the results are
# make test   set everything up and run the tests
# make check  what CI runs: lint, format, types, import contracts, tests

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FRAMEWORK ?= jax
TEST_JOBS ?= 2
LINTED := algoperf workloads reference_algorithms scoring submissions tests benchmarks submission_runner.py

.PHONY: setup run quickstart test check lint types contracts targets-check clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[all,dev]'
	touch $(STAMP)

run: $(STAMP)
	$(BIN)/python submission_runner.py --workload=wmt --framework=$(FRAMEWORK)

quickstart: $(STAMP)
	$(BIN)/python submission_runner.py --workload=mnist --framework=jax
	$(BIN)/python submission_runner.py --workload=mnist --framework=pytorch

test: $(STAMP)
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist=loadgroup

lint: $(STAMP)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

targets-check: $(STAMP)
	$(BIN)/python -m algoperf.target_setting --check=docs/target_setting

check: lint types contracts test

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
