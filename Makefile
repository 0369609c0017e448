# make run    train the translation task on generated data until its target is reached, then say where the results are
# make test   set everything up and run the tests
# make check  what CI runs: lint, format, types, import contracts, targets, tests

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FRAMEWORK ?= jax
# One more than two cores: many tests wait for processes that they end or time out.
TEST_JOBS ?= 3
GPU_JOBS ?= 2
# pytest-benchmark warns next to xdist, and warnings are errors. XLA compiles as in runs, not as fast as in other tests.
ON_GPU = XLA_FLAGS= XLA_PYTHON_CLIENT_PREALLOCATE=false $(BIN)/python -m pytest -p no:benchmark
BOARDS := docs/leaderboard
# Each kept board and the rule set that it is scored by.
SCORED_BY := mini=mini-2026-11 mini-2026-11-27=mini-2026-11-27
BOARD_RUNS ?= experiments/leaderboard
DATA_DIR ?= ~/data
SCORE_BOARD = $(BIN)/python -m scoring.score_submissions --submission_directory=$(BOARDS)/$${board%=*}/logs --rules=$${board\#*=} --tuning_ruleset=self
LINTED := algoperf workloads reference_algorithms scoring submissions tests benchmarks docs/examples submission_runner.py

.PHONY: setup run quickstart test test-gpu check lint types contracts targets-check leaderboard leaderboard-check leaderboard-runs \
	clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]'
	touch $(STAMP)

run: $(STAMP)
	$(BIN)/python submission_runner.py --workload=wmt --framework=$(FRAMEWORK)

quickstart: $(STAMP)
	$(BIN)/python submission_runner.py --workload=mnist --framework=jax
	$(BIN)/python submission_runner.py --workload=mnist --framework=pytorch

test: $(STAMP)
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist=loadgroup

# What needs a GPU, and the conformance suite on it: one framework in a process at a time (for the comparison of the
# two, JAX computes on the CPU), GPU_JOBS processes that take memory as they need it.
test-gpu: $(STAMP)
	$(ON_GPU) tests/gpu tests/backends -m "gpu and torch"
	$(ON_GPU) tests/gpu tests/backends -m "gpu and jax"
	$(ON_GPU) -n $(GPU_JOBS) --dist=loadgroup tests/conformance/test_conformance.py -m "torch and not jax"
	$(ON_GPU) -n $(GPU_JOBS) --dist=loadgroup tests/conformance/test_conformance.py -m "jax and not torch"
	JAX_PLATFORMS=cpu $(ON_GPU) -n $(GPU_JOBS) --dist=loadgroup tests/conformance/test_conformance.py -m "jax and torch"

lint: $(STAMP)
	$(BIN)/ruff check $(LINTED)
	$(BIN)/ruff format --check $(LINTED)

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

targets-check: $(STAMP)
	for rules in mini mini-v1.0 mini_horizon3; do \
	    $(BIN)/python -m algoperf.target_setting --check=docs/target_setting --rules=scoring/rules/$$rules.toml || exit 1; \
	done

# The reports of the kept logs.
leaderboard: $(STAMP)
	for board in $(SCORED_BY); do $(SCORE_BOARD) --output_dir=$(BOARDS)/$${board%=*}/report || exit 1; done

# Whether that gives the kept reports again, byte for byte.
leaderboard-check: $(STAMP)
	report=$$(mktemp -d) && trap 'rm -r "$$report"' EXIT && for board in $(SCORED_BY); do \
	    $(SCORE_BOARD) --output_dir="$$report/$${board%=*}" --strict \
	    && diff -r "$$report/$${board%=*}" $(BOARDS)/$${board%=*}/report || exit 1; \
	done && echo "the kept reports are what their logs give"

# The runs of the second board, hours of a machine that may do other work; one that is finished is not run again.
leaderboard-runs: $(STAMP)
	$(BIN)/python benchmarks/leaderboard_runs.py --experiment_dir=$(BOARD_RUNS) --data_dir=$(DATA_DIR)
	$(BIN)/python -m scoring.merge --public --output_dir=$(BOARDS)/mini-2026-11-27/logs $(BOARD_RUNS)

check: lint types contracts targets-check test

# An environment that `make` did not set up stays.
clean:
	if [ -e $(STAMP) ]; then rm -rf $(VENV); fi
	rm -rf *.egg-info build/lib build/bdist.* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
