# `make demo`, `make test`, `make check`, `make soak`, `make docs`: each makes .venv first if it is missing or stale;
# `make test-mmaction` makes .venv-mmaction. `make soak-all` runs the long tests in full, for an hour or more.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := epam_data epam_model
CODE := $(PACKAGES) tests benchmarks examples docs setup.py

MM_VENV := .venv-mmaction
MM_STAMP := $(MM_VENV)/.installed

.PHONY: demo test check soak soak-all docs test-mmaction clean

demo: $(STAMP)
	BIN=$(BIN) bash pipelines/demo.sh

test: $(STAMP)
	$(BIN)/python -m pytest -m "not soak" -n 2 --dist worksteal

soak: $(STAMP)
	$(BIN)/python -m pytest -m soak

soak-all: $(STAMP)
	$(BIN)/python -m pytest -m soak --soak-all --soak-results=benchmarks/results/soak.json

test-mmaction: $(MM_STAMP)
	$(MM_VENV)/bin/python -m pytest tests/mmaction

check: $(STAMP)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy $(PACKAGES)
	$(BIN)/lint-imports --no-cache

docs: $(STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build/html

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), f"Python 3.10 or newer is needed, got {sys.version}"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# MMAction2 wants NumPy 1: an environment of its own, without what only other tests need.
$(MM_STAMP): pyproject.toml constraints-mmaction.txt
	$(PYTHON) -m venv $(MM_VENV)
	$(MM_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(MM_VENV)/bin/python -m pip install --quiet --constraint constraints-mmaction.txt \
		--editable '.[mmaction]' mmcv-lite openmim pytest hypothesis
	$(MM_VENV)/bin/python -m pip uninstall --quiet --yes decord  # MMAction2's, in the folder of decord2
	$(MM_VENV)/bin/python -m pip install --quiet --force-reinstall --no-deps --constraint constraints-mmaction.txt decord2
	touch $@

clean:
	rm -rf $(VENV) $(MM_VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache demo_out docs/_build
