# demo, bench and test need root for tracing; demo and bench ask sudo for it.
SHELL := bash
PYTHON := .venv/bin/python
# What must not be skipped: everything, where this user and this kernel can trace, and there is a browser.
REQUIRE = $$(tools/tiers)

.DEFAULT_GOAL := help
.PHONY: help setup demo lab test test-unit bench lint docs wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install the distribution's packages and make .venv, notebooks included
	@tools/packages browser
	@tools/venv notebook test

demo: ## set up, trace real containers, write runs/demo/report.html
	@tools/packages
	@tools/venv test
	@tools/as-root .venv/bin/cmonlab demo --out runs/demo

lab: ## set up, open the notebooks in JupyterLab (as root they can also trace)
	@tools/packages
	@tools/venv notebook
	@cd notebooks && exec ../.venv/bin/jupyter lab --ip=127.0.0.1 $(ARGS) $$([ "$$(id -u)" != 0 ] || echo --allow-root --no-browser)

test: ## set up, run the unit, kernel, docker and browser tests (those that trace need root)
	@tools/packages browser
	@tools/venv notebook test
	@CMONLAB_REQUIRE="$${CMONLAB_REQUIRE-$(REQUIRE)}" $(PYTHON) -m pytest $(ARGS); status=$$?; tools/give-back; exit $$status

test-unit: ## run the unit tests: no root, no packages of the distribution
	@tools/venv notebook test
	@$(PYTHON) -m pytest tests/unit $(ARGS); status=$$?; tools/give-back; exit $$status

bench: ## set up, measure speed, memory and overhead, compare with other tracers, write runs/bench/report.html
	@tools/packages bench
	@tools/venv test
	@tools/as-root $(PYTHON) -m tests.benchmarks --out runs/bench $(ARGS)

lint: ## check style, forbidden imports and types
	@tools/venv notebook test
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy

docs: ## build the documentation's site in site/ (runs the notebooks; a warning is an error)
	@tools/venv notebook docs
	@rm -rf site build/doctrees
	@$(PYTHON) -m sphinx -q -j auto --fail-on-warning -c docs/site -d build/doctrees . site && \
		$(PYTHON) docs/site/check.py site; status=$$?; tools/give-back; exit $$status

wheel: ## build dist/cmonlab-*.whl
	@tools/venv test
	@$(PYTHON) -m pip --disable-pip-version-check wheel -qq --no-deps --wheel-dir dist .
	@tools/give-back
	@ls dist/*.whl

clean: ## remove .venv, caches and builds; recordings under runs/ stay
	rm -rf .venv dist build site .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find cmonlab tests -name __pycache__ -prune -exec rm -rf {} +
