# `make demo` and `make test` set up everything they need, system packages included.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fresh test-hub faults test-arm64 lint unit hub-if-possible install-train train figures wheel deb test-install homeassistant-app sbom audit clean

help:
	@echo "make demo           the main job: a cry becomes an MQTT event, live"
	@echo "make test           the whole test suite, set-up included"
	@echo "make test-fresh     the two above in a clean Debian 12 and 13, as root (minutes)"
	@echo "make faults         inject every fault while the baby cries, print how soon all was told (20 minutes)"
	@echo "make test-hub       with the real Home Assistant, set-up included (minutes; needs Python 3.13)"
	@echo "make test-arm64     on an emulated 64-bit ARM with the Debian of each Raspberry Pi OS, set-up included (minutes)"
	@echo "make install        only the set-up: leaves $(BIN)/cradlewatch ready"
	@echo "make wheel          build dist/cradlewatch-*.whl, models inside"
	@echo "make deb            build dist/cradlewatch_*.deb for this distribution; make test-install tries it"
	@echo "make sbom           write dist/cradlewatch.cdx.json; make audit looks for known weaknesses"
	@echo "make install-train  add what training and measuring need (torch)"
	@echo "make train          from public data to released models (hours on a Pi, do it elsewhere)"
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

# With TRAIN=1 the tests of training run too; without, those that need torch say that they skip.
test: $(if $(TRAIN),$(VENV)/.train) lint unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.dev hub-if-possible
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_FLAGS)

# The real Home Assistant, in an environment of its own.
$(VENV)/.hub: tests/hub/setup.sh tests/hub/requirements.py
	tests/hub/setup.sh $(VENV)/hub
	touch $@

# The slow stage: service, broker and hub together, everything killed once. It leaves pictures of the pages;
# those of the documentation are made by python -m tests.hub.pictures deploy/homeassistant/images.
test-hub: $(VENV)/.dev $(VENV)/.hub
	deploy/system-packages.sh hub
	CRADLEWATCH_PICTURES=$(RUNS)/hub $(BIN)/pytest -m hub tests/hub $(PYTEST_FLAGS)

# The slow stage on the processor of a Raspberry Pi, emulated: every locked library as a wheel, the same answers as
# here. Its speed says nothing of a Pi. DEBIAN_MIRROR names a mirror if apt's own does not serve.
test-arm64: $(VENV)/.dev
	PYTHON=$(BIN)/python tests/arm64/setup.sh bookworm $(VENV)/arm64/bookworm
	PYTHON=$(BIN)/python tests/arm64/setup.sh trixie $(VENV)/arm64/trixie
	$(BIN)/pytest -m arm64 -rP --durations=0 tests/arm64 $(PYTEST_FLAGS)

# The README's two commands where nothing is installed yet, see tests/fresh/__main__.py. FRESH=--all tries each Debian
# as each kind of user, FRESH=trixie:root one of them. As root.
test-fresh: $(VENV)/.dev
	$(BIN)/python -m tests.fresh $(FRESH)

# Without a Python for it, or where it cannot be installed, its tests skip and say so.
hub-if-possible: $(VENV)/.dev
	@if tests/hub/setup.sh find >/dev/null; then $(MAKE) --no-print-directory $(VENV)/.hub || \
		echo "Home Assistant cannot be set up here: the tests with it skip. make test-hub is the stage that needs it."; fi

# Every fault of tests/faults, injected for real while the baby cries, and one table of them all: how soon each was
# noticed and over, and how soon the cry reached hub, phone and speaker. Root can give the monitor disks of its own to
# break; without root, those faults are named as not injected. FAULTS: parts of names, --markdown FILE, --json FILE.
faults: $(VENV)/.dev
	deploy/system-packages.sh faults
	$(BIN)/python -m tests.faults.table $(FAULTS)

# Not in the hashed lock: which build of torch fits depends on the machine. TRAIN_PACKAGES adds to it.
$(VENV)/.train: $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check '.[train]' $(TRAIN_PACKAGES)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

install-train: $(VENV)/.train

RUNS ?= runs
STEP := $(BIN)/python -m models.training

# From data to released artefacts. Needs CRADLEWATCH_DATA and CRADLEWATCH_PRETRAINED, see models/README.md.
train: $(VENV)/.train
	$(STEP).release --recipe models/recipes/release.toml --out $(RUNS)/release --cache $(RUNS)/cache

$(RUNS)/nights/test/nights.json: | $(VENV)/.train
	$(STEP).nights --split test --hours 24 --seed 1 --out $(@D)

$(RUNS)/nights/quiet/nights.json: | $(VENV)/.train
	$(STEP).nights --split test --hours 8 --seed 101 --no-cries --out $(@D)

figures: $(VENV)/.train $(RUNS)/nights/test/nights.json $(RUNS)/nights/quiet/nights.json
	$(STEP).evaluate nights $(RUNS)/nights/test --yamnet --mn04 --plots $(RUNS)/plots
	$(STEP).evaluate nights $(RUNS)/nights/quiet
	$(STEP).evaluate clips --split test
	$(BIN)/cradlewatch bench
	$(BIN)/python -m tests.bench.live_delay

wheel: $(VENV)/.dev
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .

# For the distribution, architecture and Python that it is built on, see the head of the script.
deb: wheel
	deploy/debian/build.sh dist

# The slow stage: the installer; the package in a clean root, and its service under a real systemd. As root.
test-install: deb
	deploy/system-packages.sh deb
	$(BIN)/pytest -m install tests/deploy $(PYTEST_FLAGS)

# All that the Supervisor needs to build the app: copy the folder to /addons.
homeassistant-app: wheel
	rm -rf dist/homeassistant-app && mkdir -p dist
	cp -R deploy/homeassistant-app dist/homeassistant-app
	cp requirements-full.lock "$$(ls -t dist/cradlewatch-*.whl | head -n 1)" dist/homeassistant-app

sbom: $(VENV)/.dev
	$(BIN)/python deploy/sbom.py dist/cradlewatch.cdx.json
	@echo dist/cradlewatch.cdx.json

# Known weaknesses of the locked libraries. Asks a public service; --strict, or what it cannot look up would pass.
audit: $(VENV)/.installed
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements-full.lock

clean:
	rm -rf $(VENV) dist build
