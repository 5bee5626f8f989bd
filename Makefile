PYTHON ?= python3
VENV := .venv
SCRIPTS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := $(VENV)/$(SCRIPTS)
STAMP := $(VENV)/.installed
VENV_LOWEST := .venv-lowest
BIN_LOWEST := $(VENV_LOWEST)/$(SCRIPTS)
STAMP_LOWEST := $(VENV_LOWEST)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
CONSTRAINTS ?= constraints.txt

.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE # the tests start many processes, which would all compile the sources
.PHONY: help setup quickstart test test-slow test-lowest fuzz soak lint typecheck format bench docs build clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the pinned packages and this one

$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS)) -e '.[dev]'
	touch $@

quickstart: setup ## train on pictures that the program draws itself, for a few minutes
	$(BIN)/python -m pix2pix_lightning.train experiment=quickstart

test: lint typecheck ## lint, types and tests
	$(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder

test-slow: setup ## quickstart with three seeds, 200 killed runs, and the wheel in an empty environment
	$(BIN)/python -m pytest -m slow

fuzz: setup ## random input for each reader, ten minutes each; FUZZ_MINUTES=1 is shorter
	$(BIN)/python -m pytest -n auto -m fuzz tests/fuzz

soak: setup ## one training of 20,000 tiny steps: memory, open files, threads and logs stay flat
	SOAK_STEPS=20000 $(BIN)/python -m pytest -n 0 -s -m slow tests/test_soak.py

test-lowest: $(STAMP_LOWEST) ## the tests with the lowest versions that pyproject.toml allows, in .venv-lowest
	$(BIN_LOWEST)/python -m pytest -n auto

$(STAMP_LOWEST): pyproject.toml constraints-lowest.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "The lowest versions need Python 3.11: make PYTHON=python3.11 test-lowest")'
	$(PYTHON) -m venv $(VENV_LOWEST)
	$(BIN_LOWEST)/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[test]'
	touch $@

lint: setup ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: setup ## mypy, strict, also of the Python in README.md
	$(BIN)/python tests/write_snippets.py build/snippets
	$(BIN)/mypy src examples/lightning_cli.py tests/inference/translator_types.py build/snippets

format: setup ## let ruff write the code's form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## training, prediction and loading beside plain ones, on this machine
	$(BIN)/python -m pix2pix_lightning.benchmark

docs: $(DOCS_STAMP) ## guides and API reference as pages in build/docs; warnings are errors
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -b html docs build/docs
	@echo build/docs/index.html

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

build: setup ## sdist and wheel in dist/
	$(BIN)/python -m build --no-isolation

clean: ## remove what make made
	rm -rf $(VENV) $(VENV_LOWEST) dist build .hypothesis .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
