# What a newcomer needs. `make` alone lists it; every other target makes .venv first, if it is missing or out of date.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

PYTHON ?= $(shell for name in python3.11 python3 python3.12 python3.13; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)

.DEFAULT_GOAL := help
.PHONY: help setup demo bench docs test test-fast test-node chaos simulate check fmt clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment, with the package and its tools

demo: $(READY) ## run sagas on a real node, kill processes under them, and show what the journal says
	@$(BIN)/python -u examples/demo/demo.py

bench: $(READY) ## measure a node on this machine, beside a program that does without one; takes two minutes
	@$(BIN)/python -m saga_actors bench

docs: $(READY) ## make a book of the documentation, in build/docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -b html docs build/docs
	@echo "build/docs/index.html"

test: check ## check, and run all tests, two at a time; ten minutes
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(READY) ## run the tests that need no processes and little time
	$(BIN)/python -m pytest -q tests/unit -m "not node and not slow"

test-node: $(READY) ## run the tests that need processes
	$(BIN)/python -m pytest -m node

chaos: $(READY) ## kill processes at random while sagas run, and at every named point; KILLS=200 SEED=7
	$(BIN)/python tests/chaos/random_kills.py --kills $(or $(KILLS),200) $(if $(SEED),--seed $(SEED))
	SAGA_ACTORS_KILL_POINTS=all $(BIN)/python -m pytest tests/node/test_kill_points.py

simulate: $(READY) ## run the engine in a simulated world, with what befalls it drawn from seeds; N=5000 SEED=0
	@$(BIN)/python tests/simulation/simulate.py --count $(or $(N),5000) --seed $(or $(SEED),0)

check: $(READY) ## see to format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python

fmt: $(READY) ## format, and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the virtual environment, and what tools have left
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "no Python of 3.11 or later is on the PATH; install one (Debian: apt install python3 python3-venv), or name it: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; Debian and Ubuntu have that in a package of its own: apt install python3-venv"; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON); this takes a minute"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
