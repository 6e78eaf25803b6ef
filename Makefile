PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
APT := $(BIN)/python -m apt_lightning
DEMO := demo
CLIPS ?= 900
SEED ?= 0

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow format bench bench-compare bench-gpu study benchmark leak leaderboard wheels docs clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(VENV)/installed ## Make .venv with everything the demo and the tests need

demo: install ## Synthesise clips, prepare, train the six runs, test, score two clips, report (about 12 minutes on two cores)
	$(APT) demo --clips $(CLIPS) --seed $(SEED) --out $(DEMO)

test: install ## Lint, types, doctests and the quick test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n auto --maxprocesses 4 --dist loadfile -m 'not slow and not gpu'

test-slow: install ## The slow tests too
	$(BIN)/pytest -q -m 'not gpu'

format: install ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Measure ratios against peers, about 11 minutes; writes bench.json
	$(BIN)/python -m bench --json bench.json

bench-compare: install ## Compare two results: make bench-compare OLD=a.json NEW=b.json
	$(BIN)/python -m bench.compare $(OLD) $(NEW)

bench-gpu: install ## Clips a second of each stage on a GPU: fp32, bf16, compiled
	$(BIN)/python -m bench.gpu

wheels: install ## Check that every supported platform and Python has wheels of all that is needed
	scripts/wheels $(BIN)/uv

docs: install ## Build the documentation into site/; a dead reference fails
	$(BIN)/mkdocs build --strict

study: install ## Redo docs/embedding-study.md, about a quarter of an hour
	$(BIN)/python -m studies.embedding_study

benchmark: install ## Redo docs/benchmark.md: joint training, metric losses, mixing, retrieval, teaching
	$(BIN)/python -m studies.benchmark
	$(BIN)/python -m studies.teaching_study

leak: install ## Redo the tables of docs/results.md, about a quarter of an hour
	$(BIN)/python -m studies.leak_study

leaderboard: install ## Compute leaderboard/README.md from the predictions beside it
	$(APT) leaderboard page leaderboard

clean: ## Remove the demo and what Python left
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
