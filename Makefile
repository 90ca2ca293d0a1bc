PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint slow docs clean

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/installed  ## install, send a photograph at 10 dB and rho 1/12, write out/demo/report.html
	$(BIN)/vqlink send sample:astronaut --snr 10 --rho 1/12 --out out/demo

# One thread: small tensors gain nothing from two, and two wait for each other on a busy machine.
test: .venv/installed lint  ## the tests that every change must pass
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

slow: .venv/installed  ## the long tests too
	$(BIN)/python -m pytest -m 'slow or not slow'

docs: .venv/installed  ## the documentation as a site in site/; a broken link fails
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build

clean:  ## what can be made again in minutes; never runs/, which holds training
	rm -rf .venv site .mypy_cache .ruff_cache .pytest_cache
