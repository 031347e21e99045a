# `make demo` and `make test` set up everything they need, system packages included.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test lint unit lock install-train figures wheel clean

help:
	@echo "make demo           the main job: a cry becomes an MQTT event, live"
	@echo "make test           the whole test suite, set-up included"
	@echo "make install        only the set-up: leaves $(BIN)/cradlewatch ready"
	@echo "make wheel          build dist/cradlewatch-*.whl, models inside"
	@echo "make install-train  add what training and measuring need (torch)"
	@echo "make figures        print every figure of the README anew (needs the public data)"

install: $(VENV)/.installed

$(VENV)/.system: deploy/system-packages.sh
	deploy/system-packages.sh run
	mkdir -p $(VENV) && touch $@

$(VENV)/.installed: $(VENV)/.system requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed requirements-dev.lock
	deploy/system-packages.sh test
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	touch $@

demo: install
	$(BIN)/cradlewatch demo $(DEMO_FLAGS)

test: lint unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/pytest $(PYTEST_FLAGS)

wheel: $(VENV)/.dev
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build
