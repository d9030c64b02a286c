# Everything sets itself up: a fresh clone with python3 (3.11 or newer, with venv) and make needs nothing else.
#   make demo            three nodes, 40 bots, k kills a node         make demo ARGS="--players 200"
#   make test            the test suite                               make test ARGS="tests/game -x"
#   make test-long       the same, searching twenty times as much    make test-long ARGS="tests/netcode"
#   make hostile         attackers on a real server (six minutes)     make hostile ARGS="--only half_open"
# PYTHON=python3.12 picks another interpreter; mirrors and proxies: CONTRIBUTING.md.

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
INSTALL := sh requirements/install.sh

.PHONY: setup demo test test-long hostile lint rules layout types format lock clean
.DELETE_ON_ERROR:

setup: .venv/run.stamp

demo: .venv/run.stamp
	@$(BIN)/holdfast demo $(ARGS)

test: .venv/dev.stamp
	$(BIN)/python -m tests.run $(ARGS)

test-long: .venv/dev.stamp
	TEST_LONG=1 $(BIN)/python -m pytest -o faulthandler_timeout=900 $(ARGS)

hostile: .venv/dev.stamp
	$(BIN)/python -m tests.hostile $(ARGS)

lint: rules layout types

rules: .venv/dev.stamp
	$(BIN)/ruff check .

layout: .venv/dev.stamp
	$(BIN)/ruff format --check .

types: .venv/dev.stamp
	$(BIN)/mypy

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Stamps: what is there already costs a look at a few dates. An environment that was made for another folder
# (the checkout has moved), or whose Python has gone, is made anew.
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat .venv/made.stamp),$(CURDIR))
.venv/made.stamp: anew
endif
.PHONY: anew
anew:

.venv/made.stamp: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Holdfast needs Python 3.11 or newer: make PYTHON=python3.12")'
	@echo "Setting up .venv (once; some 15 seconds)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $< || echo "no uv to be had"
	@printf '%s' '$(CURDIR)' > $@

.venv/run.stamp: .venv/made.stamp requirements/run.txt pyproject.toml $(wildcard netcode/_*.[ch])
	@$(INSTALL) --require-hashes -r requirements/run.txt
	@$(INSTALL) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	@echo "Installing the development tools (once)"
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

# The newest versions that pyproject.toml allows, one version for every Python and system, with hashes, without addresses.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --upgrade \
	--generate-hashes --no-emit-index-url --custom-compile-command "make lock"

lock: .venv/made.stamp
	echo uv | $(COMPILE) --output-file requirements/uv.txt -
	$(COMPILE) --output-file requirements/run.txt --group build pyproject.toml
	$(COMPILE) --output-file requirements/dev.txt --group build --group dev --constraints requirements/run.txt pyproject.toml

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist *.egg-info netcode/*.so .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
