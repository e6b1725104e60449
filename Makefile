# `make demo`, `make test`, `make check`, `make soak`, `make docs`: each makes .venv first if it is missing or stale.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := epam_data epam_model
CODE := $(PACKAGES) tests benchmarks examples docs

.PHONY: demo test check soak docs clean

demo: $(STAMP)
	BIN=$(BIN) bash pipelines/demo.sh

test: $(STAMP)
	$(BIN)/python -m pytest -m "not soak"

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak

check: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(PACKAGES)

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), f"Python 3.10 or newer is needed, got {sys.version}"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache demo_out docs/_build
