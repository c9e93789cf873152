# `make run` starts everything, `make test` tests everything; the rest is for who works on the house.
# Nothing but Python 3.11 or newer is needed: the tools below live in .venv, from requirements.lock.

SHELL := /bin/sh
BIN := .venv/bin
UV := $(BIN)/uv --system-certs
UV_VERSION := 0.13.9
# Tests run on as many processes as there are cores, but no more than the memory of a laptop bears.
JOBS ?= auto
PYTHON ?= $(firstword $(foreach name,python3 python3.11 python3.12 python3.13 python3.14,$(shell \
	$(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))

.PHONY: run test test-fast check format bench lock clean
.DEFAULT_GOAL := run

run: .venv/installed
	@exec $(BIN)/credit-es run

test: .venv/installed
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --dist worksteal

# The inner loop: no test that takes its time, none that kills processes.
test-fast: .venv/installed
	@$(BIN)/python -m pytest -n $(JOBS) --maxprocesses 4 --dist worksteal -m "not slow and not fault"

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema compose-spec docker-compose.yml
	@$(MAKE) --no-print-directory lock LOCKS=.venv/locks
	@for lock in $(LOCK_FILES); do \
		diff -u $$lock .venv/locks/$$lock || { echo "$$lock is stale: run \`make lock\` and commit it."; exit 1; }; \
	done; echo "locks are fresh"

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every figure of benchmarks/README.md, each against its peer; half an hour on a quiet machine.
bench: .venv/bench
	@rm -f .venv/missed; for bench in benchmarks/bench_*.py; do \
		BENCH_MISSED=.venv/missed $(BIN)/python -m benchmarks.$$(basename $$bench .py) \
			|| failed="$$failed $$bench"; \
	done; [ ! -e .venv/missed ] || { echo; echo "Short of what is asked:"; cat .venv/missed; }; \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

# The locks are universal (every platform, every Python from 3.11 on) and name no index. What they
# hold already is preferred, so a newer release on the index changes nothing: only pyproject.toml
# does. To move to newer releases, delete the files first. uv itself stands in the lock, too, so
# that even the installer is checked against its hash.
LOCKS := .
LOCK_FILES := requirements.lock requirements-prod.lock requirements-bench.lock
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
lock: .venv/uv
	@mkdir -p $(LOCKS)
	@for lock in $(LOCK_FILES); do \
		if [ "$(LOCKS)" != . ]; then rm -f $(LOCKS)/$$lock; [ ! -e $$lock ] || cp $$lock $(LOCKS)/; fi; \
	done
	@echo "uv==$(UV_VERSION)" | $(COMPILE) pyproject.toml - --extra embedded --group dev -o $(LOCKS)/requirements.lock
	@$(COMPILE) pyproject.toml -c $(LOCKS)/requirements.lock -o $(LOCKS)/requirements-prod.lock
	@$(COMPILE) --group bench -c $(LOCKS)/requirements.lock -o $(LOCKS)/requirements-bench.lock

clean:
	rm -rf .venv

# uv first, by its lines of the lock; where uv has no wheel or fails, pip installs the same lock.
.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	@echo "installing into .venv ..."
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	@if $(BIN)/pip install --quiet --no-deps --require-hashes -r .venv/uv.lock \
		&& $(UV) pip sync --quiet --require-hashes requirements.lock; then :; else \
		echo "uv could not install; pip goes on, more slowly ..."; \
		$(BIN)/pip install --quiet --require-hashes -r requirements.lock; fi
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# What the benches' peers are made of; the next change of requirements.lock takes it out again.
.venv/bench: .venv/installed requirements-bench.lock
	@$(UV) pip install --quiet --require-hashes -r requirements-bench.lock \
		|| $(BIN)/pip install --quiet --require-hashes -r requirements-bench.lock
	@touch $@

# What `make lock` needs when there is no lock yet.
.venv/uv: Makefile | .venv/bin/python
	@$(BIN)/uv --version 2>/dev/null | grep -q "$(UV_VERSION)" || $(BIN)/pip install --quiet uv==$(UV_VERSION)
	@touch $@

.venv/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed: install it, or say make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot make a virtual environment: on Debian or Ubuntu, apt install python3-venv"; exit 1; }
