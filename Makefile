# Everything is set up in .venv by itself; Python 3.11+ with venv and make are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check lint bench fuzz samples clean

$(READY): pyproject.toml requirements-dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fixedram needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt -e .
	touch $@

# Real images taken apart. PAUSE=1 waits for Enter between the looks, FULL=1 shows more in each.
demo: $(READY)
	@sh samples/demo.sh $(BIN)

# What a developer runs all the time, in a minute: samples, no QEMU.
test: $(READY)
	$(BIN)/python -m pytest -n auto -m "not slow and not qemu"

# Everything.  FIXEDRAM_COVERAGE=1 measures on the way, and fails where too few branches were taken.
check: lint
	$(BIN)/python $(if $(FIXEDRAM_COVERAGE),.ci/check_coverage.py,-m pytest -n auto)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python bench/bench.py

# Every command on mutated images: make fuzz TIME=3600. What it finds is kept in build/fuzz.
TIME ?= 600
fuzz: $(READY)
	mkdir -p build
	PYTHONPATH=tests $(BIN)/python -m fuzz.campaign --seconds $(TIME) --keep build/fuzz

# Makes the samples anew with the QEMU on this machine (samples/README.md).
samples: $(READY)
	$(BIN)/python samples/make.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is made from the code: rules, references, schemas.
.PHONY: spec
spec: $(READY)
	PYTHONPATH=spec $(BIN)/python -m specification spec
	$(BIN)/python spec/api.py > spec/API.md
	$(BIN)/python cli/picture.py
	$(BIN)/python -m fixedram_cli.reference markdown > cli/REFERENCE.md
	$(BIN)/python -m fixedram_cli.reference man > cli/fixedram.1
	for shell in bash zsh fish; do \
	    $(BIN)/python -m fixedram_cli.reference completion $$shell > cli/completions/fixedram.$$shell; done
