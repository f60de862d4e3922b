# Every target does all of its own set-up. `make` alone lists them.
VENV ?= .venv
BIN := $(VENV)/bin
export VENV

.DEFAULT_GOAL := help
.PHONY: help setup dev model demo check test test-all bench docs format contracts clean tools

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: ## A virtual environment with Tercet in it, for a market in completions and for agents
	@sh scripts/setup.sh use

dev: ## The same with the tools for working on it
	@sh scripts/setup.sh dev

demo: ## A whole market on this machine: real models, real money rules; ARGS=--all for every competition
	@case "$(ARGS)" in \
		*--all*) sh scripts/setup.sh all && sh scripts/system_packages.sh bwrap=bubblewrap ;; \
		*) sh scripts/setup.sh run && { sh scripts/system_packages.sh bwrap=bubblewrap || echo "Without it no agents run." >&2; } ;; \
	esac
	@$(BIN)/tercet demo $(ARGS)

check: dev ## Style, types, directions of imports, contract artifacts, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/build_contracts.py --check
	$(BIN)/python scripts/check_contracts.py
	$(BIN)/python scripts/build_cli_reference.py --check
	$(BIN)/python scripts/build_contract_reference.py --check

tools: dev
	@sh scripts/system_packages.sh npm=npm chromium=chromium bwrap=bubblewrap
	@$(BIN)/python scripts/fetch_anvil.py
	@$(BIN)/tercet model pull smol
	@$(BIN)/tercet model pull minilm

test: tools ## All tests that finish within five minutes each
	$(BIN)/pytest -m "not long" $(ARGS)

test-all: tools ## The long ones too
	@$(BIN)/tercet model pull small
	$(BIN)/pytest $(ARGS)

bench: tools ## Print the numbers that the docs quote
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

contracts: dev ## Compile the contracts into the artifacts that ship
	$(BIN)/python scripts/build_contracts.py

docs: dev ## Regenerate the reference pages
	$(BIN)/python scripts/build_cli_reference.py
	$(BIN)/python scripts/build_contract_reference.py

format: dev ## Put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Forget the virtual environment and the caches, keep the models
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
