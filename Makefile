# PYTHON makes the environment; ARGS go to `gradflock train` or to the lock resolver.
PYTHON ?= python3
UV ?= uv
BIN := .venv/bin
INSTALL = $(@D)/bin/python -m pip -qq --disable-pip-version-check install
LOCK := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

# The tests that need PyTorch have an environment of their own: nothing else does with so much.
TORCH := 2.13.0
TORCH_VENV := .venv-torch
TORCH_PYTHON := $(TORCH_VENV)/bin/python
INSTALL_TORCH := $(TORCH_PYTHON) -m pip -qq --disable-pip-version-check install torch==$(TORCH)

# Two at a time: most integration tests wait for their processes. The tests of a file stay together
# and in order: they share runs.
TWO := -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: help setup train test test-long test-torch test-compose soak sim check lint lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: .venv/.dev-installed ## .venv with everything that make check and make test need

train: .venv/.train-installed ## train on this machine; make train ARGS="--workers 4 --steps 200"
	@$(BIN)/gradflock train $(ARGS)

test: lint ## the gate: lint, then every test that is not marked long
	$(BIN)/python -m pytest -m "not long and not soak and not compose" $(TWO)

test-long: setup ## the trials that only .ci/run makes time for; those that measure, one by one
	$(BIN)/python -m pytest -m "long and not soak" --ignore=tests/integration $(TWO)
	$(BIN)/python -m pytest -m "long and not soak" tests/integration

test-torch: $(TORCH_VENV)/.dev-installed ## what needs PyTorch; says so where it cannot be installed
	@if said=$$($(INSTALL_TORCH) 2>&1); then \
		$(TORCH_PYTHON) -m pytest -m torch; \
	else \
		why=$$(printf '%s\n' "$$said" | tail -n 1); \
		echo "nothing is tested: torch $(TORCH) cannot be installed here: $$why"; \
	fi

test-compose: setup ## the containers on a Docker engine; says so where none answers
	@if docker info > /dev/null 2>&1; then \
		$(BIN)/python -m pytest -m compose; \
	else \
		echo "nothing is tested: no Docker engine answers here; start one, then make test-compose"; \
	fi

soak: setup ## the most trials of everything: an hour or two
	$(BIN)/python -m tests.simulation --seeds 10000
	$(BIN)/python -m pytest -m soak

sim: setup ## worlds in virtual time; SEED=n replays one, SEEDS=n lives through so many
	@$(BIN)/python -m tests.simulation $(if $(SEED),$(SEED),--seeds $(or $(SEEDS),200)) $(if $(MUTANT),--mutant "$(MUTANT)")

check: lint ## lint, then the unit tests: seconds, for every save
	$(BIN)/python -m pytest -m unit

lint: setup
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

lock: ## resolve pyproject.toml into both lock files (needs uv); ARGS=--upgrade for newer versions
	$(LOCK) --group build $(ARGS) --output-file requirements.lock
	$(LOCK) --group dev $(ARGS) --constraint requirements.lock --output-file requirements-dev.lock

clean: ## remove .venv, caches and build files; runs/ stays
	rm -rf .venv $(TORCH_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv/.created $(TORCH_VENV)/.created:
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("expected Python 3.11 or newer, got %d.%d - PYTHON=$(PYTHON); name another: make PYTHON=python3.13" % v[:2])'
	@echo "making $(@D) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(@D) && touch $@

.venv/.train-installed: .venv/.created requirements.lock pyproject.toml
	@echo "installing gradflock and requirements.lock into .venv"
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@$(BIN)/gradflock compile && touch $@

.venv/.dev-installed: .venv/.train-installed requirements-dev.lock
	@echo "installing requirements-dev.lock into .venv"
	@$(INSTALL) --require-hashes -r requirements-dev.lock && touch $@

$(TORCH_VENV)/.dev-installed: $(TORCH_VENV)/.created requirements-dev.lock pyproject.toml
	@echo "installing gradflock and requirements-dev.lock into $(@D)"
	@$(INSTALL) --require-hashes -r requirements-dev.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable . && touch $@
