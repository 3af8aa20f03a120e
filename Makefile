# People and CI use the same commands.
VENV ?= .venv
export VENV

.PHONY: help demo test check bench-engine clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Set up, build the demo release, serve it and translate real titles (ARGS=--once ends there)
	@scripts/setup cpu
	@$(VENV)/bin/python examples/demo.py $(ARGS)

test: ## Set up, check format, types and import rules, and run all tests
	@scripts/setup dev
	@scripts/check
	@$(VENV)/bin/python -m pytest $(ARGS)

check: ## Format, lint, types and import rules alone
	@scripts/setup dev
	@scripts/check

bench-engine: ## Compare the engine with CTranslate2, llama.cpp and transformers on this machine
	@scripts/setup dev
	@scripts/setup bench
	@$(VENV)/bin/python -m benchmarks.engine $(ARGS)

clean: ## Remove what these commands made
	rm -rf $(VENV) var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
