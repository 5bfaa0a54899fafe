# Two commands do everything: `make demo` and `make test`. Both install what they need into .venv and, as root, from apt.
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Two keep two cores busy: a cluster has processes of its own (tests/conftest.py has the groups of tests).
PROCESSES ?= -n 2 --dist loadscope --no-loadscope-reorder

.PHONY: demo prepare test lint unit coverage e2e bench crds docs images clean help
help:  ## list the targets
	@grep -hE '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "swiftop needs Python 3.11 or newer: $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another with PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -q -y \
	  --no-install-recommends "$$($(PYTHON) -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')"; } || { \
	  echo "$(PYTHON) cannot make virtual environments: install python3-venv (Debian's package name)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(RUN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## fine-tune a real model on a real cluster, with a live progress display
	$(RUN)/python -m demo

prepare: $(STAMP)  ## build what the tests need, once: Kubernetes and the images (both cached)
	@$(RUN)/python -m tools.cluster build
	$(RUN)/python -m images operator trainer-cpu server-vllm-cpu

test: lint prepare  ## lint, types, and all tests, the end-to-end ones on the real cluster included
	$(RUN)/pytest $(PROCESSES)

lint: $(STAMP)  ## ruff, mypy --strict, the layer contracts and the declared dependencies
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	$(RUN)/deptry operator demo images tools
	$(RUN)/deptry tests --ignore DEP002,DEP004

unit: $(STAMP)  ## the tests that need no cluster
	$(RUN)/pytest tests/unit tests/engine

coverage: $(STAMP)  ## how much of the operator the tests without a cluster run
	$(RUN)/pytest tests/unit tests/engine --cov --cov-report=term:skip-covered

e2e: prepare  ## the tests on the real cluster only
	$(RUN)/pytest tests/e2e

bench: $(STAMP)  ## print the figures of docs/performance.md
	$(RUN)/python -m tests.bench

crds: $(STAMP)  ## write crds/ from the models
	$(RUN)/swiftop crds --out crds

docs: $(STAMP)  ## write docs/flags.md from the models and the flag tables
	$(RUN)/python -m tools.flags_page

images: $(STAMP)  ## build the images that this machine can build
	$(RUN)/python -m images

clean:  ## stop the demo's and the tests' clusters and remove .venv (the cache stays: ~/.cache/swiftop)
	-$(RUN)/python -m tools.cluster --name demo down
	-for name in test test-gw0 test-gw1 test-gw2; do $(RUN)/python -m tools.cluster --name $$name down; done
	rm -rf $(VENV)
