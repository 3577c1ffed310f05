PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test soak lint docs check system clean

demo: .venv/demo ## a real teacher on real digits, planned
	$(BIN)/tutelage demo

test: .venv/dev ## all tests, doctests included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 # two processes on two cores: more threads would only wait for each other

soak: .venv/dev ## 20,000 random tasks and 2,000 random networks: 40 minutes
	TUTELAGE_SOAK=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 tests/fuzz

lint: .venv/dev ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python scripts/prose.py

docs: .venv/dev ## the site, tutorials executed: build/site/index.html
	NO_MKDOCS_2_WARNING=1 OMP_NUM_THREADS=1 $(BIN)/mkdocs build -q
	@echo "Open build/site/index.html; with search: $(BIN)/python -m http.server -d build/site 8000"

check: lint test docs

system: ## what tests and benchmarks take from Debian: a browser, and Fashion-MNIST
	scripts/system-packages

clean:
	rm -rf .venv build .cache tutelage-demo tutelage-plan benchmarks/cache benchmarks/envs

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e .
	touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@ .venv/demo
