# The commands of docs and CI. Each makes what it needs in an environment of its own: only Python 3.11+,
# a C compiler, make and git have to be there before (.ci/needs.py says so).

# `make PYTHON=python3.13 ...` keeps that Python's environment apart, in .venv-3.13.
ifdef PYTHON
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV ?= .venv-$(VERSION)
else
PYTHON := python3
VENV ?= .venv
endif
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
# An environment that is named for another Python than it has would answer for the wrong one.
HAS := $(shell sed -n 's/^version *= *\([0-9]*\.[0-9]*\).*/\1/p' $(VENV)/pyvenv.cfg 2>/dev/null)
ifneq ($(and $(VERSION),$(HAS)),)
ifneq ($(VERSION),$(HAS))
$(error $(VENV) has Python $(HAS), not $(VERSION): name another one with VENV=, or remove it)
endif
endif
# What an installation says goes to a file; one line of ours says what it does.
STEP := .ci/step $(VENV)/install.log
EXTRA_workloads := what demo and bench run (1 GB of disk)
EXTRA_test := what the tests build with and run (3 GB of disk)
EXTRA_dev := what the tests and lint run (3 GB of disk)
# More options of the demo: `make demo DEMO_FLAGS=--quick`.
DEMO_FLAGS ?=
# Messages that the fuzzer sends in `make fuzz`; it prints a seed that replays a run.
FUZZ_MESSAGES ?= 1000000
SANITIZERS ?= address,undefined thread

# Native code is built when the package is installed, so a change of it installs anew.
NATIVE := pyproject.toml CMakeLists.txt $(shell find native -type f ! -name '*.md')

# `pip install .` in the same environment takes the place of make's editable install: that is made again.
EDITABLE := $(VENV)/lib/python3*/site-packages/tally_gpu-*.dist-info/direct_url.json
REPLACED := $(shell grep -qs '"editable": *true' $(EDITABLE) || echo replaced)

.PHONY: replaced help demo test bench gpu-check lint format docs compat sanitize fuzz wheel release clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

$(BIN)/python:
	@$(PYTHON) .ci/needs.py
	@mkdir -p $(VENV)
	@$(STEP) 'make a Python environment in $(VENV)' $(PYTHON) -m venv $(VENV)

# Build tools live in the same environment: an isolated build would fetch them anew for each change.
$(VENV)/stamp-tools: $(BIN)/python
	@$(STEP) 'install pip and build tools' $(BIN)/python -m pip install --upgrade \
	    pip 'scikit-build-core>=0.11' 'cffi>=2.1' 'cmake>=3.25' ninja
	@touch $@

$(VENV)/stamp-%: $(VENV)/stamp-tools $(NATIVE) $(REPLACED)
	@$(STEP) 'build Tally, and install it with $(EXTRA_$*)' \
	    $(BIN)/python -m pip install --no-build-isolation --editable '.[$*]'
	@touch $@

demo: $(VENV)/stamp-workloads ## train and serve side by side; a table and a plot
	$(BIN)/python -m tally.workloads.demo $(DEMO_FLAGS)

test: $(VENV)/stamp-test ## every test that needs no GPU
	@status=0; $(PYTEST) -m beside -n 2 --dist loadfile tests/nodev tests/soft || status=1; \
	$(PYTEST) -m 'not beside' tests/soft || status=1; exit $$status

bench: $(VENV)/stamp-workloads ## measurements, as a table and JSON
	$(BIN)/python -m tally.workloads.bench

gpu-check: $(VENV)/stamp-test ## what needs an NVIDIA GPU
	$(BIN)/python -m tally.workloads.gpu_check

compat: $(VENV)/stamp-workloads ## PyTorch's CUDA wheel over the shim (downloads some GB)
	$(BIN)/python -m tally.workloads.compat

lint: $(VENV)/stamp-dev ## style, format, types, locks, and that generated files are fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tests/support/typecheck.py
	$(BIN)/python tests/support/native_lint.py
	$(BIN)/python -m tally.reference --check
	$(BIN)/python -m tally.interpose check
	$(BIN)/python tests/support/parity.py --check

format: $(VENV)/stamp-dev ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tests/support/native_lint.py --fix

docs: $(VENV)/stamp-test ## write all generated files: pages of docs/, types, C
	$(BIN)/python -m tally.interpose generate
	$(BIN)/python -m tally.reference
	$(BIN)/python tests/support/parity.py

sanitize: $(VENV)/stamp-test ## native code and end-to-end tests under the sanitizers
	set -e; for sanitizer in $(SANITIZERS); do tests/sanitize.sh $(BIN) $$sanitizer; done

fuzz: $(VENV)/stamp-test ## the long run of the fuzzer of all sockets (nightly)
	cd tests && $(abspath $(BIN))/python -m support.fuzz --messages $(FUZZ_MESSAGES)

wheel: $(VENV)/stamp-tools ## a wheel in dist/, for this machine's glibc and later
	@$(STEP) 'build a wheel in dist/' $(BIN)/python -m pip wheel --no-build-isolation --no-deps --wheel-dir dist .
	@$(BIN)/python -c 'import platform; print("Its shim is built against", *platform.libc_ver())'
	@echo 'Where glibc may be older, use that of `make release`, which is for glibc 2.17 and later.'

release: $(VENV)/stamp-test ## the shim for programs on glibc 2.17 and later, in dist/release
	@$(STEP) 'build the shim in dist/release' sh native/shim/release.sh $(BIN)/python dist/release

clean: ## remove what was built, but not .venv
	rm -rf build dist out
