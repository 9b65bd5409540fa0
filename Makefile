# Needs python3 (3.11 or newer) and nothing else: each target first makes .venv with what it uses.
# uv does the installing where it is on the PATH, pip elsewhere; `make UV= test` takes pip all the same.
# What either is told by its own environment (UV_TORCH_BACKEND=cpu, PIP_FIND_LINKS=..., proxies) holds here too.
PYTHON ?= python3
UV ?= $(shell command -v uv 2>/dev/null)

BIN := .venv/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml)
PACKAGES := -e . $(patsubst %/pyproject.toml,-e %,$(PLUGINS))
INSTALL = $(if $(UV),$(UV) pip install --python $(BIN)/python,$(BIN)/python -m pip install) \
	--quiet --constraint constraints.txt

.PHONY: demo test test-slow test-all test-lowest lint format docs lock install clean
.DELETE_ON_ERROR:

demo: .venv/.stamp-core  ## generate with the shipped checkpoints into demo/
	@$(BIN)/python scripts/demo.py demo

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

test: .venv/.stamp-test  ## the quick tests, minutes; `make test ARGS="tests/engine -x"` runs some
	$(PYTEST) -m "not slow" $(ARGS)

test-slow: .venv/.stamp-test  ## the tests that `make test` leaves out
	$(PYTEST) -m slow $(ARGS)

test-all: .venv/.stamp-test  ## every test
	$(PYTEST) $(ARGS)

test-lowest:  ## the quick tests with the oldest releases that the pyproject files allow (needs uv)
	@test -n "$(UV)" || { echo "make test-lowest needs uv on the PATH: pip install uv"; exit 1; }
	$(UV) venv --quiet --allow-existing --python 3.11 .venv-lowest
	$(UV) pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct $(PACKAGES) --group test
	OMP_NUM_THREADS=1 .venv-lowest/bin/python -m pytest -n auto -m "not slow" $(ARGS)

lint: .venv/.stamp-test .venv/.stamp-lint  ## ruff and mypy; change nothing
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

format: .venv/.stamp-lint  ## let ruff lay the code out and fix what it can
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

docs: .venv/.stamp-docs  ## write the site to site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html"

install: .venv/.stamp-test .venv/.stamp-lint .venv/.stamp-docs  ## everything a contributor uses

lock:  ## write constraints.txt anew from the newest releases (needs uv)
	@test -n "$(UV)" || { echo "make lock needs uv on the PATH: pip install uv"; exit 1; }
	$(UV) lock --quiet --upgrade
	$(UV) export --quiet --all-packages --all-groups --all-extras \
		--no-hashes --no-header --no-annotate --no-emit-workspace > constraints.txt

clean:  ## remove what the targets above made
	rm -rf .venv .venv-lowest site demo uv.lock

.venv/.stamp-venv:
	@$(if $(UV),,$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"polydiff needs Python 3.11 or newer; $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.12 $(MAKECMDGOALS)")')
	@echo "Making .venv with $(if $(UV),uv,$(PYTHON) and pip) ..."
	@$(if $(UV),$(UV) venv --quiet --allow-existing .venv,$(PYTHON) -m venv .venv)
	@$(if $(UV),,$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1")
	@touch $@

.venv/.stamp-core: .venv/.stamp-venv pyproject.toml $(PLUGINS) constraints.txt
	@echo "Installing polydiff, its plugins and torch; this takes minutes, and happens once ..."
	@$(INSTALL) $(PACKAGES)
	@touch $@

.venv/.stamp-test: .venv/.stamp-core
	@$(INSTALL) --group test
	@touch $@

.venv/.stamp-lint: .venv/.stamp-core
	@$(INSTALL) --group lint
	@touch $@

.venv/.stamp-docs: .venv/.stamp-core
	@$(INSTALL) --group docs
	@touch $@

.PHONY: bench-check
bench-check: .venv/.stamp-core  ## the errors on closed forms against the stored figures, within 1 %
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.check
