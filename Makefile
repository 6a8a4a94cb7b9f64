# Everything is done in .venv, which make builds itself from pyproject.toml with the versions of constraints.txt.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m pip
DEMO_PROMPT ?= a pizza, 3d
DEMO_OUTPUT ?= demo.png
TEST_WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo install fmt lint types arch test test-slow test-gpu matrix cov docs docs-check golden bench build check system-packages clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.local ## set up, make one real picture with the built-in model, show it
	@$(BIN)/sdenv generate "$(DEMO_PROMPT)" --seed 1 --backend local --output $(DEMO_OUTPUT) --force --show
	@echo "The picture is in $(DEMO_OUTPUT). Next: $(BIN)/sdenv generate \"a cat, flat\""

install: $(VENV)/.dev ## set up .venv with everything for development

$(VENV)/.python:
	@echo "Setting up $(VENV) (once; later runs start at once) ..."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sdenv needs Python 3.11 or newer; name one with: make PYTHON=python3.12 ...")'
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.local: $(VENV)/.python pyproject.toml constraints.txt
	@$(PIP) install --quiet --editable '.[local,serve]'
	@touch $@

$(VENV)/.dev: $(VENV)/.local
	@$(PIP) install --quiet --editable '.[all,dev]'
	@touch $@

fmt: $(VENV)/.dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.dev ## formatting and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## mypy --strict over sdenv and tests
	$(BIN)/mypy

arch: $(VENV)/.dev ## the import rules
	$(BIN)/lint-imports

test: $(VENV)/.dev ## the test suite: no GPU, no network, at most three minutes on two cores
	$(BIN)/python -m pytest --quiet --numprocesses $(TEST_WORKERS)

test-slow: $(VENV)/.dev ## tests that take longer (tmux, kill loops, a browser)
	$(BIN)/python -m pytest -m slow

test-gpu: $(VENV)/.dev ## tests that need a CUDA or MPS device
	$(BIN)/python -m pytest -m gpu

matrix: $(VENV)/.dev ## the contract suites over every backend
	$(BIN)/python -m pytest tests/matrix

cov: $(VENV)/.dev ## branch coverage of the test suite
	$(BIN)/python -m pytest --quiet --numprocesses $(TEST_WORKERS) --cov=sdenv --cov-branch --cov-report=term

docs: $(VENV)/.dev ## write docs/reference/ from the code
	$(BIN)/python docs/generate.py

docs-check: $(VENV)/.dev ## fail when docs/reference/ and the code differ
	$(BIN)/python docs/generate.py --check

golden: $(VENV)/.dev ## refresh the golden files: make golden REASON="why they changed"
	@test -n "$(REASON)" || { echo 'Say why: make golden REASON="..."'; exit 2; }
	SDENV_GOLDEN_REASON="$(REASON)" $(BIN)/python -m pytest -q -m 'not gpu' tests/cli

bench: $(VENV)/.dev ## the benchmarks; each prints the ratio it measured
	@for each in tests/benchmarks/bench_*.py; do echo "== $$each"; $(BIN)/python $$each || exit 1; done

build: $(VENV)/.dev ## wheel and sdist in dist/
	$(PIP) wheel --quiet --no-deps --wheel-dir dist .

check: lint types arch docs-check test test-slow ## everything that CI runs

system-packages: ## Debian packages that the slow tests use (needs root)
	apt-get update -qq && apt-get install -y -qq tmux chromium

clean: ## remove the environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
