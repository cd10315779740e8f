# `make help` lists what there is. Needed: Python 3.11 or newer, git and make. The rest is set up when it is first used.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One more than there are cores: there is always one that waits for a container.
WORKERS ?= $(shell expr $$(nproc) + 1)
DEMO ?= demo
PORT ?= 8000

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## generate a site with the default answers into ./demo, and start it
	@PORT=$(PORT) $(BIN)/python -m tests.demo start $(DEMO)

demo-stop: $(READY) ## stop that site, and remove what it left
	@$(BIN)/python -m tests.demo stop $(DEMO)

test: $(READY) ## run the whole suite; only=py3.14-postgres-drf-multi tests that combination alone, shard=1/8 the first of eight parts
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --no-loadscope-reorder $(if $(only),--only $(only)) $(if $(shard),--shard $(shard))

lint: $(READY) ## check style and types of the template's own code, and all workflows
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy
	$(BIN)/zizmor --offline --quiet .github/workflows template/.github/workflows
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/* template/.github/workflows/*

lock: $(READY) ## resolve the template's dependencies anew, and write them into it
	$(BIN)/uv pip compile --quiet --upgrade --group dev --output-file requirements.txt
	$(BIN)/python -m tests.lock

release: lint test ## date the changelog, commit and tag, if all is well: make release version=0.2.0
	@test "$(version)" || { echo "Which version? make release version=1.2.3; CHANGELOG.md says what makes it a major one" >&2; exit 1; }
	$(BIN)/bump-my-version bump --new-version $(version)

benchmark: $(READY) ## measure sizes and times against the budgets
	$(BIN)/python -m benchmarks

engine: ## start a Docker engine, if none answers
	@$(PYTHON) -m tests.engine start

engine-stop: ## stop the engine that was started here
	@$(PYTHON) -m tests.engine stop

$(READY): requirements.txt
	@echo "Setting up .venv" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Slipway needs Python 3.11 or newer: make PYTHON=python3.13")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --require-hashes --requirement requirements.txt
	@touch $@

.PHONY: help demo demo-stop test lint lock release benchmark engine engine-stop
