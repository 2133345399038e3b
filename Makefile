# Everything a fresh machine with Python >= 3.11 needs. VENV, PYTHON and WORKERS may be set: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
SOAK_MINUTES ?= 10
CODE := streamad tests tools scripts benchmarks experiments examples
BIN := $(VENV)/bin
# The versions that CI tested; remove the constraint to try newer ones.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test soak lint docs bench bench-service bench-docs panel panel-docs clean help

help:
	@echo "make demo   render a scene, learn it, watch it, leave plot, video and metrics in runs/demo"
	@echo "make test   the test suite (set STREAMAD_DATA for the tests on real data; PYTEST_ARGS=--slow for all of it)"
	@echo "make soak   faults on six RTSP cameras for SOAK_MINUTES (10); writes the table of docs/results/reliability.md"
	@echo "make lint   format, lint, types, import rules"
	@echo "make docs   the documentation site in build/site; a broken link, anchor or docstring section is an error"
	@echo "make bench  speed, cameras and memory of every model and engine, within 8 minutes; BENCH_ARGS=... for more"
	@echo "make bench-service  what evidence and the page cost beside scoring, and lists of a million events; part of make bench"
	@echo "make bench-docs  table and plots of docs/results/performance.md from what make bench measured"
	@echo "make panel  learn and watch the cameras of STREAMAD_DATA beside three baselines; PANEL_ARGS=... for some or all"
	@echo "make panel-docs  tables and pictures of docs/results/panel.md from what make panel measured"

# The base install: no torch.
$(VENV)/.base: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "streamad needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) torch
	$(PIP) -e '.[train,teacher,onnx,int8,mqtt,apprise,webpush,dev]'
	@touch $@

demo: $(VENV)/.base
	$(BIN)/streamad demo

# Files of tests two at a time; then what holds real streams or measures time, with nothing beside it. pytest ends with 5
# where it was given nothing to run, which either half may be.
test: $(VENV)/.dev
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not alone" $(PYTEST_ARGS); first=$$?; \
	$(BIN)/python -m pytest -m alone $(PYTEST_ARGS); second=$$?; \
	if [ $$first -eq 5 ]; then exit $$second; elif [ $$first -ne 0 ]; then exit $$first; fi; \
	[ $$second -eq 5 ] || exit $$second

soak: $(VENV)/.dev
	$(BIN)/python -m pytest tests/integration/test_soak.py --slow --soak-minutes $(SOAK_MINUTES) --soak-report docs/results/reliability.md

lint: $(VENV)/.dev
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/.docs: $(VENV)/.base
	$(PIP) -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	@mkdir -p build
	@$(BIN)/zensical build --strict --clean > build/docs.log 2>&1 || { cat build/docs.log; exit 1; }
	$(BIN)/python scripts/check_docstrings.py
	@echo "build/site/index.html"

bench: $(VENV)/.dev
	@mkdir -p runs
	$(BIN)/python benchmarks/bench.py --json runs/bench.json $(BENCH_ARGS)
	@$(MAKE) --no-print-directory bench-service

bench-service: $(VENV)/.dev
	@mkdir -p runs
	$(BIN)/python benchmarks/evidence_cost.py
	$(BIN)/python benchmarks/evidence_cost.py --threshold 1e9
	$(BIN)/python benchmarks/page_cost.py
	$(BIN)/python benchmarks/event_queries.py

bench-docs: $(VENV)/.dev
	$(BIN)/python benchmarks/bench.py --from runs/bench.json --write-docs

panel: $(VENV)/.base
	$(BIN)/python benchmarks/panel.py $(PANEL_ARGS)

panel-docs: $(VENV)/.base
	$(BIN)/python benchmarks/panel.py --from runs/panel/panel.json --write-docs

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .cache build runs
