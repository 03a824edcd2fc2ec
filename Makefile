# Everything a fresh machine with Python 3.11+ and make needs. `make help` lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?=

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11" >&2; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(VENV)/.installed ## Install into .venv and build Prefect's template database (once)
	@$(BIN)/python -m flows.server

.PHONY: demo
demo: setup ## The main job on example feedback; DATA=folder takes files of real sources
	@$(BIN)/loopwright demo $(if $(DATA),--data $(DATA))

.PHONY: test
# Tests wait for the disk and for other processes about a third of their time: three workers keep
# two cores busy.
test: setup ## All tests but the full-scale figures
	$(BIN)/python -m pytest -m "not prove" -n 3 --dist loadfile

.PHONY: lint
lint: $(VENV)/.installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.PHONY: check
check: lint test ## Exactly what CI runs: lint, tests, a tenth of every scale

.PHONY: prove
prove: setup ## Every figure of every issue at full scale (long)
	$(BIN)/python -m pytest -m "prove" -s

.PHONY: bench
bench: setup ## Speed and memory as ratios in one run
	$(BIN)/loopwright bench

.PHONY: lock
lock: ## Renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-header --upgrade -o requirements.lock
