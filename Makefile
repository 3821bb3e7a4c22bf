# Needs python3 with venv and pip, and make. Everything else goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO = $(BIN)/hawk generate --prompts-file examples/prompts.txt --out demo --slots 1 --compare
BATCH = $(BIN)/hawk batch examples/prompts.txt demo/batch --workers 2 --overwrite
# Tests run in so many processes, of one thread and 1 GiB each. One that hangs or dies is not started
# again, see faulthandler_timeout.
WORKERS ?= 2
PYTEST = $(BIN)/pytest --numprocesses $(WORKERS) --max-worker-restart 0
QUICK := not ray and not browser and not slow

.DEFAULT_GOAL := help
.PHONY: help demo serve-demo test test-rest test-all lint build docs licences clean

help:
	@echo "make demo   make images of examples/prompts.txt, and of the same a batch job, in demo/"
	@echo "make serve-demo   OpenAI's images API and a page to play on, on this machine"
	@echo "make test   lint, types and quick tests (CPU, no download beyond the packages)"
	@echo "make test-rest   what make test leaves out: tests with Ray or a browser, and slow ones"
	@echo "make test-all   both; WORKERS=8 where there are more cores"
	@echo "make lint   lint and types"
	@echo "make build  the wheel and the source, in dist/"
	@echo "make docs   the API reference, in site/"
	@echo "make licences   those of all packages that Hawk and its tests use, in dist/licences.md"
	@echo "make clean  remove .venv, caches, demo/, dist/ and site/"

demo: $(VENV)/installed
	$(DEMO)
	$(BATCH)

serve-demo: $(VENV)/installed-serve
	$(BIN)/hawk serve

test: lint
	$(PYTEST) --dist worksteal -m "$(QUICK)"

# By file: tests of one share a Ray, a service or a browser.
test-rest: $(VENV)/installed-dev
	$(PYTEST) --dist loadfile -m "not ($(QUICK))"

test-all: test
	$(MAKE) test-rest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache > $(VENV)/imports || { cat $(VENV)/imports; exit 1; }

build: $(VENV)/installed-dev
	rm -rf dist
	$(BIN)/python -m build

docs: $(VENV)/installed-dev
	$(BIN)/pdoc --docformat google --no-show-source --output-directory site hawk

licences: $(VENV)/installed-dev
	mkdir -p dist
	$(BIN)/pip-licenses --format=markdown --with-urls --ignore-packages hawk-t2i \
	  --output-file dist/licences.md

clean:
	rm -rf $(VENV) demo dist site .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Hawk needs Python 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Stamps: reinstalled when the requirements change. The second set includes the first.
$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray]'
	@touch $@

$(VENV)/installed-serve: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[ray,serve]'
	@touch $(VENV)/installed $@

$(VENV)/installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(VENV)/installed $@
