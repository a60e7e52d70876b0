# Each target sets up what it needs. VENV may point at an environment that exists already.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test reproduce lint bench gpu gpu-tests gpu-bench clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    train, sample and measure DDPM on the embedded long-tailed digits (minutes on a laptop)"
	@echo "make test    run the tests"
	@echo "make reproduce  REPRODUCING.md on digits with trainings of a second, the notebook, the maps that compile"
	@echo "make lint    ruff and mypy --strict"
	@echo "make bench   the benchmarks, ours and their peers in one run"
	@echo "make gpu     for a machine with a GPU: its tests and its table; PYTHON=python3 takes that interpreter and"
	@echo "             installs nothing; DEVICE=cpu SHORT=1 tries both on a CPU"

demo: $(VENV)/.installed
	$(BIN)/ltgen-bench run

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

reproduce: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 LTGEN_BENCH_REPRODUCE=1 $(BIN)/python -m pytest tests/test_reproducing.py tests/test_examples.py \
		tests/evaluation/test_embedding.py

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-bench
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest tests/bench -o addopts=--strict-markers -o timeout=3600

# PYTHON=... on the command line is an interpreter that has all it needs: nothing is installed, as on clusters
# without network.
DEVICE ?= cuda
ifeq ($(origin PYTHON),command line)
GPU_PYTHON := PYTHONPATH=. $(PYTHON)
GPU_NEEDS :=
else
GPU_PYTHON := $(BIN)/python
GPU_NEEDS := $(VENV)/.installed-test
endif

gpu: gpu-tests gpu-bench

gpu-tests: $(GPU_NEEDS)
	LTGEN_BENCH_GPU_TESTS=$(DEVICE) $(GPU_PYTHON) -m pytest -m gpu tests/gpu/test_cuda.py

gpu-bench: $(GPU_NEEDS)
	$(GPU_PYTHON) tests/bench/gpu.py --device $(DEVICE) $(if $(SHORT),--short,--out tests/bench/GPU.md)

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
