# `make demo` and `make test` do all their own set-up; nothing needs to be installed before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT := scripts/apt.sh

.PHONY: demo test test-all check bench format clean

demo: $(VENV)/.train
	@$(BIN)/clearsight demo

test: $(VENV)/.dev
	@$(APT) /usr/bin/chromium chromium
	@$(APT) /usr/bin/psql postgresql
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-all: $(VENV)/.dev
	@$(APT) /usr/bin/chromium chromium
	@$(APT) /usr/bin/psql postgresql
	@$(APT) /usr/bin/prometheus prometheus
	@$(APT) /usr/bin/wrk wrk
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_docs.py

bench: $(VENV)/.dev
	@scripts/bench.sh $(BIN)/python

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.train $(VENV)/.dev: $(VENV)/.%: pyproject.toml constraints.txt scripts/setup.sh
	@scripts/setup.sh $(PYTHON) $(VENV) $*
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis demo
