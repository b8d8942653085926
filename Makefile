# Everything a developer or CI runs. `make help` lists it.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz crashes run check lint format types layers lock audit clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(STAMP): requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP) ## Show the agent at work, from key to removed lab
	$(BIN)/container-host-agent demo

crashes: $(STAMP) ## Every kill and every fault in the midst of whatever agents do; takes minutes
	$(BIN)/python -m tests.crashes

run: $(STAMP) ## The agent alone in the foreground on port 8003, with a development key
	$(BIN)/container-host-agent run

test: $(STAMP) ## Every test; those that need a Docker Engine too where one answers
	$(BIN)/python -m tests

fuzz: $(STAMP) ## Made-up requests to every call of the API, driven by its own document
	$(BIN)/python -m tests.fuzz

check: lint types layers ## Lint, types and layers

lint: $(STAMP) ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## Bring the style in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP) ## Imports point inwards
	$(BIN)/lint-imports

lock: ## Pin every dependency with its hashes (needs uv)
	$(LOCK) pyproject.toml -o requirements.txt
	$(LOCK) --group build -c requirements.txt -o requirements-build.txt
	$(LOCK) --group dev -c requirements.txt pyproject.toml -o requirements-dev.txt

audit: ## Known faults of the pinned dependencies (needs pip-audit, and its data from the internet)
	pip-audit --requirement requirements.txt --require-hashes --disable-pip

clean: ## Remove what the other targets made
	rm -rf $(VENV) .agent .mypy_cache .pytest_cache .ruff_cache
