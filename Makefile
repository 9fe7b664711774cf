# Needs Python 3.11 or newer, make, and a package index. Everything goes into .venv.
PYTHON ?= python3
VENV ?= .venv
# One version, so that every machine tests against the same; any from 2.4 on works.
# A build without GPU (2.13.0+cpu) fits as well.
TORCH ?= torch==2.13.0
PYTEST_OPTIONS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help demo test slow lint docs bench equivalence clean

help:
	@echo "make demo    a trained network, rewritten and proved unchanged"
	@echo "make test    the test suite"
	@echo "make slow    the tests that run for more than a few seconds"
	@echo "make lint    style and types"
	@echo "make docs    the documentation, into site/"
	@echo "make bench   the benchmark tables"
	@echo "make equivalence  pairs of networks, proved and refuted; 10,000 tiny pairs, judged"
	@echo "make clean   remove what make has made"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What the program needs; the stamps save the second run from asking the index again.
$(VENV)/.stamp-run: pyproject.toml | $(BIN)/python
	@echo "installing isoform into $(VENV)"
	@$(PIP) --editable .
	@touch $@

# What the tests, the documentation and the style checks need besides.
$(VENV)/.stamp-dev: pyproject.toml | $(BIN)/python
	@echo "installing isoform and what its tests need into $(VENV)"
	@$(PIP) "$(TORCH)" --editable '.[cluster,dev,parquet,plot,sklearn]'
	@touch $@ $(VENV)/.stamp-run

demo: $(VENV)/.stamp-run
	$(BIN)/isoform demo

test: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -q -m "not slow" $(PYTEST_OPTIONS)

slow: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -q -m slow $(PYTEST_OPTIONS)

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check --quiet
	$(BIN)/mypy

docs: $(VENV)/.stamp-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/.stamp-dev
	$(BIN)/python benchmarks/river.py

equivalence: $(VENV)/.stamp-dev
	cd benchmarks && $(abspath $(BIN))/python -m equivalence.run
	cd benchmarks && $(abspath $(BIN))/python -m equivalence.judge

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
