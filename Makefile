# Everything runs in .venv, which is made on first use; it needs Python >= 3.11 and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/cpu.txt
# On Linux, PyTorch without NVIDIA's libraries comes from here alone.
TORCH := https://download.pytorch.org/whl/cpu
READY := $(VENV)/.ready

.PHONY: demo test check slow docs results web drawings lock clean

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

# The documentation as a site of files, in site/.
docs: $(READY)
	$(BIN)/python docs/cli_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# docs/results.md from the suite of the house, of what it has sets for in $CROSSLENS_DATA; hours. It goes on after a
# stop, and does what a change made new.
results: $(READY)
	$(BIN)/crosslens benchmark benchmarks/house.yaml --out runs/house --markdown docs/results.md
	cp runs/house/results.parquet docs/results.parquet

# The search page; its built files are committed. Needs Node 20.19 or newer.
web:
	cd web && npm ci && npm run build

# What lite knows of drawings, learned anew from icon sets; the weights are committed. Needs npm, and about half an
# hour on two cores.
drawings: $(READY)
	$(BIN)/python -m drawings

# An index that cannot be reached costs pip seconds for every package: it is left out then.
$(READY): pyproject.toml $(LOCK)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	if $(BIN)/python -c "import urllib.request as web; web.urlopen('$(TORCH)/', timeout=10)" 2> /dev/null; \
	then cat $(LOCK); \
	else echo "$(TORCH) cannot be reached; pip takes PyTorch from its other indexes" >&2; \
	grep -v '^--extra-index-url' $(LOCK); fi \
	| $(BIN)/python -m pip install --quiet --disable-pip-version-check -r /dev/stdin
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $(READY)

# The versions of this environment become the lock, torch the CPU build; search.txt is the part without torch.
lock: $(READY)
	{ echo "--extra-index-url $(TORCH)"; \
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/^torch==\([^+]*\).*/torch==\1/'; } > $(LOCK)
	$(BIN)/python requirements/search.py

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
