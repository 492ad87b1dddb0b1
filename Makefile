# Each target does all of its own set-up; on a fresh machine `make run` or `make test` alone is enough.
# The first Python that is there, runs, and is new enough (version managers leave names that do not run).
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# One BLAS thread is fastest for batches of up to about 500 essays.
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

.PHONY: help setup run test engines check faults bench bench-statistics lock clean
help:
	@echo "make run    set up and serve on http://127.0.0.1:8000"
	@echo "make test   set up everything, Chromium, Kafka, Redis and PostgreSQL included, and run the tests"
	@echo "make engines  serve a Kafka, a Redis and a PostgreSQL for development, until Ctrl-C"
	@echo "make check  ruff, mypy --strict, module borders"
	@echo "make faults  every fault campaign in full; writes docs/reliability.md"
	@echo "make bench  each road beside its floor, as ratios"
	@echo "make bench-statistics  the statistics against their bars, beside choix and evalica"

setup: .venv/run.stamp

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Juxta needs Python 3.11 or newer, with venv. On Debian: apt-get install python3 python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/run.stamp: requirements.txt | .venv/bin/python
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements.txt
	@touch $@

.venv/dev.stamp: requirements-dev.txt | .venv/bin/python
	$(BIN)/pip install --quiet --require-hashes --no-deps -r requirements-dev.txt
	@touch $@ .venv/run.stamp

run: setup
	$(BIN)/python run.py

test: .venv/dev.stamp
	@tests/install-chromium
	@tests/install-engines
	$(BIN)/python -m pytest

# Real servers in the foreground, without Docker; it says how to use them, and Ctrl-C ends them.
engines: .venv/dev.stamp
	@tests/install-engines
	@$(BIN)/python -m tests.engines

check: .venv/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Each campaign takes up to ten minutes; `make test` runs a short form.
faults: .venv/dev.stamp
	@tests/install-engines
	$(BIN)/python -m tests.faults --full --write

bench: .venv/dev.stamp
	@tests/install-engines
	$(BIN)/python -m benchmarks

bench-statistics: .venv/dev.stamp
	$(BIN)/python -m benchmarks.statistics

# For those who change dependencies; needs uv.
lock:
	uv lock
	uv export --quiet --frozen --all-extras --no-dev --no-emit-project --no-header -o requirements.txt
	uv export --quiet --frozen --all-extras --all-groups --no-emit-project --no-header -o requirements-dev.txt

clean:
	rm -rf .venv .engines .mypy_cache .ruff_cache .pytest_cache .hypothesis
