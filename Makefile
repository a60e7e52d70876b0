# Each target sets up what it needs. VENV may point at an environment that exists already.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train, sample and measure DDPM on the embedded long-tailed digits (minutes on a laptop)"
	@echo "make test    run the tests"
	@echo "make lint    ruff and mypy --strict"
	@echo "make bench   the benchmarks, ours and their peers in one run"

demo: $(VENV)/.installed
	$(BIN)/ltgen-bench run

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-bench
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest tests/bench -o addopts=--strict-markers -o timeout=3600

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/.installed-test $(VENV)/.installed-lint $(VENV)/.installed-bench: $(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
