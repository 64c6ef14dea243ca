# `make` alone lists the targets.

PYTHON  ?= python3
PORT    ?= 8000
DATA    ?= .trilho
WORKERS ?= 2
KAFKA   ?=
KAFKA_PORT ?= 9092
SECONDS ?= 600
ORDERS  ?= 2000
LOGS    ?= postgres
ARGS    ?=

# Tests mostly wait for servers, so there is room for one process more than cores.
PROCESSES ?= $(shell $(PYTHON) -c "import os; print(min(4, (os.cpu_count() or 1) + 1))")

VENV    := .venv
BIN     := $(VENV)/bin
READY   := $(VENV)/.ready
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help up test check bench proof chaos format clean

help: ## List the targets.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1:\2/p' $(MAKEFILE_LIST) | while IFS=: read -r target text; do \
		printf '%-14s %s\n' "$$target" "$$text"; done

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	@echo "installing into $(VENV); this happens once"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

up: $(READY) ## Start the shop with all it needs. PORT=8000 DATA=.trilho WORKERS=2, or KAFKA=1 (KAFKA_PORT=9092) too.
	@$(BIN)/trilho up -A loja.app --api loja.web:api --port $(PORT) --data $(DATA) --workers $(WORKERS) \
		$(if $(KAFKA),--kafka --kafka-port $(KAFKA_PORT))

test: $(READY) ## Run all tests on real servers. ARGS="-k word" narrows them down.
	@$(BIN)/python -m pytest -n $(PROCESSES) --dist loadgroup $(ARGS)

check: $(READY) ## Lint, format, types, import contract, documentation.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict src
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/docs

bench: $(READY) ## Measure beside Celery, FastStream, DBOS. ARGS="--only events"
	@$(BIN)/python -m bench $(ARGS)

proof: $(READY) ## Kill and flush Celery and Trilho alike, count what was lost and doubled.
	@$(BIN)/python -m bench.proof $(ARGS)

chaos: $(READY) ## Random kills: jobs, orders by events and sagas, pairs. SECONDS=600 ORDERS=2000 LOGS=postgres,kafka
	@TRILHO_CHAOS_SECONDS=$(SECONDS) TRILHO_CHAOS_ORDERS=$(ORDERS) TRILHO_CHAOS_LOGS=$(LOGS) TRILHO_CHAOS_PAIRS=all \
		$(BIN)/python -m pytest -s tests/faults/test_chaos.py tests/faults/test_orders_chaos.py \
		tests/faults/test_saga_pairs.py $(ARGS)

format: $(READY) ## Format the code and mend what can be mended by itself.
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove what was installed and made, the data of `make up` too.
	@if [ -x $(BIN)/trilho ] && $(BIN)/trilho ps --data $(DATA) >/dev/null 2>&1; then \
		echo "a stack runs in $(DATA): stop it first" >&2; exit 1; fi
	rm -rf $(VENV) $(DATA) .lab dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
