# Every target sets up what it needs first; nothing has to be installed by hand but python3 (3.11 or later) and make.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup lint format test unit demo bench native clean lock wheel

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with everything in it; quick when nothing changed

$(STAMP): requirements.lock requirements-shioaji.lock pyproject.toml deploy/setup.sh deploy/native.sh processors/execpos/codecs/_native.c
	@bash deploy/setup.sh $(VENV)
	@touch $@

lint: setup ## Formatting, rules, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup ## Rewrite the code in the one format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

unit: setup ## The tests that need no server
	@$(BIN)/pytest tests/unit tests/contract -m "not stack"

test: setup ## Every test, on the embedded stack
	@$(BIN)/execpos up --prepare
	@$(BIN)/pytest

demo: setup ## A simulated trading day through the whole pipeline, compared with the broker, then a check of the result
	@$(BIN)/execpos up --prepare
	@$(BIN)/execpos demo

bench: setup ## Throughput and latency of this machine, as JSON
	@$(BIN)/execpos bench throughput --events 300000 --json
	@$(BIN)/execpos bench latency --rate 100 --seconds 30 --json

native: setup ## Compile the Avro codec, as setup does where it can; it changes no result
	@bash deploy/native.sh $(VENV)

wheel: setup ## Build the wheel into dist/
	@$(BIN)/python -m hatchling build -t wheel

LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet
BROKER := import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["shioaji"], sep="\n")

lock: setup ## Resolve the locks anew from pyproject.toml
	@$(LOCK) --extra local --group dev pyproject.toml --output-file requirements.lock
	@$(BIN)/python -c '$(BROKER)' | $(LOCK) --constraints requirements.lock --output-file requirements-shioaji.lock -

clean: ## Remove what the targets made in the checkout
	@rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .execpos
	@rm -f processors/execpos/codecs/_native*.so processors/execpos/codecs/_native*.so.new
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
