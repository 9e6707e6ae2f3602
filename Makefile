# make demo   install, then convert a real recording with a bundled voice
# make test   install, then run the tests
# make check  lint, format, types, import contracts
# make bench  measure, and write docs/benchmarks.md
# make clean  remove what the targets above made

VENV := .venv
PY := $(VENV)/bin/python
export OMP_NUM_THREADS ?= 1

.PHONY: demo test check bench clean

$(VENV)/installed: pyproject.toml tools/install.sh
	VENV=$(VENV) sh tools/install.sh

demo: $(VENV)/installed
	@$(PY) examples/demo.py

test: $(VENV)/installed
	$(PY) -m pytest -n auto --maxprocesses 4 --dist worksteal

check: $(VENV)/installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/installed
	$(PY) benchmarks/run.py

clean:
	rm -rf $(VENV) demo_out .bench .pytest_cache .mypy_cache .ruff_cache
