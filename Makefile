# Every target does its own set-up in .venv, so that a fresh clone needs nothing but Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test check kernels format bench docs clean

help:                   ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.demo

demo: $(VENV)/.demo     ## train a tiny Face-LLaVA on drawn faces, evaluate it, describe a photograph: runs/demo/report.html
	$(BIN)/facekit demo --output runs/demo

test: $(VENV)/.dev      ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(VENV)/.dev     ## formatting, lint, docstrings, types, layers, no import cycles
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_cycles.py

kernels: $(VENV)/.dev   ## compile the Triton kernels ahead of time for three GPU generations; fails on register spills
	$(BIN)/python -m benchmarks.kernel_report

format: $(VENV)/.dev    ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev     ## measure region attention against its peers on this machine
	$(BIN)/python -m benchmarks.region_attention

docs: | $(BIN)/python   ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/mkdocs build --strict

clean:                  ## remove the environment, caches and runs
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
