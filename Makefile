# `make help` lists the targets. Requires Python 3.11 or newer, git and make; everything else is set up on first use.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two per core, because half of the workers mostly wait.
WORKERS ?= $(shell expr 2 \* $$(nproc))
# Some images set it: each of the many starts of Python would compile the tests again.
unexport PYTHONDONTWRITEBYTECODE
DEMO ?= demo
PORT ?= 8000

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## generate a site with the default answers into ./demo, and start it
	@PORT=$(PORT) $(BIN)/python -m tools.demo start $(DEMO)

demo-stop: $(READY) ## stop that site, and remove its data and image
	@$(BIN)/python -m tools.demo stop $(DEMO)

# only=NAME tests one combination, shard=1/8 the first of eight parts, full=1 everything for every combination;
# part=2 and since=REF choose among the rotating drills.
test: $(READY) ## test every combination, and the drills whose turn it is; CONTRIBUTING.md explains only=, shard=, full=1
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --no-loadscope-reorder $(if $(full),--full) \
	  $(foreach name,only shard part since,$(if $($(name)),--$(name) $($(name))))

lint: $(READY) ## check style and types of the template's own code, and all workflows
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy
	$(BIN)/zizmor --offline --quiet .github template/.github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/* template/.github/workflows/*
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml template/.github/dependabot.yml

lock: $(READY) ## resolve the template's dependencies again, and write its lock files
	$(BIN)/uv pip compile --quiet --upgrade --group dev --output-file requirements.txt
	$(BIN)/python -m tools.lock

release: full := 1
release: has-version lint test ## run all tests, then date the changelog, commit and tag: make release version=0.2.0
	$(BIN)/bump-my-version bump --new-version $(version)
	echo "v$(version) $$(git rev-parse HEAD)" >> tests/releases.txt
	git commit --quiet --message "List v$(version)" tests/releases.txt

has-version:
	@test "$(version)" || { echo "Which version? Run make release version=1.2.3; CONTRIBUTING.md explains what makes a major one" >&2; exit 1; }

# only=times, only=throughput or only=scale measures that part; large=1 lets a project grow to a thousand apps.
benchmark: $(READY) ## measure sizes, times and requests a second; accept=1 keeps the figures in benchmarks/
	$(BIN)/python -m benchmarks $(if $(accept),--accept) $(if $(only),--only $(only)) $(if $(large),--large)

engine: ## start a Docker engine if none is running
	@$(PYTHON) -m tests.engine start

engine-stop: ## stop the engine that was started here
	@$(PYTHON) -m tests.engine stop

# By uv, which is among the requirements: pip alone takes four times as long.
$(READY): requirements.txt
	@echo "Setting up .venv" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Slipway needs Python 3.11 or newer: make PYTHON=python3.13")'
	@$(PYTHON) -m venv .venv
	@awk '/^[a-z]/ { uv = /^uv==/ } uv' requirements.txt > .venv/uv.txt
	@$(BIN)/pip install --quiet --require-hashes --requirement .venv/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --system-certs --compile-bytecode --require-hashes --requirement requirements.txt
	@touch $@

.PHONY: help demo demo-stop test lint lock release has-version benchmark engine engine-stop
