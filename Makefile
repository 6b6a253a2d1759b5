# make help tells what there is. Everything lands in .venv/; a second call redoes only what changed.
PYTHON ?= python3
VENV := .venv/bin
LAB ?=
BENCH ?=
TESTS ?= tests
SHELL := /bin/sh

.PHONY: help setup lab test bench export notebooks samples clean

help:
	@echo "make lab     install what is missing and open JupyterLab on the tour  (LAB='--port 9000' goes to JupyterLab)"
	@echo "make setup   install into .venv/; then .venv/bin/cpcdr is the command"
	@echo "make test    install what tests need and run them                     (TESTS=tests/test_cli.py for some)"
	@echo "make bench   time it, beside a public operation                          (BENCH='--rounds 21' for more)"
	@echo "make export  write cpcdr/ from the notebooks"
	@echo "make notebooks   write cpcdr/, run every notebook, keep text and small pictures"
	@echo "make samples   make data_samples/ again"
	@echo "make clean   remove .venv/ and what tests left"

setup:
	@$(PYTHON) tools/install.py

lab: setup
	@$(VENV)/python tools/open_lab.py $(LAB)

test:
	@$(PYTHON) tools/install.py --tests
	@$(VENV)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup $(TESTS)

bench: setup
	@$(VENV)/python -m benchmarks $(BENCH)

export: setup
	@$(VENV)/nbdev_export

notebooks: export
	@$(VENV)/python tools/notebooks.py run
	@$(VENV)/python tools/readme.py

samples: setup
	@$(VENV)/python tools/samples.py

clean:
	rm -rf .venv .pytest_cache .hypothesis build dist *.egg-info cpcdr/__pycache__
