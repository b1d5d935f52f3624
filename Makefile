# Every target does its own set-up: uv (fetched when it is not there), a virtual environment, locked packages.
SHELL := /bin/bash
UV := $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)
# Another interpreter: make demo PYTHON=python3.12
PYTHON ?=
RUN := .venv/bin/python -m gaze_exp
SYNC := $(UV) sync --locked --compile-bytecode $(if $(PYTHON),--python $(PYTHON))

.PHONY: help demo test test-machines quick check bench wheel clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: .venv/.installed ## render a small synthetic EVE, train, evaluate on unseen persons, export, report
	$(RUN) task=quickstart

test: .venv/.installed-dev ## the tests, a file at a time on two workers
	.venv/bin/python -m pytest -n 2 --dist loadfile --durations=10 -m "not machines" $(ARGS)

test-machines: .venv/.installed-dev ## what takes minutes: launchers, a whole personal round, a SLURM cluster (by apt)
	.venv/bin/python -m pytest -m machines $(ARGS)

quick: .venv/.installed-dev ## the tests that take seconds
	.venv/bin/python -m pytest -m "not slow" $(ARGS)

check: .venv/.installed-dev ## style and types
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

bench: .venv/.installed ## our speed beside its rivals, appended to docs/bench.md
	$(RUN) actions=[benchmark] benchmark.log=docs/bench.md

wheel: .venv/.installed ## build dist/*.whl with the configs inside
	$(UV) build --wheel

clean: ## remove the environments; outputs/ stays
	rm -rf .venv .uv dist

.venv/.installed: pyproject.toml uv.lock | $(UV)
	$(SYNC) --no-dev --inexact
	@touch $@

.venv/.installed-dev: pyproject.toml uv.lock | $(UV)
	$(SYNC)
	@touch $@ .venv/.installed

.uv/bin/uv:
	@echo "fetching uv into .uv"
	@python3 -m venv .uv || { echo "error: python3 has no venv; on Debian or Ubuntu: apt install python3-venv" >&2; rm -rf .uv; exit 1; }
	@.uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.8"
