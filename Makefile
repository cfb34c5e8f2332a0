# The commands of docs and CI. Each makes what it needs in .venv: only Python 3.11+, a C compiler and
# make have to be there before.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# Messages that the fuzzer sends in `make fuzz`; it prints a seed that replays a run.
FUZZ_MESSAGES ?= 1000000
SANITIZERS ?= address,undefined thread

# Native code is built when the package is installed, so a change of it installs anew.
NATIVE := pyproject.toml CMakeLists.txt $(shell find native -type f ! -name '*.md')

# `pip install .` in the same environment takes the place of make's editable install: that is made again.
EDITABLE := $(VENV)/lib/python3*/site-packages/tally_gpu-*.dist-info/direct_url.json
REPLACED := $(shell grep -qs '"editable": *true' $(EDITABLE) || echo replaced)

.PHONY: replaced help demo test bench gpu-check lint format docs compat sanitize fuzz wheel clean
.DEFAULT_GOAL := help

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip

# Build tools live in the same environment: an isolated build would fetch them anew for each change.
$(VENV)/stamp-tools: $(BIN)/python
	$(BIN)/pip install --quiet 'scikit-build-core>=0.11' 'cffi>=2.1' 'cmake>=3.25' ninja
	@touch $@

$(VENV)/stamp-%: $(VENV)/stamp-tools $(NATIVE) $(REPLACED)
	$(BIN)/pip install --quiet --no-build-isolation --editable '.[$*]'
	@touch $@

demo: $(VENV)/stamp-workloads ## train and serve side by side; a table and a plot
	$(BIN)/python -m tally.workloads.demo

test: $(VENV)/stamp-test ## every test that needs no GPU
	$(PYTEST) tests/nodev tests/soft

bench: $(VENV)/stamp-workloads ## measurements, as a table and JSON
	$(BIN)/python -m tally.workloads.bench

gpu-check: $(VENV)/stamp-test ## what needs an NVIDIA GPU
	$(BIN)/python -m tally.workloads.gpu_check

compat: $(VENV)/stamp-workloads ## PyTorch's CUDA wheel over the shim (downloads some GB)
	$(BIN)/python -m tally.workloads.compat

lint: $(VENV)/stamp-dev ## style, format, types, and that generated files are fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/support/typecheck.py
	$(BIN)/python -m tally.reference --check
	$(BIN)/python -m tally.interpose check
	$(BIN)/python tests/support/parity.py --check

format: $(VENV)/stamp-dev ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/stamp-test ## write the generated pages of docs/
	$(BIN)/python -m tally.reference
	$(BIN)/python tests/support/parity.py

sanitize: $(VENV)/stamp-test ## native code and end-to-end tests under the sanitizers
	set -e; for sanitizer in $(SANITIZERS); do tests/sanitize.sh $(BIN) $$sanitizer; done

fuzz: $(VENV)/stamp-test ## the long run of the fuzzer of both sockets (nightly)
	cd tests && $(abspath $(BIN))/python -m support.fuzz --messages $(FUZZ_MESSAGES)

wheel: $(VENV)/stamp-tools ## a wheel in dist/
	$(BIN)/pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

clean: ## remove what was built, but not .venv
	rm -rf build dist out
