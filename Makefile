# Everything runs in .venv, which is made on first use; it needs Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check slow web drawings lock clean

demo: $(READY)
	$(BIN)/crosslens demo

test: check
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff check src tests benchmarks drawings
	$(BIN)/ruff format --check src tests benchmarks drawings
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: $(READY)
	$(BIN)/python -m pytest -m "slow"

# The search page; its built files are committed. Needs Node 20.19 or newer.
web:
	cd web && npm ci && npm run build

# What lite knows of drawings, learned anew from icon sets; the weights are committed. Needs npm, and about half an
# hour on two cores.
drawings: $(READY)
	$(BIN)/python -m drawings

$(READY): pyproject.toml requirements/cpu.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/cpu.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)

# The versions of this environment become the lock; torch stays the CPU build.
lock: $(READY)
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/^torch==\([^+]*\).*/torch==\1/' > requirements/cpu.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
