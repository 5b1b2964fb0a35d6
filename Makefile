# The commands of the README. Everything is installed into .venv from pyproject.toml under constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
TORCH ?= $(shell grep '^torch==' constraints.txt)
# Tests run in so many processes at a time. Many start swarms of real processes and wait for them, so three keep two
# cores busy, which two leave idle for a quarter of the time.
WORKERS ?= 3
PYTEST := pytest --numprocesses $(WORKERS) --dist worksteal --durations 15

.PHONY: demo test test-long test-fast test-lowest wheel wheel-test planted soak nat fuzz audit check fix cover setup docs clean

demo: $(STAMP)
	@$(BIN)/gossip demo $(ARGS)

test: check
	$(BIN)/$(PYTEST) -m "not long" $(ARGS)

# And all cases of the tables of which `make test` has a part.
test-long: check
	$(BIN)/$(PYTEST) $(ARGS)

# All that runs in one process and under virtual time; see CONTRIBUTING.md.
test-fast: $(STAMP)
	$(BIN)/$(PYTEST) -m "not real and not long" $(ARGS)

# The fast tests with the lowest version of each direct dependency, in an environment of their own. Where one of them
# is not to be had for this computer: make test-lowest LOWEST="torch==2.13.0".
test-lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	$(PYTHON) -m tests.lowest $(LOWEST) > .venv-lowest/constraints.txt
	PIP_CONSTRAINT=$(CURDIR)/.venv-lowest/constraints.txt .venv-lowest/bin/pip install --quiet --disable-pip-version-check --editable '.[test]'
	.venv-lowest/bin/$(PYTEST) -m "not real" $(ARGS)

# What a release publishes: a wheel and an sdist, in dist/.
wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --no-isolation

# The wheel in an environment that holds nothing else, and the demo there, in a folder that holds nothing either. torch
# comes first and by its exact version, as below; name another one with: make wheel-test TORCH="torch==2.14.1".
wheel-test: wheel
	$(PYTHON) -m venv --clear .venv-wheel
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt .venv-wheel/bin/pip install --quiet --disable-pip-version-check $(TORCH)
	.venv-wheel/bin/pip install --quiet --disable-pip-version-check dist/gossiptrain-*.whl
	.venv-wheel/bin/pip check
	empty=$$(mktemp -d) && cd $$empty && env -u PYTHONPATH $(CURDIR)/.venv-wheel/bin/gossip demo $(ARGS) && rm -r $$empty

# Puts each mistake of the past back into a copy of the code, and shows that a test fails; see docs/reliability.md.
planted: $(STAMP)
	$(BIN)/python -m tests.planted $(ARGS)

# Real peers among faults for a quarter of an hour; see docs/reliability.md.
soak: $(STAMP)
	$(BIN)/python -m benchmarks.soak $(ARGS)

# Peers behind routers of every kind, as root; see docs/reliability.md.
nat: $(STAMP)
	$(BIN)/python -m benchmarks.nat $(ARGS)

# Bytes that nobody should write, to every decoder of what others write; see docs/security.md.
fuzz: $(STAMP)
	@$(BIN)/python -c 'import atheris' 2>/dev/null || PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(BIN)/python -m tests.fuzz $(ARGS)

# Known weaknesses of all that is pinned. A database on the network is asked; where it knows a package not at all, or does
# not answer, that is a failure: see docs/security.md.
audit: $(STAMP)
	@$(BIN)/python -c 'import pip_audit' 2>/dev/null || PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[audit]'
	$(BIN)/python -m pip_audit --strict --progress-spinner=off --disable-pip --no-deps --requirement constraints.txt $(ARGS)

cover: $(STAMP)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage html --quiet

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(STAMP)

# The website from docs/, in site/; begin at site/index.html. Nothing is fetched from elsewhere.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet $(ARGS)

# torch is installed first and by its exact version: a range would fetch builds for hardware you may not have.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ". Say which with: make PYTHON=python3.12")'
	@echo 'Installing into $(VENV): some 500 MB are downloaded, which takes a few minutes. This happens once.'
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .venv-lowest .venv-wheel dist site .coverage* htmlcov runs .fuzz .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
